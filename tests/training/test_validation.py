"""What a bundle takes from validation, and how it is written when training ends."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from deepfake import metrics
from deepfake.config import TrainJobConfig
from deepfake.crops import dataset
from deepfake.io.storage import Storage
from deepfake.model import bundle
from deepfake.model.bundle import MODEL_FILE, Bundle
from deepfake.pipelines.train import pipeline
from deepfake.training import validation
from deepfake.training.data.epoch_plan import plan_validation

STORAGE = Storage()


def scores_of(labels: np.ndarray) -> np.ndarray:
    """Made-up scores that are mostly right and differ from crop to crop."""
    return np.clip(0.3 + 0.4 * labels + np.random.default_rng(0).normal(0, 0.1, len(labels)), 0, 1)


def test_scores_in_the_order_of_the_plan_find_their_videos(small_crops: Path) -> None:
    crops = dataset.open_crops(str(small_crops), STORAGE)
    rows = dataset.select_rows(crops, "val")
    labels = rows.label[plan_validation(rows).rows]
    faces = validation.collect_faces(crops, rows, 0)
    assert faces["label"].to_pylist() == labels.tolist()
    assert set(faces["split"].to_pylist()) == {"val"} and set(faces["role"].to_pylist()) == {"both"}
    assert faces.num_rows == len(rows) == 16


def index_people(people: int) -> dataset.CropSet:
    """So many people, each with a real and a fake video of two crops; none of it is stored."""
    rows = [
        {
            "video_id": f"{kind}-{person}", "frame_index": frame, "face_index": 0, "label": kind == "fake",
            "method": kind, "split": "val", "group_id": f"p{person}", "target_id": f"p{person}", "file": 0,
            "row_group": 0, "row": (person * 2 + (kind == "fake")) * 2 + frame,
            "box": {"x": 1.0, "y": 1.0, "w": 9.0, "h": 9.0}, "frame_width": 64, "frame_height": 36,
        }
        for person in range(people) for kind in ("real", "fake") for frame in (0, 1)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows)
    for name in ("label", "file", "row_group", "row"):
        kind = pa.int8() if name == "label" else pa.int32()
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    for name in ("compression", "dataset", "source_id"):
        table = table.append_column(name, pa.nulls(len(table), pa.string()))
    return dataset.CropSet("nowhere", ("nowhere/part.parquet",), table, {})


def test_half_of_forty_people_chooses_the_epoch_and_the_others_the_thresholds() -> None:
    crops = index_people(40)
    rows = dataset.select_rows(crops, "val")
    faces = validation.collect_faces(crops, rows, 0).to_pandas()
    people = {role: set(found["group_id"]) for role, found in faces.groupby("role")}
    assert {role: len(names) for role, names in people.items()} == {"epoch": 20, "thresholds": 20}
    assert not people["epoch"] & people["thresholds"]
    assert faces.groupby(["role", "label"]).size().tolist() == [40] * 4
    other = validation.collect_faces(crops, rows, 1).to_pandas()
    assert set(other[other["role"] == "epoch"]["group_id"]) != people["epoch"]
    few = index_people(39)
    faces = validation.collect_faces(few, dataset.select_rows(few, "val"), 0)
    assert set(faces["role"].to_pylist()) == {"both"}


def test_thresholds_and_numbers_know_nothing_of_the_half_that_chose_the_epoch() -> None:
    crops = index_people(40)
    faces = validation.collect_faces(crops, dataset.select_rows(crops, "val"), 0)
    labels, chooses = faces["label"].to_numpy(), faces["role"].to_numpy(zero_copy_only=False) == "epoch"
    scores = scores_of(labels)

    def derive(values: np.ndarray) -> dict[str, Any]:
        return validation.derive_bundle_fields(faces.append_column("score", pa.array(values)))

    found = derive(scores)
    assert found == derive(np.where(chooses, 0.5, scores)) != derive(np.where(chooses, scores, 0.5))
    assert found["metrics"]["val_video"]["n"] == 40 and found["unproven"] == ""
    assert (validation.number_choosing_videos(faces) < 0).tolist() == (~chooses).tolist()


def test_a_bias_towards_the_larger_class_is_no_advantage() -> None:
    """One real to four fakes: of two networks val_loss prefers the worse for its bias, nothing else does."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], (1000, 4000))

    def measure(strength: float, bias: float) -> tuple[float, dict[str, float | None]]:
        logits = strength * random.normal((labels - 0.5) * strength) + bias
        scores = 1 / (1 + np.exp(-logits))
        plain = metrics.measure_binary(labels, scores)["log_loss"]
        return plain, validation.measure_evenly(labels, scores, np.arange(len(labels)))

    (worse_loss, worse), (better_loss, better) = measure(2.0, 0.5), measure(2.5, -0.5)
    assert worse["val_video_auc"] == pytest.approx(0.921, abs=0.01)
    assert better["val_video_auc"] == pytest.approx(0.961, abs=0.01)
    assert worse_loss < better_loss and worse["val_balanced_loss"] > better["val_balanced_loss"]  # type: ignore[operator]


