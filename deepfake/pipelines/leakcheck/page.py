"""The page of a leak check: the verdict, what was found with pictures of it, and what the probes say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from matplotlib.figure import Figure

from deepfake.config import LeakcheckJobConfig
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.pipelines.leakcheck.probes import Probe
from deepfake.pipelines.leakcheck.result import OK, LeakcheckResult, describe_check
from deepfake.report import html, plots

PAGE = "report.html"
PLOT = "plots/probes.png"
_ROWS = 200  # of each kind in the page; the table has them all


@dataclass(frozen=True)
class FindingKind:
    """How a kind of finding is called and explained."""

    title: str
    one: str  # "N ..." for one, and for more
    many: str
    meaning: str

    def count(self, number: int) -> str:
        """The words after a number of such findings."""
        return self.one if number == 1 else self.many


KINDS: dict[str, FindingKind] = {
    "identity": FindingKind(
        "Identities in two splits",
        "identity is in two splits",
        "identities are in two splits",
        "The same person or clip, shown or used as source of a fake, is in both splits.",
    ),
    "group": FindingKind(
        "Identity groups in two splits",
        "identity group is in two splits",
        "identity groups are in two splits",
        "Videos without identities of their own, whose group is in both splits.",
    ),
    "video": FindingKind(
        "Videos in two splits",
        "video is in two splits",
        "videos are in two splits",
        "The crops of one video are in both splits.",
    ),
    "upload": FindingKind(
        "Uploads in two splits",
        "upload shared by two splits",
        "uploads shared by two splits",
        "Two clips were cut from one upload: the same person on the same day. The official lists of "
        "FaceForensics++ do this.",
    ),
    "duplicate_file": FindingKind(
        "The same file in two splits",
        "copy of a file in another split",
        "copies of files in another split",
        "The bytes are equal.",
    ),
    "duplicate_crop": FindingKind(
        "The same picture in two splits",
        "pair of videos in two splits shows the same pictures",
        "pairs of videos in two splits show the same pictures",
        "The pixels are equal although the files are not.",
    ),
    "near_duplicate": FindingKind(
        "Nearly the same picture in two splits",
        "pair of videos in two splits shows nearly the same pictures",
        "pairs of videos in two splits show nearly the same pictures",
        "Compressed again, resized, slightly cropped, or mirrored. Look at them before believing it.",
    ),
    "label_conflict": FindingKind(
        "The same content under two labels",
        "copy is labelled both real and fake",
        "copies are labelled both real and fake",
        "One of the two labels is wrong.",
    ),
}


def write_leakcheck_page(
    result: LeakcheckResult,
    rows: Sequence[Mapping[str, Any]],
    pictures: Mapping[tuple[str, int | None], bytes],
    config: LeakcheckJobConfig,
    storage: Storage,
) -> str:
    """Write ``report.html`` and the plot of the probes below the output; returns the page's URI.

    ``rows`` are those of table ``overlaps``, in its order; ``pictures`` are JPEGs by video and frame.
    """
    limit = config.leakcheck.probe_auc
    drawn: dict[str, bytes] = {}
    if any(probe.auc is not None for probe in result.probes):
        drawn = plots.render_in_themes(partial(draw_probes, result.probes, limit))
        storage.write_bytes(join(config.output, PLOT), drawn[plots.LIGHT.name])
    else:
        storage.remove(join(config.output, PLOT))
    sections = []
    for name, kind in KINDS.items():
        for scope in ("input", "official_split"):
            found = [row for row in rows if row["kind"] == name and row["scope"] == scope]
            if found:
                shown = [_add_pictures(row, pictures) for row in found[:_ROWS]]
                sections.append({"id": f"{name}-{scope}", "kind": kind, "scope": scope, "rows": shown,
                                 "pictures": any(row["picture_a"] for row in shown),
                                 "keys": any(row["key"] for row in shown), "total": len(found)})  # fmt: skip
    unknown = dict.fromkeys(result.not_looked_for)
    text = html.render_page(
        "leakcheck.html",
        title=config.report.title or "Leak check of a data set",
        verdict=result.verdict,
        failing=result.failing,
        warnings=result.warnings,
        tone="likely_fake" if result.failing else "likely_real" if result.verdict == OK else "uncertain",
        counts=[(KINDS[name], result.counts.get(name, unknown.get(name, 0))) for name in _CARDS],
        sections=sections,
        probes=result.probes,
        probe_auc=limit,
        plot={name: html.make_data_uri(png, "image/png") for name, png in drawn.items()},
        facts={label: value for label, value in describe_check(result, config).items() if value is not None},
    )
    storage.write_text(join(config.output, PAGE), text)
    return join(config.output, PAGE)


_CARDS = ("identity", "upload", "duplicate_file", "duplicate_crop", "near_duplicate", "label_conflict")


def _add_pictures(row: Mapping[str, Any], pictures: Mapping[tuple[str, int | None], bytes]) -> dict[str, Any]:
    found = {}
    for side in ("a", "b"):
        data = pictures.get((row[f"video_{side}"], row[f"frame_{side}"]))
        found[f"picture_{side}"] = html.make_data_uri(data, "image/jpeg") if data else None
    return {**row, **found}


def draw_probes(probes: Sequence[Probe], limit: float, theme: plots.Theme) -> Figure:
    """AUC of each probe with its interval, against chance and the warning limit."""
    measured = [probe for probe in probes if probe.auc is not None]
    figure, ax = plots.make_axes(
        theme, "What tells fakes without faces", "AUC", "", (6.4, 1.3 + 0.32 * len(measured))
    )
    ax.axvline(0.5, color=theme.soft, linewidth=0.8, linestyle=(0, (2, 4)), label="chance")
    ax.axvline(limit, color=theme.series[1], linewidth=1.2, linestyle="--", label=f"warning above {limit:g}")
    for y, probe in enumerate(reversed(measured)):
        warns = probe.verdict == "shortcut"
        colour = theme.series[1] if warns else theme.series[0]
        if probe.low is not None:
            ax.plot([probe.low, probe.high], [y, y], color=colour, linewidth=2.0)
        ax.plot([probe.auc], [y], color=colour, marker="D" if warns else "o", linestyle="")
    ax.set_yticks(range(len(measured)), [probe.group for probe in reversed(measured)], color=theme.ink)
    lows = [low for probe in measured for low in (probe.low, probe.auc) if low is not None]
    ax.set_xlim(min([0.4, *(low - 0.02 for low in lows)]), 1.02)
    ax.set_ylim(-0.7, len(measured) - 0.3)
    figure.legend(
        *ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False,
        labelcolor=theme.ink, fontsize=9,
    )  # fmt: skip
    return figure
