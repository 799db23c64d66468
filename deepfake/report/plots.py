"""Curves and histograms as matplotlib figures, in a light and a dark theme.

Only matplotlib's object interface is used: no global state, so threads and tests do not disturb each other.
Every function takes plain arrays and a theme and returns a ``Figure``; ``render_png`` turns it into bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deepfake.report.images import encode_file

DPI = 160


@dataclass(frozen=True)
class Theme:
    """Colours of a plot. ``series`` are told apart by line style as well, and by colour-blind readers."""

    name: str
    paper: str
    ink: str
    soft: str
    grid: str
    series: tuple[str, ...]


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#57606a", "#e3e6ea", ("#1f5fbf", "#c2570c", "#12642f"))
DARK = Theme("dark", "#14171b", "#e8ebef", "#a5afba", "#2b3138", ("#86b4ff", "#ffab70", "#7fd79b"))
THEMES = (LIGHT, DARK)
STYLES = ("-", "--", ":")

Curve = tuple[str, np.ndarray, np.ndarray]  # name, (n,) labels, (n,) scores
Draw = Callable[[Theme], Figure]


def make_axes(
    theme: Theme, title: str, x: str, y: str, size: tuple[float, float] = (4.6, 3.7)
) -> tuple[Figure, Any]:
    """A figure with one pair of axes in a theme."""
    figure = Figure(size, DPI, facecolor=theme.paper, layout="constrained")
    ax = figure.add_subplot(facecolor=theme.paper)
    _apply_theme(ax, theme)
    ax.set_title(title, color=theme.ink, fontsize=11)
    ax.set_xlabel(x, color=theme.ink)
    ax.set_ylabel(y, color=theme.ink)
    return figure, ax


def _apply_theme(ax: Any, theme: Theme) -> None:
    ax.set_facecolor(theme.paper)
    ax.tick_params(colors=theme.soft)
    ax.grid(color=theme.grid, linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.soft)


def render_png(figure: Figure) -> bytes:
    """The figure as PNG, the same bytes each time."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return encode_file(np.asarray(canvas.buffer_rgba())[..., :3], ".png")


def render_in_themes(draw: Draw) -> dict[str, bytes]:
    """PNG of what ``draw`` makes of each theme, by the theme's name, all in the arrangement of the first."""
    first, *others = figures = [draw(theme) for theme in THEMES]
    first.draw_without_rendering()  # which arranges it
    for figure in figures:
        figure.set_layout_engine("none")
    for other in others:
        for axes, arranged in zip(other.axes, first.axes, strict=True):
            axes.set_position(arranged.get_position())
        for text, placed in zip(other.texts, first.texts, strict=True):
            text.set_position(placed.get_position())
    return {theme.name: render_png(figure) for theme, figure in zip(THEMES, figures, strict=True)}


def add_legend(ax: Any, theme: Theme, **options: Any) -> None:
    """A legend in the theme's colours."""
    ax.legend(frameon=False, labelcolor=theme.ink, fontsize=9, **options)


def draw_roc(curves: Sequence[Curve], theme: Theme) -> Figure:
    """ROC curves; each needs both classes."""
    from sklearn.metrics import roc_curve

    figure, ax = make_axes(theme, "ROC", "reals called fake (FPR)", "fakes called fake (TPR)")
    ax.plot([0, 1], [0, 1], color=theme.soft, linewidth=0.8, linestyle=(0, (2, 4)))
    for i, (name, labels, scores) in enumerate(curves):
        fpr, tpr, _ = roc_curve(labels, scores)
        ax.plot(fpr, tpr, **_style_line(theme, i), label=name)
    _show_unit_square(ax)
    add_legend(ax, theme, loc="lower right")
    return figure


def draw_precision_recall(curves: Sequence[Curve], theme: Theme) -> Figure:
    """Precision against recall; each curve needs both classes."""
    from sklearn.metrics import precision_recall_curve

    figure, ax = make_axes(theme, "Precision and recall", "recall", "precision")
    for i, (name, labels, scores) in enumerate(curves):
        precision, recall, _ = precision_recall_curve(labels, scores, drop_intermediate=True)
        ax.step(recall, precision, where="post", **_style_line(theme, i), label=name)
        ax.axhline(np.mean(labels), color=theme.series[i], linewidth=0.8, linestyle=(0, (2, 4)))
    _show_unit_square(ax)
    add_legend(ax, theme, loc="lower left")
    return figure


def draw_histogram(
    labels: np.ndarray, scores: np.ndarray, threshold: float, theme: Theme, what: str
) -> Figure:
    """Scores ``(n,)`` of reals and of fakes, each as shares of its own class, with the threshold."""
    figure, ax = make_axes(theme, f"Scores of {what}", "score", "share of the class")
    edges = np.linspace(0, 1, 21)
    for i, (name, label) in enumerate((("real", 0), ("fake", 1))):
        own = scores[labels == label]
        weights = np.full(own.size, 1 / max(1, own.size))
        colour = theme.series[i]
        ax.hist(own, edges, weights=weights, color=colour, alpha=0.45, label=f"{name} ({own.size:,})")
        line = {"color": colour, "linewidth": 1.4, "linestyle": STYLES[i]}
        ax.hist(own, edges, weights=weights, histtype="step", **line)
    line = {"color": theme.ink, "linewidth": 1.2, "linestyle": "--"}
    ax.axvline(threshold, ymax=0.84, label=f"threshold {threshold:.3f}", **line)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.22 * max(0.05, ax.get_ylim()[1]))  # room for the legend above the bars
    add_legend(ax, theme, loc="upper center", ncols=3, columnspacing=1.0, handlelength=1.4)
    return figure


