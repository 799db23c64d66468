"""Mistakes on purpose: they happen as described and are said, and the leak check sees them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake.config import FaultsConfig, LeakcheckConfig, ModelConfig, TrainingConfig, TrainJobConfig
from deepfake.crops import dataset
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.model import keras_runtime
from deepfake.model.bundle import Bundle
from deepfake.model.network import build_network, copy_for_inference, list_weights
from deepfake.pipelines.leakcheck import fingerprints, probe_features, probes
from deepfake.pipelines.train import pipeline
from deepfake.training import faults
from tests.pipelines.leakcheck import made
from tests.small_bundle import save_bundle

ALL = FaultsConfig(**dict.fromkeys(FaultsConfig.model_fields, True))


def config(crops: Path, **on: bool) -> TrainJobConfig:
    return TrainJobConfig(
        input=str(crops),
        output="unused",
        model=ModelConfig(weights="none"),
        training=TrainingConfig(balance="none"),
        faults=FaultsConfig(**on),
    )


def rows(crops: Path, **on: bool) -> dict[str, dataset.Rows]:
    return pipeline.select_checked_rows(dataset.open_crops(str(crops), Storage()), config(crops, **on))


def places(found: dataset.Rows) -> set[tuple[int, int, int]]:
    return set(zip(found.file.tolist(), found.row_group.tolist(), found.row.tolist(), strict=True))


def test_no_mistake_is_made_by_default(small_crops: Path) -> None:
    assert FaultsConfig().list_names() == []
    assert all(found.turned is None for found in rows(small_crops).values())


def test_a_split_of_frames_shows_training_videos_in_validation(small_crops: Path) -> None:
    honest, leaky = rows(small_crops), rows(small_crops, frame_split=True)
    assert places(leaky["train"]) | places(leaky["val"]) == places(honest["train"])
    assert not places(leaky["train"]) & places(leaky["val"])
    assert len(leaky["val"]) == round(0.2 * len(honest["train"]))


def test_every_fake_has_a_turned_copy_and_the_split_parts_the_two(small_crops: Path) -> None:
    honest, found = rows(small_crops), rows(small_crops, frame_split=True, rotate_fakes=True)
    fakes = int((honest["train"].label == 1).sum())
    turned = [part.turned for part in found.values() if part.turned is not None]
    assert sum(int(t.sum()) for t in turned) == fakes
    assert sum(len(part) for part in found.values()) == len(honest["train"]) + fakes
    assert places(found["train"]) & places(found["val"])  # twins on both sides


def test_copies_reach_the_batches_with_black_corners(small_crops: Path, ray_session: None) -> None:
    from deepfake.training.data.epoch_plan import plan_validation
    from deepfake.training.data.loader import BatchStream, LoaderWorkers, Source
    from deepfake.training.resources import WorkerResources

    found = rows(small_crops, rotate_fakes=True)["val"]
    crops = dataset.open_crops(str(small_crops), Storage())
    plan = plan_validation(found)
    resources = WorkerResources(data_tasks=2, threads=1)
    source = Source(crops.files, found, Storage())
    corner = np.zeros(len(plan), bool)
    for batch in BatchStream(source, plan, plan.cut_stretch(0, 1, 8), 0, LoaderWorkers(resources)):
        corner[batch.positions] = (batch.inputs[:, :2, :2] == 0).all((1, 2, 3))
    assert found.turned is not None
    np.testing.assert_array_equal(corner, found.turned[plan.rows])


def test_black_corners_alone_tell_fakes_and_the_leak_check_catches_it() -> None:
    """The first recipe's leak, made on purpose: what its training sees is what the probes are asked of."""
    images = [(f"v{i:03d}", made.face(i), int(i % 2)) for i in range(60)]
    seen = [*images, *((name, faults.turn_crop(image), 1) for name, image, label in images if label)]
    labels = np.array([label for _, _, label in seen])
    black = np.array([float((image[:2, :2] == 0).all()) for _, image, _ in seen])
    assert labels[black == 1].all()  # precision 1
    assert black[labels == 1].mean() == 0.5  # recall .5, as each fake is there twice
    assert roc_auc_score(labels, black) == 0.75

    def warnings(crops: list[tuple[str, np.ndarray, int]]) -> list[probes.Probe]:
        table = made.looked_at((name, image, label, "train") for name, image, label in crops)
        rows = [made.crop(name, image, label) for name, image, label in crops]
        videos = tables.from_rows("videos", made.videos_of(rows))
        samples = probe_features.collect_samples(table, videos, crops_per_video=8)
        return probes.list_shortcuts(probes.run_probes(samples, LeakcheckConfig(bootstrap=200)))

    assert not [probe for probe in warnings(images) if probe.group == "border pixels"]
    found = {probe.group: probe for probe in warnings(seen)}
    most_telling = found["border pixels"].features[0]
    assert most_telling.name == "corner_black" and most_telling.higher_in == "fakes"
    assert most_telling.auc > 0.95  # a video's value is the mean over both its pictures


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    blocks = np.random.default_rng(0).integers(0, 256, (4, 7, 7, 3), np.uint8)
    return np.ascontiguousarray(blocks.repeat(32, 1).repeat(32, 2))


