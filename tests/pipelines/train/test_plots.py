"""The curves of a training run."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepfake.pipelines.train.plots import draw_curve, draw_plots
from deepfake.report.images import decode_file
from deepfake.report.plots import DARK, LIGHT


def row(epoch: int, phase: str, best: bool, accuracy: float | None = 0.7) -> dict[str, Any]:
    return {
        "epoch": epoch, "phase": phase, "loss": 0.6, "val_loss": 0.5, "best": best,
        "accuracy": accuracy, "val_accuracy": 0.65,
    }  # fmt: skip


HISTORY = [row(1, "head", True), row(2, "fine_tune", True, None), row(3, "fine_tune", False)]


def test_each_metric_is_drawn_for_readers_of_light_and_of_dark_pages() -> None:
    drawn = draw_plots(HISTORY)
    assert sorted(drawn) == ["accuracy-dark.png", "accuracy.png", "loss-dark.png", "loss.png"]
    corners = {name: int(decode_file(png)[0, 0].mean()) for name, png in drawn.items()}
    assert corners["loss.png"] == 255 and corners["loss-dark.png"] < 40
    assert draw_plots(HISTORY) == drawn


def test_both_curves_the_kept_epoch_and_the_change_of_phase_are_shown() -> None:
    (ax,) = draw_curve(HISTORY, "accuracy", "Accuracy", LIGHT).axes
    lines = {line.get_label(): np.asarray(line.get_xydata()) for line in ax.get_lines()}
    np.testing.assert_array_equal(
        lines["training, with dropout and augmentation"], [[1, 0.7], [2, np.nan], [3, 0.7]]
    )
    assert lines["validation"][:, 1].tolist() == [0.65] * 3
    assert lines["kept: epoch 2"][0, 0] == 2  # the last that was the best so far
    assert lines["before: the head alone learns"][0, 0] == 1.5


def test_a_run_of_one_phase_has_no_line_between_phases() -> None:
    (ax,) = draw_curve(HISTORY[1:], "loss", "Loss", DARK).axes
    assert "before: the head alone learns" not in [line.get_label() for line in ax.get_lines()]
