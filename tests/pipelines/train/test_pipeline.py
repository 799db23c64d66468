"""The training job: what it refuses, what it plans, what it leaves."""

from __future__ import annotations

import logging
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from deepfake.config import AugmentConfig, ModelConfig, RayConfig, TrainingConfig, TrainJobConfig
from deepfake.config.parse import load_config
from deepfake.crops.dataset import Rows, open_crops
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.model.bundle import read_bundle_info
from deepfake.outcome import ACCOUNTING
from deepfake.pipelines.train.pipeline import (
    SECONDS_PER_CROP,
    describe_training,
    estimate_core_seconds,
    hash_run,
    require_no_copies,
    run,
    select_checked_rows,
)
from tests import running
from tests.running import ROOT


def job(crops: Path, output: Path, **training: Any) -> TrainJobConfig:
    return TrainJobConfig(
        input=str(crops),
        output=str(output),
        model=ModelConfig(weights="none"),
        training=TrainingConfig(**training),
    )


def test_a_split_without_a_class_stops_with_the_counts_and_status_2(make_crops, tmp_path: Path) -> None:
    folder = make_crops((("train", 0, 2, 2), ("train", 1, 1, 2), ("val", 1, 3, 2)))
    done = subprocess.run(
        running.command("train", "--input", folder, "--output", tmp_path / "model"),
        capture_output=True, text=True, timeout=running.HANGS_SECONDS, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "split 'val' needs real and fake videos" in done.stderr and "3 fake" in done.stderr
    assert not (tmp_path / "model").exists()


def test_identities_shared_by_the_splits_stop_it_and_are_named(make_crops, tmp_path: Path) -> None:
    folder = make_crops(source_id="the-same-person")
    with pytest.raises(UsageError, match=r"(?s)the-same-person.*--training.allow_overlap true"):
        run(job(folder, tmp_path / "model"))


def test_an_overlap_can_be_allowed_and_is_still_said(make_crops, tmp_path: Path, caplog) -> None:
    folder = make_crops(source_id="the-same-person")
    plan = job(folder, tmp_path / "model", allow_overlap=True).model_copy(update={"dry_run": True})
    run(plan)
    assert "the-same-person" in caplog.text


def test_a_dry_run_says_what_an_epoch_is_and_writes_nothing(small_crops: Path, tmp_path: Path) -> None:
    plan = job(small_crops, tmp_path / "model", global_batch=8).model_copy(update={"dry_run": True})
    summary = run(plan).summary
    assert summary["train_real_crops"] == 18 and summary["train_fake_crops"] == 24
    assert summary["train_fake_methods"] == {"Deepfakes": 12, "FaceSwap": 12}
    assert summary["val_real_crops"] == summary["val_fake_crops"] == 8
    assert summary["crops_per_epoch"] == 36 and summary["steps_per_epoch"] == 5
    assert not (tmp_path / "model").exists()


def test_the_estimate_knows_which_crops_a_training_goes_through(small_crops: Path, tmp_path: Path) -> None:
    def estimate(size: int = 224, **training: Any) -> float:
        config = job(small_crops, tmp_path, epochs=30, head_epochs=10, **training)
        config = config.model_copy(update={"augment": AugmentConfig(enabled=augmented)})
        crops = open_crops(str(small_crops), Storage())
        rows = select_checked_rows(crops, config)
        return estimate_core_seconds(describe_training(rows, config), rows, config, size)

    augmented = True
    whole, one = estimate(), SECONDS_PER_CROP
    assert estimate(fine_tune="none") == pytest.approx(whole) == 30 * (36 + 16 / 3) * one
    assert estimate(112) == pytest.approx(whole / 4)
    augmented = False
    assert estimate() == pytest.approx(20 * (36 + 16 / 3) * one + (42 + 16) / 3 * one)
    assert estimate(fine_tune="none") == pytest.approx((42 + 16) / 3 * one)
    assert estimate(workers=2) == estimate(use_gpu=True) == math.inf


def test_methods_with_too_few_crops_for_their_share_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    method = np.repeat([0, 1, 2], [60, 5, 80]).astype(np.int16)
    place = np.arange(len(method))
    rows = Rows(
        place // 64, place * 0, place % 64, (method > 0).astype(np.int8), method, ("real", "rare", "usual")
    )
    with caplog.at_level(logging.INFO):
        describe_training({"train": rows, "val": rows}, job(tmp_path, tmp_path / "model", most_repeats=2))
    assert "rare: its 5 crops are shown 2 times an epoch, which training.most_repeats bounds" in caplog.text
    assert "usual: its" not in caplog.text


def test_self_blended_training_needs_no_fakes_but_must_know_how_crops_were_cut(
    make_crops, tmp_path: Path
) -> None:
    folder = make_crops((("train", 0, 3, 6), ("val", 0, 2, 4), ("val", 1, 2, 4)))
    plan = TrainJobConfig(
        input=str(folder),
        output=str(tmp_path / "model"),
        model=ModelConfig(weights="none"),
        augment=AugmentConfig(fakes="sbi"),
        training=TrainingConfig(global_batch=8),
        dry_run=True,
    )
    summary = run(plan).summary
    assert summary["train_fake_crops"] == 0 and summary["self_blended_per_epoch"] == 18
    assert summary["crops_per_epoch"] == 36 and summary["steps_per_epoch"] == 5
    (folder / "_config.json").unlink()
    with pytest.raises(UsageError, match=r"_config.json .*--augment.fakes real"):
        run(plan)


def test_reals_alone_train_and_validate_on_fakes_that_are_made_of_them(
    make_crops, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_crops((("train", 0, 3, 4), ("val", 0, 2, 4)))
    config = TrainJobConfig(
        input=str(folder),
        output=str(tmp_path / "model"),
        model=ModelConfig(backbone="meso4", weights="none", dense_units=8),
        augment=AugmentConfig(fakes="sbi"),
        training=TrainingConfig(global_batch=8, epochs=1, head_epochs=0, freeze_batch_norm=False),
        ray=RayConfig(start="never"),
    )
    summary = run(config).summary
    assert summary["val_real_crops"] == summary["val_fake_crops"] == 8
    assert summary["val_fake_methods"] == {"self-blended": 8}
    told = summary[ACCOUNTING]
    assert {"plan", "start", "work", "report"} <= told["job_seconds"].keys()
    assert {"start", "input", "step", "checkpoint", "score"} <= told["worker_seconds"].keys()
    assert "split val has no fakes: validation is of fakes that are made of its reals" in caplog.text
    scores = pq.read_table(tmp_path / "model" / "validation_scores.parquet").to_pylist()
    made = [row for row in scores if row["label"] == 1]
    assert {row["video_id"] for row in made} == {f"val/real/00{i}.mp4#self-blended" for i in (0, 1)}
    assert {row["group_id"] for row in made} == {row["group_id"] for row in scores if row["label"] == 0}
    info = read_bundle_info(str(tmp_path / "model"), Storage())
    assert info.unproven is not None and "held no fake" in info.unproven
    assert info.unproven in (tmp_path / "model" / "model_card.md").read_text()


def test_paired_training_is_refused_where_no_fake_has_its_original(
    make_crops, small_crops: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"balance is paired.*target_id"):
        run(job(small_crops, tmp_path / "model", balance="paired"))
    folder = make_crops((("train", 0, 1, 6), ("train", 1, 1, 4), ("val", 0, 1, 4), ("val", 1, 1, 4)))
    for path in folder.glob("part-*.parquet"):
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            row["target_id"] = row["group_id"] = row["split"]
        tables.write_table(Storage(), str(path), tables.from_rows("crops", rows))
    plan = job(folder, tmp_path / "model", balance="paired").model_copy(update={"dry_run": True})
    summary = run(plan).summary
    assert summary["fakes_beside_their_original_per_epoch"] == 4 and summary["crops_per_epoch"] == 8


def test_training_and_validating_on_one_split_is_refused(small_crops: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="both 'train'"):
        run(job(small_crops, tmp_path / "model", val_split="train"))


@pytest.mark.parametrize("what", ["bundle.json", "_checkpoints"])
def test_an_output_of_another_run_is_refused(small_crops: Path, tmp_path: Path, what: str) -> None:
    from deepfake.io.storage import Storage
    from deepfake.model.bundle import BundleInfo, write_bundle

    output = tmp_path / "model"
    if what == "bundle.json":
        info = BundleInfo(model_sha256="0" * 64, threshold=0.5, training={"identity": "another"})
        write_bundle(str(output), Storage(), info)
    else:
        (output / "_checkpoints" / "another" / "epoch-00001").mkdir(parents=True)
        (output / "_checkpoints" / "run.json").write_text(
            '{"identity": "another", "config": {"model": {"backbone": "mobilenet"}, "training": {"seed": 9}}}'
        )
        (output / "_checkpoints" / "another" / "epoch-00001" / "state.json").write_text("{}")
    with pytest.raises(UsageError, match=f"{output}: holds .* --training.resume false") as raised:
        run(job(small_crops, output))
    if what == "_checkpoints":
        assert "model.backbone was mobilenet, is efficientnetb0" in str(raised.value)


def test_a_run_keeps_its_identity_on_another_machine_and_loses_it_with_another_recipe(tmp_path: Path) -> None:
    base = job(tmp_path, tmp_path)
    same = (job(tmp_path, tmp_path, workers=4), job(tmp_path, tmp_path, use_gpu=True, threads_per_worker=2))
    other = (
        job(tmp_path, tmp_path, seed=1),
        job(tmp_path, tmp_path, global_batch=8),
        base.model_copy(update={"augment": AugmentConfig(flip=0)}),
        base.model_copy(update={"model": ModelConfig(weights="none", dropout=0)}),
    )
    assert {hash_run(config, "data") for config in same} == {hash_run(base, "data")}
    assert hash_run(base, "data") not in {hash_run(config, "data") for config in other}
    assert hash_run(base, "other data") != hash_run(base, "data")


def test_the_packaged_defaults_are_the_defaults() -> None:
    packaged = yaml.safe_load((ROOT / "configs" / "train.yaml").read_text())
    for section, model in (("model", ModelConfig), ("augment", AugmentConfig), ("training", TrainingConfig)):
        assert packaged[section] == model().model_dump(mode="json"), section


def recipe(name: str) -> TrainJobConfig:
    path = ROOT / "configs" / "recipes" / f"{name}.yaml"
    return load_config(TrainJobConfig, ["--config", str(path), "--input", "crops", "--output", "model"])


def test_the_self_blending_recipe_is_a_valid_configuration() -> None:
    config = recipe("sbi")
    assert config.augment.fakes == "sbi" and config.training.freeze_batch_norm


def test_the_first_recipe_is_kept_with_all_its_mistakes() -> None:
    config = recipe("seed")
    assert set(config.faults.list_names()) == set(type(config.faults).model_fields)
    assert config.training.fine_tune == "none" and config.training.balance == "none"
    assert not config.augment.enabled


def test_the_honest_recipe_is_the_default_and_has_no_mistakes() -> None:
    assert recipe("honest") == TrainJobConfig(input="crops", output="model")
    assert recipe("honest").faults.list_names() == []


def test_a_copy_of_a_training_video_in_validation_is_refused_by_name(tmp_path: Path) -> None:
    rows = [
        {
            "video_id": name, "uri": name, "status": "ok", "content_sha256": "0" * 64, "label": 0,
            "split": split, "frames_sampled": 1, "frames_with_face": 1, "faces": 1,
        }
        for name, split in (("a.mp4", "train"), ("b.mp4", "val"))
    ]  # fmt: skip
    tables.write_table(Storage(), str(tmp_path / "_manifest.parquet"), tables.from_rows("videos", rows))
    with pytest.raises(UsageError, match=r"a\.mp4.*b\.mp4"):
        require_no_copies(str(tmp_path), Storage(), ("train", "val"))
