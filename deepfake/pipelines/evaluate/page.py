"""The page of an evaluation: the numbers with their intervals, what they were measured on, what they omit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepfake import metrics
from deepfake.config import PageConfig
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.model.thresholds import POINT_NAMES
from deepfake.pipelines.evaluate.heat_maps import HeatFindings
from deepfake.pipelines.evaluate.recompression import AS_IT_IS
from deepfake.pipelines.evaluate.results import WITHOUT_LOOKING, Level, Results
from deepfake.pipelines.evaluate.robustness import CRF, FRAMES
from deepfake.pipelines.evaluate.without_looking import WORDS
from deepfake.report import html, plots

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
    ("recall", "Recall, fakes", "share of fakes called fake", True),
    ("specificity", "Recall, reals", "share of reals called real", True),
    ("precision", "Precision, fakes", "fakes among what is called fake, at this share of fakes", True),
    ("precision_real", "Precision, reals", "share of reals among what is called real", True),
    ("f1", "F1", "harmonic mean of precision and recall of fakes", False),
    ("log_loss", "Log loss", "how far scores are off as probabilities; lower is better", False),
    ("brier", "Brier score", "mean squared distance of score and truth; lower is better", False),
    ("ece", "Calibration error", "mean distance of score and share of fakes; lower is better", False),
)
ALT_TEXTS = {
    "roc": "ROC curves of videos and faces",
    "precision_recall": "Precision against recall, of videos and faces",
    "histogram": "Video scores of reals and of fakes, with the threshold",
    "reliability": "Share of fakes against mean score",
    "confusion": "Confusion matrix of the videos",
    "tippett": "Tippett plot: share of reals and of fakes with at least this likelihood ratio",
    "robustness": "AUC of the videos against each way of making them worse",
}
LEVELS = (("video", "videos"), ("track", "tracks"), ("frame", "faces"))
GROUP_WORDS = {
    "method": "The fakes of each method against all reals.",
    "face size": "Reals and fakes whose faces are this large in the source video (median).",
    "track length": "Reals and fakes by the number of sampled faces in their longest track.",
}


@dataclass(frozen=True)
class PageSection:
    """One data set with its numbers."""

    name: str
    uri: str
    split: str
    results: Results
    warnings: Sequence[str] = ()
    missed: int | None = None  # labelled videos in which no face was found; None: not known
    lesson: str = ""  # what was learnt without looking, or why nothing was

    @property
    def groupings(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """``(grouping, rows)`` with a group's video and frame numbers in one row, worst first."""
        frames = {(row["grouped_by"], row["group"]): row for row in self.results.frame.groups}
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.results.video.groups:
            if (by := row["grouped_by"]) != "all":
                both = {"group": row["group"], "video": row, "frame": frames.get((by, row["group"]))}
                found.setdefault(by, []).append(both)
        return list(found.items())

    def list_declared(self, grouping: str) -> list[dict[str, Any]]:
        """The errors by stated groups of one kind; empty where it is of another sort."""
        return [row for row in self.results.declared if row["grouped_by"] == grouping]


@dataclass(frozen=True)
class Extras:
    """What is measured of the first data set only, where it is asked for."""

    sweep: Sequence[Mapping[str, Any]] = ()  # rows of robustness and recompression
    sweep_notes: Sequence[str] = ()
    heat: HeatFindings | None = None


def write_evaluation_page(
    output: str,
    storage: Storage,
    first: PageSection,
    others: Sequence[PageSection] = (),
    config: PageConfig | None = None,
    facts: Mapping[str, object] | None = None,
    extras: Extras = Extras(),
) -> str:
    """Write ``plots/*.png`` and ``report.html`` below ``output``; returns the page's URI.

    ``facts`` is what the page says of data and model, as label -> value.
    """
    results, heat = first.results, extras.heat
    sources = {}
    for name, draw in _list_plots(results, extras.sweep).items():
        pngs = plots.render_in_themes(draw)
        storage.write_bytes(join(output, PLOTS, f"{name}.png"), pngs[plots.LIGHT.name])
        sources[name] = [html.make_data_uri(png, "image/png") for png in pngs.values()]
    text = html.render_page(
        "evaluation.html",
        title=(config and config.title) or "Evaluation of a deepfake detector",
        first=first,
        others=others,
        levels=[(name, words, getattr(results, name).overall) for name, words in LEVELS],
        metrics=METRICS,
        point_names=POINT_NAMES,
        difference=put_difference_in_words,
        facts_in_words=WORDS,
        group_words=GROUP_WORDS,
        plots=[(name, ALT_TEXTS[name], *sources[name]) for name in sources],
        facts={label: value for label, value in (facts or {}).items() if value is not None},
        sweep=_group_by_kind(extras.sweep),
        sweep_notes=extras.sweep_notes,
        heat=heat,
        heat_sheet=html.make_data_uri(heat.sheet, "image/png") if heat and heat.sheet else None,
    )
    storage.write_text(join(output, PAGE), text)
    return join(output, PAGE)


