"""The page of an evaluation: the numbers with their intervals, what they were measured on, what they omit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup

from deepfake import metrics
from deepfake.config import ReportConfig
from deepfake.report import pages, plots
from deepfake.storage import Storage, join

PAGE = "report.html"
PLOTS = "plots"

# name, words, explanation, whether it is a share shown in percent
METRICS: tuple[tuple[str, str, str, bool], ...] = (
    ("auc", "AUC", "chance that a random fake scores above a random real; 0.5 is guessing", False),
    ("partial_auc", "Partial AUC", "the same where at most 10 % of reals are called fake, rescaled", False),
    ("ap", "Average precision", "precision over all recalls; depends on the share of fakes", False),
    ("eer", "Equal error rate", "error where both classes err alike; lower is better", True),
    ("accuracy", "Accuracy", "share called right; depends on the share of fakes", True),
    ("balanced_accuracy", "Balanced accuracy", "mean of the two recalls below; 50 % is guessing", True),
    ("recall", "Recall (fakes)", "share of fakes called fake", True),
    ("specificity", "Specificity (reals)", "share of reals called real", True),
    ("precision", "Precision", "share of fakes among what is called fake, at this share of fakes", True),
    ("f1", "F1", "harmonic mean of precision and recall", False),
    ("log_loss", "Log loss", "how far scores are off as probabilities; lower is better", False),
    ("brier", "Brier score", "mean squared distance of score and truth; lower is better", False),
    ("ece", "Calibration error", "mean distance of score and share of fakes; lower is better", False),
)
ALT_TEXTS = {
    "roc": "ROC curves of videos and faces",
    "precision_recall": "Precision against recall, of videos and faces",
    "histogram": "Video scores of reals and of fakes, with the threshold",
    "reliability": "Share of fakes against mean score, of videos and faces",
    "confusion": "Confusion matrix of the videos",
}


class Level(Protocol):
    """One level of an evaluation, as ``evaluation.results`` makes it."""

    @property
    def labels(self) -> np.ndarray: ...
    @property
    def scores(self) -> np.ndarray: ...
    @property
    def overall(self) -> dict[str, Any]: ...
    @property
    def groups(self) -> list[dict[str, Any]]: ...


class Results(Protocol):
    """An evaluation's numbers."""

    @property
    def video(self) -> Level: ...
    @property
    def frame(self) -> Level: ...
    @property
    def threshold(self) -> float: ...


class Heat(Protocol):
    """Heat maps, as ``evaluation.heat`` makes them."""

    @property
    def errors(self) -> int: ...
    @property
    def sheet(self) -> bytes | None: ...
    def in_words(self) -> str | None: ...


def write(
    output: str,
    storage: Storage,
    results: Results,
    warnings: Sequence[str],
    config: ReportConfig | None = None,
    facts: Mapping[str, object] | None = None,
    missed: int | None = None,
    heat: Heat | None = None,
) -> str:
    """Write ``plots/*.png`` and ``report.html`` below ``output``; returns the page's URI.

    ``facts`` is what the page says of data and model, as label -> value; ``missed`` the labelled videos
    in which no face was found, None where that is not known.
    """
    config = config or ReportConfig()
    drawn = {theme.name: _draw(results, theme) for theme in plots.THEMES}
    for name, png in drawn[plots.LIGHT.name].items():
        storage.write_bytes(join(output, PLOTS, f"{name}.png"), png)
    uri = join(output, PAGE)
    storage.write_text(uri, page(results, warnings, drawn, config, facts or {}, missed, heat))
    return uri


def page(
    results: Results,
    warnings: Sequence[str],
    drawn: Mapping[str, Mapping[str, bytes]],
    config: ReportConfig,
    facts: Mapping[str, object],
    missed: int | None = None,
    heat: Heat | None = None,
) -> str:
    """The page's HTML; ``drawn`` holds the plots as theme -> name -> PNG."""
    levels = {"video": results.video, "frame": results.frame}
    return pages.render(
        "evaluation.html",
        title=config.title or "Evaluation of a deepfake detector",
        warnings=warnings,
        levels={name: level.overall for name, level in levels.items()},
        metrics=METRICS,
        groupings=_groupings(results),
        plots=[(name, ALT_TEXTS[name], *_sources(drawn, name)) for name in drawn[plots.LIGHT.name]],
        facts={label: value for label, value in facts.items() if value is not None},
        threshold=results.threshold,
        missed=missed,
        heat=heat,
        heat_sheet=Markup(pages.data_uri(heat.sheet, "image/png")) if heat and heat.sheet else None,
    )


def _draw(results: Results, theme: plots.Theme) -> dict[str, bytes]:
    video, frame = results.video, results.frame
    curves = [
        (_named("videos", video), video.labels, video.scores),
        (_named("faces", frame), frame.labels, frame.scores),
    ]
    bins = {"videos": metrics.reliability_bins(video.labels, video.scores)}
    bins["faces"] = metrics.reliability_bins(frame.labels, frame.scores)
    figures = {
        "roc": plots.roc(curves, theme),
        "precision_recall": plots.precision_recall(curves, theme),
        "histogram": plots.histogram(video.labels, video.scores, results.threshold, theme, "videos"),
        "reliability": plots.reliability(bins, theme),
        "confusion": plots.confusion(video.overall["confusion"], theme, "videos"),
    }
    return {name: plots.png(figure) for name, figure in figures.items()}


def _named(what: str, level: Level) -> str:
    return f"{what}, AUC {pages.decimal(level.overall['auc'])}"


def _sources(drawn: Mapping[str, Mapping[str, bytes]], name: str) -> tuple[Markup, Markup]:
    light, dark = (
        Markup(pages.data_uri(drawn[theme.name][name], "image/png")) for theme in (plots.LIGHT, plots.DARK)
    )
    return light, dark


def _groupings(results: Results) -> list[tuple[str, list[dict[str, Any]]]]:
    """``(grouping, rows)`` with the video and the frame numbers of a group in one row, worst first."""
    frames = {(row["grouped_by"], row["group"]): row for row in results.frame.groups}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in results.video.groups:
        if row["grouped_by"] == "all":
            continue
        pair = {"group": row["group"], "video": row, "frame": frames[row["grouped_by"], row["group"]]}
        found.setdefault(row["grouped_by"], []).append(pair)
    return list(found.items())
