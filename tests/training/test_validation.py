"""What a bundle takes from validation, and how it is written when training ends."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
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
    scored = validation.collect_scored_faces(crops, rows, labels.astype(float))  # the score says the label
    assert scored["score"].to_pylist() == scored["label"].to_pylist()
    assert set(scored["split"].to_pylist()) == {"val"}
    assert scored.num_rows == len(rows) == 16


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
    videos = validation.list_videos(crops, rows)
    assert np.bincount(videos).tolist() == [4, 4, 4, 4]
    labels = rows.label[plan_validation(rows).rows]
    scores = scores_of(labels)
    found = metrics.aggregate_videos(validation.collect_scored_faces(crops, rows, scores))
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
        "history": [epoch], "best_epoch": 1, "val_scores": scores.tolist(), "val_labels": labels.tolist(),
        "model_sha256": hashlib.sha256(b"stands for the network").hexdigest(),
    }  # fmt: skip
    config = TrainJobConfig(input=str(small_crops), output=str(tmp_path))
    pipeline.finish_bundle(config, STORAGE, crops, rows, result, {}, "identity", "data")
    found = Bundle.load(str(tmp_path), STORAGE)
    videos = metrics.aggregate_videos(validation.collect_scored_faces(crops, rows, scores))
    expected = metrics.choose_balanced_threshold(videos["label"].to_numpy(), videos["score"].to_numpy())
    assert found.threshold == expected == found.find_operating_point("balanced").threshold
    assert found.find_operating_point("fpr_0.01", "max").real_videos == 2
    assert found.info.metrics["val"]["auc"] == pytest.approx(metrics.measure_binary(labels, scores)["auc"])
    assert found.info.metrics["val_video"]["n"] == 4
    assert found.info.unproven == "it was validated on 2 real and 2 fake videos, a verdict takes 20 of each"
    assert len(found.info.metrics["val"]["intervals"]["auc"]) == 2
    card = (tmp_path / "model_card.md").read_text()
    assert found.sha256 in card and "2 real and 2 fake videos" in card
    assert bundle.read_bundle_info(str(tmp_path), STORAGE).calibration is not None
