"""The training loop without Ray: phases, the best epoch, and going on from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake import metrics
from deepfake.config import AugmentConfig, ModelConfig, TrackingConfig, TrainingConfig, TrainJobConfig
from deepfake.crops import dataset
from deepfake.io.storage import Storage
from deepfake.model import bundle, keras_runtime
from deepfake.model.network import list_weights
from deepfake.training import trainer
from deepfake.training.checkpoint import CheckpointError
from deepfake.training.data import training_data
from deepfake.training.data.worker import CropDecoder
from deepfake.training.resources import divide_node
from deepfake.training.task import TrainingTask
from deepfake.training.trainer import NotFiniteError, Trainer
from deepfake.training.validation import collect_faces, measure_evenly, number_choosing_videos
from tests.small_network import small_network


@pytest.fixture(autouse=True)
def build_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is built in a moment, in place of EfficientNetB0."""
    monkeypatch.setattr(
        trainer, "build_starting_network", lambda *_: small_network(keras_runtime.start_keras())
    )


def begin(
    crops: Path,
    output: Path,
    kept: tuple[int, ...] = (),
    callbacks: Any = None,
    tracking: TrackingConfig = TrackingConfig(),  # noqa: B008 - frozen
    augmented: bool = True,
    **options: Any,
) -> Trainer:
    """``kept``: numbers of validation videos that have no say in which epoch is chosen."""
    training = TrainingConfig(
        **{
            "epochs": 3,
            "head_epochs": 1,
            "global_batch": 8,
            "ema": 0.5,
            "head_learning_rate": 0.01,
            **options,
        }
    )
    config = TrainJobConfig(
        input=str(crops),
        output=str(output),
        model=ModelConfig(weights="none"),
        augment=AugmentConfig(enabled=augmented),
        training=training,
        tracking=tracking,
    )
    opened = dataset.open_crops(str(crops), Storage())
    train, val = (dataset.select_rows(opened, split) for split in ("train", "val"))
    videos = number_choosing_videos(collect_faces(opened, val, 0))
    videos = np.where(np.isin(videos, kept), -1, videos)
    task = TrainingTask(config, opened.files, train, val, videos, callbacks=callbacks)
    return Trainer(task, divide_node(2, 1), rank=0, world=1)


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.endswith("_seconds")}