def list_aucs(section: PageSection) -> tuple[str, str]:
    """The AUC of videos, and the one without looking, with their intervals, in words."""
    overall = section.results.video.overall
    rival = overall[WITHOUT_LOOKING]
    own = _put_in_words(overall["auc"], overall["intervals"]["auc"])
    return own, _put_in_words(rival["auc"], rival["interval"]) if rival else section.lesson


def _put_in_words(auc: float | None, interval: metrics.Interval | None) -> str:
    words = html.format_decimal(auc)
    return f"{words} ({interval.low:.3f} to {interval.high:.3f})" if interval else words


def put_difference_in_words(compared: Mapping[str, Any]) -> str:
    """By how much an AUC exceeds a rival's (``results.compare_aucs``), and whether that is proven."""
    difference, interval = compared["difference"], compared["difference_interval"]
    if difference is None:
        return html.format_decimal(None)
    if interval is None:
        return f"{difference:+.3f}, no interval"
    shown = "" if interval.low > 0 or interval.high < 0 else ", which may be luck"
    return f"{difference:+.3f} ({interval.low:+.3f} to {interval.high:+.3f}){shown}"


def _list_plots(results: Results, sweep: Sequence[Mapping[str, Any]]) -> dict[str, plots.Draw]:
    video, frame = results.video, results.frame
    curves = [
        (_name_curve("videos", video), video.labels, video.scores),
        (_name_curve("faces", frame), frame.labels, frame.scores),
    ]
    bins = {"videos": metrics.make_reliability_bins(video.labels, video.scores)}
    bins["faces"] = metrics.make_reliability_bins(frame.labels, frame.scores)
    probabilities = results.decisions.probabilities
    if probabilities is not None:
        bins["videos, calibrated"] = metrics.make_reliability_bins(video.labels, probabilities)
    threshold, confusion = results.threshold, video.overall["confusion"]
    drawn: dict[str, plots.Draw] = {
        "roc": lambda theme: plots.draw_roc(curves, theme),
        "precision_recall": lambda theme: plots.draw_precision_recall(curves, theme),
        "histogram": lambda theme: plots.draw_histogram(
            video.labels, video.scores, threshold, theme, "videos"
        ),
        "reliability": lambda theme: plots.draw_reliability(bins, theme),
        "confusion": lambda theme: plots.draw_confusion(confusion, theme, "videos"),
    }
    if (ratios := results.decisions.log_ratios) is not None:
        drawn["tippett"] = lambda theme: plots.draw_tippett(video.labels, ratios, theme)
    kinds = [(kind, base, rows) for kind, base, rows in _group_by_kind(sweep) if rows]
    if kinds:
        drawn["robustness"] = lambda theme: plots.draw_sweeps(kinds, theme)
    return drawn


def _name_curve(what: str, level: Level) -> str:
    return f"{what}, AUC {html.format_decimal(level.overall['auc'])}"


def _group_by_kind(
    sweep: Sequence[Mapping[str, Any]],
) -> list[tuple[str, Mapping[str, Any] | None, list[Mapping[str, Any]]]]:
    """``(kind, row of the same items unchanged, rows)`` of the sweep; frames have no other row to compare."""
    unchanged = next((row for row in sweep if row["kind"] == "none"), None)
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in sweep:
        if row["kind"] != "none":
            found.setdefault(row["kind"], []).append(row)
    as_it_is = next((row for row in found.get(CRF, ()) if row["amount"] == AS_IT_IS), None)
    bases = {FRAMES: None, CRF: as_it_is}
    return [
        (kind, base, [row for row in rows if row is not base])
        for kind, rows in found.items()
        for base in [bases.get(kind, unchanged)]
    ]
