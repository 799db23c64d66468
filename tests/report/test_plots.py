"""Plots as PNG, in both themes."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from deepfake import metrics
from deepfake.report import plots

LABELS = np.array([0, 0, 0, 1, 1, 1])
SCORES = np.array([0.1, 0.4, 0.4, 0.4, 0.8, 0.9])
CURVES = [("videos", LABELS, SCORES), ("faces", LABELS, SCORES[::-1])]
SWEPT = {"auc": 0.7, "auc_low": 0.6, "auc_high": 0.8}
FIGURES = {
    "roc": lambda theme: plots.draw_roc(CURVES, theme),
    "precision and recall": lambda theme: plots.draw_precision_recall(CURVES, theme),
    "histogram": lambda theme: plots.draw_histogram(LABELS, SCORES, 0.5, theme, "videos"),
    "reliability": lambda theme: plots.draw_reliability(
        {"a": metrics.make_reliability_bins(LABELS, SCORES)}, theme
    ),
    "confusion": lambda theme: plots.draw_confusion({"tn": 3, "fp": 0, "fn": 1, "tp": 2}, theme, "videos"),
    "sweeps": lambda theme: plots.draw_sweeps([("blur", None, [{"amount": 1, **SWEPT}])], theme),
    "tippett": lambda theme: plots.draw_tippett(LABELS, 4 * SCORES - 2, theme),
}


def pixels(png: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.1)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("name", FIGURES)
def test_a_plot_is_the_same_bytes_each_time_and_follows_its_theme(name: str) -> None:
    light, dark = (plots.render_png(FIGURES[name](theme)) for theme in plots.THEMES)
    assert light == plots.render_png(FIGURES[name](plots.LIGHT))
    assert pixels(light).mean() > 190
    assert pixels(dark).mean() < 80
    assert plots.render_in_themes(FIGURES[name]) == {"light": light, "dark": dark}


@pytest.mark.parametrize("theme", plots.THEMES, ids=lambda theme: theme.name)
def test_text_and_lines_stand_out_from_the_paper(theme: plots.Theme) -> None:
    paper = luminance(theme.paper)

    def contrast(colour: str) -> float:
        low, high = sorted((paper, luminance(colour)))
        return (high + 0.05) / (low + 0.05)

    assert contrast(theme.ink) >= 7
    assert contrast(theme.soft) >= 4.5
    assert min(map(contrast, theme.series)) >= 3


def test_plots_drawn_by_several_threads_do_not_disturb_each_other() -> None:
    expected = plots.render_png(FIGURES["roc"](plots.LIGHT))
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(plots.render_png(FIGURES["roc"](plots.LIGHT))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 3


def test_a_class_without_items_leaves_an_empty_histogram() -> None:
    plots.render_png(plots.draw_histogram(np.ones(3), np.array([0.1, 0.2, 0.3]), 0.5, plots.LIGHT, "videos"))


def test_a_tippett_plot_falls_behind_each_ratio_of_its_class() -> None:
    figure = plots.draw_tippett(LABELS, np.array([-1.0, 0.5, 0.5, 0.5, 1.0, 2.0]), plots.LIGHT)
    real, fake = figure.axes[0].lines[:2]
    assert real.get_xdata() == pytest.approx([-1.1, -1.0, 0.5, 0.5, 2.1])
    assert real.get_ydata() == pytest.approx([1, 1, 2 / 3, 2 / 3, 0])
    assert fake.get_ydata() == pytest.approx([1, 1, 2 / 3, 1 / 3, 0])
    plots.render_png(plots.draw_tippett(np.ones(1), np.array([0.3]), plots.LIGHT))


def test_a_sweep_shows_each_kind_from_unchanged_to_worst_and_bears_a_missing_auc() -> None:
    def row(amount: float, auc: float | None) -> dict:
        return {"amount": amount, "auc": auc, "auc_low": auc and auc - 0.1, "auc_high": None}

    base = row(0, 0.9)
    figure = plots.draw_sweeps(
        [("blur", base, [row(1, 0.8), row(4, None)]), ("frames", None, [row(1, 0.7)])], plots.LIGHT
    )
    first, second = (axes for axes in figure.axes if axes.get_visible())
    assert [label.get_text() for label in first.get_xticklabels()] == ["as is", "1", "4"]
    assert [label.get_text() for label in second.get_xticklabels()] == ["1"]
    assert list(first.lines[0].get_ydata()) == [0.9, 0.8]
    assert plots.render_png(figure).startswith(b"\x89PNG")
