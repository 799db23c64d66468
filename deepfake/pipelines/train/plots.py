"""Accuracy and loss over the epochs of a training run, as PNG images in a light and a dark theme."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from deepfake.report.plots import LIGHT, STYLES, Theme, make_axes, render_in_themes

_PLOTS = {"accuracy": "Accuracy", "loss": "Loss (binary cross-entropy)"}


def draw_plots(history: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """File name to PNG of each plot: ``accuracy.png``, ``loss.png`` and their ``-dark`` twins."""
    return {
        f"{name}{'' if theme == LIGHT.name else '-dark'}.png": png
        for name, title in _PLOTS.items()
        for theme, png in render_in_themes(partial(draw_curve, history, name, title)).items()
    }


def draw_curve(history: Sequence[Mapping[str, Any]], name: str, title: str, theme: Theme) -> Figure:
    """Training and validation values of one metric by epoch; the epoch that was kept is marked."""
    figure, ax = make_axes(theme, title, "epoch", name)
    epochs = [row["epoch"] for row in history]
    for label, key, colour, style in (
        ("training, with dropout and augmentation", name, theme.series[0], STYLES[0]),
        ("validation", f"val_{name}", theme.series[1], STYLES[1]),
    ):
        values = [float("nan") if row[key] is None else row[key] for row in history]
        ax.plot(epochs, values, style, color=colour, marker="o", markersize=3.5, label=label)
    best = max(row["epoch"] for row in history if row["best"])
    ax.axvline(best, color=theme.soft, linewidth=1, linestyle=":", label=f"kept: epoch {best}")
    for before, after in pairwise(history):
        if before["phase"] != after["phase"]:
            ax.axvline(
                after["epoch"] - 0.5, color=theme.soft, linewidth=1, label="before: the head alone learns"
            )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if name == "accuracy":
        ax.set_ylim(0, 1.02)
    ax.legend(frameon=False, labelcolor=theme.ink, fontsize=8)
    return figure