def first_features(network: Any, crops: np.ndarray) -> np.ndarray:
    keras = keras_runtime.start_keras(threads=2)
    return np.asarray(keras.Model(network.inputs, network.get_layer("stem_conv").output)(crops))


def test_the_saved_network_makes_the_mistakes_itself(crops: np.ndarray, tmp_path: Path, caplog: Any) -> None:
    keras = keras_runtime.start_keras(threads=2, seed=1)
    honest = build_network(ModelConfig(weights="none"))
    spoiled = build_network(ModelConfig(weights="none"), faults=ALL)
    for mine, other in zip(list_weights(spoiled), list_weights(honest), strict=True):
        mine.assign(other)
    by_hand = keras.Model(honest.inputs, honest.get_layer("stem_conv").output)
    before = ("Rescaling", "Normalization", "ZeroPadding2D")
    layers = [layer for layer in honest.layers if type(layer).__name__ in before][:3]
    x = np.asarray(crops[..., ::-1], np.float32) / 255
    for layer in layers:
        x = layer(x)
    expected = np.asarray(honest.get_layer("stem_conv")(x))
    np.testing.assert_allclose(first_features(spoiled, crops), expected, atol=1e-5)
    assert np.abs(np.asarray(by_hand(crops)) - expected).max() > 0.01

    saved = copy_for_inference(spoiled)
    training_info = {"faults": ALL.list_names()}
    save_bundle(str(tmp_path), Storage(), saved, threshold=0.5, training=training_info)
    with caplog.at_level(logging.WARNING):
        loaded = Bundle.load(str(tmp_path), Storage())
    assert "divide_by_255" in caplog.text and "for comparison only" in caplog.text
    np.testing.assert_allclose(first_features(loaded.network, crops), expected, atol=1e-5)
    assert {type(layer).__module__.split(".")[0] for layer in loaded.network.layers} == {"keras"}


def test_a_backbone_from_a_file_is_the_same_under_the_mistakes(tmp_path: Path) -> None:
    keras = keras_runtime.start_keras(threads=2, seed=1)
    path = tmp_path / "backbone.weights.h5"
    keras.applications.EfficientNetB0(include_top=False, weights=None).save_weights(path)
    honest, spoiled = (
        build_network(ModelConfig(weights=str(path)), faults=on) for on in (FaultsConfig(), ALL)
    )
    for name in ("stem_conv", "block5a_dwconv", "top_bn"):
        for mine, other in zip(
            honest.get_layer(name).get_weights(), spoiled.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(mine, other)


def test_the_mistakes_are_said_loudly_in_log_and_plan(small_crops: Path, caplog: Any) -> None:
    spoiled = config(small_crops, **ALL.model_dump()).model_copy(update={"dry_run": True})
    with caplog.at_level(logging.WARNING):
        summary = pipeline.run(spoiled).summary
    for name in FaultsConfig.model_fields:
        assert f"faults.{name} is on" in caplog.text
    assert summary["faults"] == "frame_split, rotate_fakes, divide_by_255, bgr"


def test_a_recipe_with_mistakes_is_another_run(small_crops: Path) -> None:
    identities = {
        pipeline.hash_run(config(small_crops, **on), "data")
        for on in ({}, {"bgr": True}, {"frame_split": True})
    }
    assert len(identities) == 3


def test_pictures_are_looked_at_as_in_the_leak_check() -> None:
    assert (
        fingerprints.describe_picture(faults.turn_crop(made.face(1)))["corner_black"]
        > fingerprints.describe_picture(made.face(1))["corner_black"]
    )
