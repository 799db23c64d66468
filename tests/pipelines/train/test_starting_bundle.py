"""Training from a detector that one has: its head comes along, and so do the people it has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.catalog.identity_overlap import list_identities
from deepfake.config import ModelConfig, RayConfig, TrainingConfig, TrainJobConfig
from deepfake.crops import dataset
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model import keras_runtime
from deepfake.model.bundle import Bundle, read_bundle_info
from deepfake.model.initialisation import build_starting_network
from deepfake.model.network import POOL_LAYER, build_network, list_weights
from deepfake.pipelines.train.pipeline import run
from tests.small_bundle import save_small
from tests.small_network import make_small_model


def job(crops: Path, output: Path, start: Path, **model: Any) -> TrainJobConfig:
    names: dict[str, Any] = {"backbone": "meso4", "weights": str(start), **model}
    settings = TrainingConfig(epochs=1, head_epochs=0, global_batch=8, select="last")
    return TrainJobConfig(
        input=str(crops), output=str(output), model=ModelConfig(**names), training=settings,
        ray=RayConfig(start="never"),
    )  # fmt: skip


def save_trained_on(folder: Path, **identities: list[str]) -> Path:
    training = {"identities": identities, "config": {"model": make_small_model().model_dump()}}
    save_small(str(folder), training=training)
    return folder


def test_a_training_starts_with_the_whole_detector_and_hands_on_whom_it_has_seen(
    small_crops: Path, tmp_path: Path
) -> None:
    start = save_trained_on(tmp_path / "first", train=["dfdc/a", "dfdc/b"], val=["dfdc/c"])
    bundle = Bundle.load(str(start))
    begun = build_starting_network(ModelConfig(backbone="meso4", weights=str(start)), Storage())
    for mine, theirs in zip(list_weights(begun), list_weights(bundle.network), strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))
    run(job(small_crops, tmp_path / "second", start))
    made = read_bundle_info(str(tmp_path / "second"), Storage())
    assert made.training["started_from"] == bundle.sha256
    seen = made.read_identities()
    assert seen is not None and seen["train"] > {"dfdc/a", "dfdc/b", "dfdc/c"}
    assert len(seen["train"]) > 3 and not seen["train"] & seen["val"]
    card = (tmp_path / "second" / "model_card.md").read_text()
    assert f"| started from | the detector of bundle `{bundle.sha256}` |" in card


def test_the_same_path_with_other_weights_is_another_run(small_crops: Path, tmp_path: Path) -> None:
    weights = tmp_path / "mine.weights.h5"
    weights.write_bytes(Path(make_small_model().weights).read_bytes())
    first = job(small_crops, tmp_path / "bundle", weights)
    made = run(first).summary["bundle_sha256"]
    assert run(first).summary["bundle_sha256"] == made
    network = build_network(ModelConfig(backbone="meso4", weights="none"))
    keras = keras_runtime.start_keras()
    pooled = network.get_layer(POOL_LAYER).input
    keras.Model(network.inputs, pooled).save_weights(weights)
    with pytest.raises(UsageError, match=r"model\.weights_sha256 was "):
        run(first)


def test_a_detector_that_knows_the_people_it_would_be_validated_on_is_refused(
    small_crops: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = dataset.open_crops(str(small_crops), Storage()).table
    ours, others = list_identities(table, "train"), list_identities(table, "val")
    same = save_trained_on(tmp_path / "same", train=ours, val=others)
    run(job(small_crops, tmp_path / "model", same).model_copy(update={"dry_run": True}))
    known = save_trained_on(tmp_path / "known", train=others, val=ours)
    with pytest.raises(UsageError, match=f"was trained on {len(others)} people of split 'val': {others[0]}"):
        run(job(small_crops, tmp_path / "model", known))
    silent = save_trained_on(tmp_path / "silent")
    run(job(small_crops, tmp_path / "model", silent).model_copy(update={"dry_run": True}))
    assert "does not say whom it was trained on" in caplog.text


def test_what_is_no_start_is_named_with_what_would_be(small_crops: Path, tmp_path: Path) -> None:
    start = save_trained_on(tmp_path / "first", train=["a"])
    with pytest.raises(UsageError, match=r"its model.head is mlp, here it is sphere; give --model.head mlp"):
        run(job(small_crops, tmp_path / "model", start, head="sphere"))
    with pytest.raises(
        UsageError, match=r"expected imagenet, none, .*the folder of a bundle .*does not exist"
    ):
        run(job(small_crops, tmp_path / "model", tmp_path / "nothing"))
    bundle = save_trained_on(tmp_path / "other", train=["a"])
    network = ModelConfig(backbone="meso4", weights=str(bundle), dense_units=9)
    with pytest.raises(UsageError, match=r"its layer head_dense does not fit"):
        build_starting_network(network, Storage())
    assert ModelConfig(weights="pretrained") == ModelConfig()