@pytest.mark.parametrize(
    ("kept", "select"),
    [(1, "balanced_loss"), (2, "val_video_auc"), (2, "last")],
    ids=["at the end of a phase", "within a phase", "within one, and the last epoch counts"],
)
def test_a_trainer_goes_on_from_a_checkpoint_as_if_nothing_had_been(
    small_crops: Path, tmp_path: Path, kept: int, select: str
) -> None:
    first = begin(small_crops, tmp_path, select=select)
    rows = []
    while first.has_more_epochs():
        rows.append(first.run_epoch())
        if len(rows) == kept:
            first.save(tmp_path)
    assert [row["phase"] for row in rows] == ["head", "fine_tune", "fine_tune"]

    second = begin(small_crops, tmp_path, select=select)
    second.restore(tmp_path)
    again = []
    while second.has_more_epochs():
        again.append(second.run_epoch())
    assert [without_times(row) for row in again] == [without_times(row) for row in rows[kept:]]
    assert second.state.best_epoch == first.state.best_epoch
    for mine, theirs in zip(second.best_weights, first.best_weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("epoch", [0, 1, 2], ids=["the first", "the first of a phase", "within a phase"])
def test_a_trainer_goes_on_within_an_epoch_as_if_nothing_had_been(
    small_crops: Path, tmp_path: Path, epoch: int
) -> None:
    told: list[Any] = []

    def make_callbacks() -> list[Any]:
        class Told(keras_runtime.start_keras().callbacks.Callback):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                told.append(epoch)

            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                told.append((batch, float(self.model.optimizer.learning_rate)))

        return [Told()]

    first = begin(small_crops, tmp_path, callbacks=make_callbacks, checkpoint_minutes=0)
    rows: list[dict[str, Any]] = []
    reached = 0

    def keep() -> None:
        nonlocal reached
        if len(rows) == epoch and reached == 0:
            reached = len(told)
            first.save(tmp_path)

    while first.has_more_epochs():
        rows.append(first.run_epoch(keep))
    assert reached
    undisturbed, told[:] = told[reached:], []

    second = begin(small_crops, tmp_path, callbacks=make_callbacks, checkpoint_minutes=None)
    second.restore(tmp_path)
    again = []
    while second.has_more_epochs():
        again.append(second.run_epoch())
    assert told == undisturbed
    assert [without_times(row) for row in again] == [without_times(row) for row in rows[epoch:]]
    for mine, theirs in zip(second.best_weights, first.best_weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_features_of_a_backbone_that_stands_still_are_computed_once_and_teach_the_same(
    small_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0
    decode = CropDecoder.decode

    def count(decoder: CropDecoder, stored: Any) -> Any:
        nonlocal opened
        opened += len(stored)
        return decode(decoder, stored)

    monkeypatch.setattr(CropDecoder, "decode", count)

    def train(folder: Path, **options: Any) -> Trainer:
        run = begin(small_crops, folder, head_epochs=2, **options)
        while run.has_more_epochs():
            run.run_epoch()
            if run.state.epoch == 1:
                run.save(folder)
        return run

    (tmp_path / "features").mkdir()
    kept = train(tmp_path / "features", augmented=False, fine_tune="none")
    assert opened == len(kept.task.train) + len(kept.task.val)
    again = begin(small_crops, tmp_path, head_epochs=2, augmented=False, fine_tune="none")
    again.restore(tmp_path / "features")
    while again.has_more_epochs():
        again.run_epoch()
    for mine, theirs in zip(again.best_weights, kept.best_weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)

    # and the backbone learns from crops after it
    before, then = opened, train(tmp_path, augmented=False, fine_tune="all")
    assert [row["phase"] for row in then.state.history] == ["head", "head", "fine_tune"]
    shown = len(then.data.plan_epoch(2)) + len(then.task.val)
    assert opened == before + len(kept.task.train) + len(kept.task.val) + shown

    monkeypatch.setattr(training_data, "can_keep_features", lambda *_: False)
    by_crops = train(tmp_path, augmented=False, fine_tune="none")
    for row, mine in zip(by_crops.state.history, kept.state.history, strict=True):
        assert without_times(mine) == pytest.approx(without_times(row), abs=1e-5)
    for mine, theirs in zip(kept.best_weights, by_crops.best_weights, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    assert kept.finish()["val_scores"] == pytest.approx(by_crops.finish()["val_scores"], abs=1e-5)


def turn_round_after_two_epochs() -> list[Any]:
    """A callback after which what was called fake is called real."""

    class TurnRound(keras_runtime.start_keras().callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            last = self.model.get_layer("head_score")
            if epoch == 1:
                last.set_weights([-10 * values for values in last.get_weights()])

    return [TurnRound()]


@pytest.mark.parametrize("select", ["balanced_loss", "val_video_auc", "last"])
def test_what_is_saved_is_the_best_epoch_and_scores_as_was_measured(
    small_crops: Path, tmp_path: Path, select: str
) -> None:
    run = begin(
        small_crops, tmp_path, callbacks=turn_round_after_two_epochs, ema=0, fine_tune="none", select=select
    )
    while run.has_more_epochs():
        run.run_epoch()
    result = run.finish()
    losses, aucs = (
        [row[f"val_{name}"] for row in result["history"]] for name in ("balanced_loss", "video_auc")
    )
    assert len(losses) == 3  # nothing stops a cosine unasked
    assert losses[2] > min(losses) and aucs[2] < max(aucs)
    wanted = {
        "balanced_loss": np.argmin(losses),
        "val_video_auc": max(range(3), key=lambda i: (aucs[i], -losses[i])),
        "last": 2,
    }
    assert result["best_epoch"] == 1 + wanted[select]
    keras = keras_runtime.start_keras()
    saved = keras.models.load_model(tmp_path / bundle.MODEL_FILE, compile=False)
    for weight, kept in zip(list_weights(saved), run.best_weights, strict=True):
        np.testing.assert_array_equal(np.asarray(weight), kept)


def test_videos_that_thresholds_are_kept_for_are_scored_and_choose_no_epoch(
    small_crops: Path, tmp_path: Path
) -> None:
    run = begin(small_crops, tmp_path, kept=(1, 3), epochs=2)
    row = run.run_epoch()
    choosing = run.task.val_videos >= 0
    assert choosing.tolist() == ([True] * 4 + [False] * 4) * 2
    scores = np.array(run.finish()["val_scores"])  # of all, by what was saved
    assert (scores > 0).all() and len(scores) == 16
    labels, videos = run.data.val_labels[choosing], run.task.val_videos[choosing]
    expected = measure_evenly(labels, scores[choosing], videos)
    expected["val_loss"] = metrics.measure_binary(labels, scores[choosing])["log_loss"]
    assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_a_checkpoint_of_more_phases_than_there_are_is_refused(small_crops: Path, tmp_path: Path) -> None:
    run = begin(small_crops, tmp_path, epochs=2)
    while run.has_more_epochs():
        run.run_epoch()
    run.save(tmp_path)
    with pytest.raises(CheckpointError, match="another recipe"):
        begin(small_crops, tmp_path, fine_tune="none").restore(tmp_path)


def test_scores_that_are_no_numbers_end_the_training_in_words(small_crops: Path, tmp_path: Path) -> None:
    run = begin(small_crops, tmp_path, head_learning_rate=1e30)
    with pytest.raises(NotFiniteError, match=r"no longer finite; lower training\.learning_rate"):
        while run.has_more_epochs():
            run.run_epoch()