def test_the_auc_of_videos_is_of_the_mean_of_each_videos_crops(small_crops: Path) -> None:
    crops = dataset.open_crops(str(small_crops), STORAGE)
    rows = dataset.select_rows(crops, "val")
    faces = validation.collect_faces(crops, rows, 0)
    videos = validation.number_choosing_videos(faces)
    assert np.bincount(videos).tolist() == [4, 4, 4, 4]
    labels = rows.label[plan_validation(rows).rows]
    scores = scores_of(labels)
    found = metrics.aggregate_videos(faces.append_column("score", pa.array(scores)))
    expected = metrics.measure_binary(found["label"].to_numpy(), found["score"].to_numpy())["auc"]
    assert validation.measure_evenly(labels, scores, videos)["val_video_auc"] == expected


def test_training_ends_with_thresholds_of_videos_numbers_with_intervals_and_a_card(
    small_crops: Path, tmp_path: Path
) -> None:
    crops = dataset.open_crops(str(small_crops), STORAGE)
    rows = dataset.select_rows(crops, "val")
    labels = rows.label[plan_validation(rows).rows]
    scores = scores_of(labels)
    (tmp_path / MODEL_FILE).write_bytes(b"stands for the network")
    epoch = {
        "epoch": 1, "phase": "head", "steps": 1, "crops": 8, "learning_rate": 1e-3, "loss": 0.5,
        "penalty": 0.0, "val_loss": 0.5, "val_balanced_loss": 0.5, "val_video_auc": 0.5,
        "accuracy": 0.9, "val_accuracy": 0.9, "best": True,
        "train_seconds": 1.0, "val_seconds": 1.0, "input_wait_seconds": 0.0,
    }  # fmt: skip
    result = {
        "history": [epoch], "best_epoch": 1, "val_scores": scores.tolist(),
        "model_sha256": hashlib.sha256(b"stands for the network").hexdigest(),
    }  # fmt: skip
    config = TrainJobConfig(input=str(small_crops), output=str(tmp_path))
    pipeline.finish_bundle(config, STORAGE, crops, rows, result, {}, "identity", "data")
    found = Bundle.load(str(tmp_path), STORAGE)
    faces = validation.collect_faces(crops, rows, 0)
    videos = metrics.aggregate_videos(faces.append_column("score", pa.array(scores)))
    expected = metrics.choose_balanced_threshold(videos["label"].to_numpy(), videos["score"].to_numpy())
    assert found.info.threshold == expected == found.find_operating_point("balanced").threshold
    assert found.find_operating_point("fpr_0.01", "max").real_videos == 2
    assert found.info.metrics["val"]["auc"] == pytest.approx(metrics.measure_binary(labels, scores)["auc"])
    assert found.info.metrics["val_video"]["n"] == 4
    known = found.info.validated_on
    assert known is not None and (known.real_videos, known.fake_videos) == (2, 2)
    assert known.ranges["faces"] == (4, 4) and "frame_side" in known.ranges
    assert found.info.unproven == "it was validated on 2 real and 2 fake videos, a verdict takes 20 of each"
    assert len(found.info.metrics["val"]["intervals"]["auc"]) == 2
    card = (tmp_path / "model_card.md").read_text()
    assert "**One split did all**" in card and not found.info.training["validation_halved"]
    assert found.sha256 in card and "2 real and 2 fake videos" in card
    assert bundle.read_bundle_info(str(tmp_path), STORAGE).calibration is not None