def draw_reliability(curves: Mapping[str, Sequence[Mapping[str, Any]]], theme: Theme) -> Figure:
    """Share of fakes against mean score, by bin (``metrics.make_reliability_bins``); larger dots are more."""
    figure, ax = make_axes(theme, "Reliability", "mean score of the bin", "share of fakes in the bin")
    ax.plot([0, 1], [0, 1], color=theme.soft, linewidth=0.8, linestyle=(0, (2, 4)))
    for i, (name, bins) in enumerate(curves.items()):
        x, y, n = (np.array([b[key] for b in bins]) for key in ("mean_score", "share_fake", "n"))
        ax.plot(x, y, **_style_line(theme, i), label=name)
        ax.scatter(x, y, 12 + 180 * n / n.sum(), color=theme.series[i], alpha=0.7, zorder=3)
    _show_unit_square(ax)
    add_legend(ax, theme, loc="upper left")
    return figure


def draw_tippett(labels: np.ndarray, log_ratios: np.ndarray, theme: Theme) -> Figure:
    """Shares of the reals and of the fakes ``(n,)`` with at least each log10 likelihood ratio.

    Left of 0 a fake's ratio misleads, right of it a real's.
    """
    figure, ax = make_axes(
        theme, "Tippett plot", "log10 likelihood ratio", "share of the class at least there"
    )
    ends = min(0.0, float(log_ratios.min())) - 0.1, max(0.0, float(log_ratios.max())) + 0.1
    for i, (name, label) in enumerate((("real", 0), ("fake", 1))):
        own = np.sort(log_ratios[labels == label])
        if own.size:
            places = np.concatenate([[ends[0]], own, [ends[1]]])
            shares = 1.0 - np.searchsorted(own, places, side="left") / own.size
            ax.step(places, shares, where="pre", **_style_line(theme, i), label=f"{name} ({own.size:,})")
    ax.axvline(0.0, color=theme.soft, linewidth=0.8, linestyle=(0, (2, 4)))
    ax.set_xlim(*ends)
    ax.set_ylim(-0.01, 1.01)
    add_legend(ax, theme, loc="upper right")
    return figure


def draw_sweeps(
    kinds: Sequence[tuple[str, Mapping[str, Any] | None, Sequence[Mapping[str, Any]]]], theme: Theme
) -> Figure:
    """AUC with its interval against the amount of each kind of change; one small panel a kind.

    ``kinds`` are name, row of what is unchanged, if any, and rows with ``amount, auc, auc_low, auc_high``.
    """
    columns = min(2, len(kinds))
    lines = -(-len(kinds) // columns)
    figure = Figure((2.3 * columns, 1.9 * lines), DPI, facecolor=theme.paper, layout="constrained")
    figure.supylabel("AUC, videos", color=theme.ink, fontsize=9)
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for panel in panels[len(kinds) :]:
        panel.set_visible(False)
    for panel, (kind, base, changed) in zip(panels, kinds, strict=False):
        rows = [*([base] if base else []), *changed]
        ticks = [*(["as is"] if base else []), *(f"{row['amount']:g}" for row in changed)]
        _apply_theme(panel, theme)
        panel.set_title(kind, color=theme.ink, fontsize=9)
        values, low, high = (
            np.array([row[f"auc{end}"] for row in rows], float) for end in ("", "_low", "_high")
        )
        ends = np.maximum(0, np.nan_to_num([values - low, high - values]))
        known = np.flatnonzero(~np.isnan(values))
        line = {"color": theme.series[0], "linewidth": 1.4, "marker": "o", "markersize": 4, "capsize": 3}
        panel.errorbar(known, values[known], ends[:, known], **line)
        panel.axhline(0.5, color=theme.soft, linewidth=0.8, linestyle=(0, (2, 4)))
        panel.set_xticks(range(len(rows)), ticks)
        panel.set_xlim(-0.4, len(rows) - 0.6)
        panel.set_ylim(0.0, 1.02)
    return figure


def draw_confusion(counts: Mapping[str, int], theme: Theme, what: str) -> Figure:
    """The confusion matrix with counts, shaded by the share of each true class."""
    matrix = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    figure, ax = make_axes(theme, f"Confusion matrix, {what}", "called", "is", (3.9, 3.4))
    ax.grid(visible=False)
    ax.set_xticks([0, 1], ["real", "fake"])
    ax.set_yticks([0, 1], ["real", "fake"])
    ax.set_xlim(-0.5, 1.5)
    ax.set_ylim(1.5, -0.5)
    for row in range(2):
        for column in range(2):
            share = shares[row, column]
            alpha = 0.06 + 0.34 * share  # never darker, so that the number on it stays readable
            tile = Rectangle((column - 0.49, row - 0.49), 0.98, 0.98, color=theme.series[0], alpha=alpha)
            ax.add_patch(tile)
            words = f"{matrix[row, column]:,}\n{100 * share:.1f} %"
            ax.text(column, row, words, ha="center", va="center", color=theme.ink, fontsize=12)
    return figure


def _style_line(theme: Theme, i: int) -> dict[str, Any]:
    i %= len(theme.series)
    return {"color": theme.series[i], "linestyle": STYLES[i], "linewidth": 1.8}


def _show_unit_square(ax: Any) -> None:
    ax.set_xlim(-0.01, 1.01)
    ax.set_ylim(-0.01, 1.01)
