"""From the complete table of face scores to every number of an evaluation. Plain arrays, no files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake import metrics
from deepfake.config import EvaluationConfig

LEVELS = ("video", "frame")
SMALL = 50  # videos of a class below which the page warns
INTERVALS = ("auc", "accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class Level:
    """Labels and scores of all items of one level, and the numbers made of them."""

    labels: np.ndarray  # (n,) int8
    scores: np.ndarray  # (n,) float64
    overall: dict[str, Any]  # metrics.binary, and intervals as name -> [low, high] or None
    groups: list[dict[str, Any]]  # rows of the table group_metrics; within each grouping worst first


@dataclass(frozen=True)
class Results:
    """An evaluation's numbers. ``frame`` has one item a face, ``video`` one a video."""

    video: Level
    frame: Level
    threshold: float

    def counts(self) -> dict[str, int]:
        """How many videos and faces of each class were measured."""
        return {
            "videos": self.video.overall["n"],
            "real_videos": self.video.overall["n_real"],
            "fake_videos": self.video.overall["n_fake"],
            "faces": self.frame.overall["n"],
        }


def measure(faces: pa.Table, config: EvaluationConfig, threshold: float) -> Results:
    """Every number of labelled face scores.

    Args:
        faces: table ``face_scores`` without null labels.
        threshold: ``score >= threshold`` is called fake, on both levels.
    """
    faces = faces.sort_by([(name, "ascending") for name in ("video_id", "frame_index", "face_index")])
    videos = metrics.video_table(faces, config.aggregation, config.top_k)
    return Results(
        video=_level("video", videos, config, threshold),
        frame=_level("frame", faces, config, threshold),
        threshold=threshold,
    )


def warnings(results: Results) -> list[str]:
    """What a reader must know about the numbers themselves."""
    overall, found = results.video.overall, []
    few = [f"{overall[f'n_{name}']} {name}" for name in ("real", "fake") if overall[f"n_{name}"] < SMALL]
    if few:
        found.append(
            f"There are only {' and '.join(few)} videos. Numbers from so few move a lot with each video; "
            "read the intervals, where there are enough videos for any, and do not compare models by them."
        )
    if overall["auc"] is not None and overall["auc"] < 0.5:
        found.append(
            "The AUC is below 0.5: the model ranks these reals above these fakes. That is no better than "
            "chance unless labels were swapped."
        )
    return found


def _level(name: str, table: pa.Table, config: EvaluationConfig, threshold: float) -> Level:
    labels = table["label"].to_numpy().astype(np.int8)
    scores = table["score"].to_numpy().astype(np.float64)
    units = _units(table, config.bootstrap_over)
    overall = metrics.binary(labels, scores, threshold)
    overall["intervals"] = {
        metric: metrics.bootstrap_interval(
            labels, scores, units, _metric(metric, threshold), config.bootstrap, config.seed
        )
        for metric in INTERVALS
    }
    rows = []
    for grouped_by, group, mask in _groups(table, labels):
        numbers = metrics.binary(labels[mask], scores[mask], threshold)
        interval = metrics.bootstrap_interval(
            labels[mask], scores[mask], units[mask], "auc", config.bootstrap, config.seed
        )
        low, high = interval or (None, None)
        numbers = {k: v for k, v in numbers.items() if k not in ("confusion", "eer_threshold")}
        rows.append(
            {
                "level": name,
                "grouped_by": grouped_by,
                "group": group,
                **numbers,
                "auc_low": low,
                "auc_high": high,
            }
        )
    return Level(labels, scores, overall, rows)


def _groups(table: pa.Table, labels: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """``(grouped by, group, mask)``: everything, then each grouping."""
    yield "all", "all", np.ones(labels.size, bool)
    methods = _text(table, "method")
    yield from _worst_first(
        table, [("method", m, (labels == 0) | (methods == m)) for m in np.unique(methods[labels == 1])]
    )
    for column in ("compression", "dataset"):
        values = _text(table, column)
        if np.unique(values).size > 1:
            yield from _worst_first(table, [(column, v, values == v) for v in np.unique(values)])


def _worst_first(
    table: pa.Table, groups: list[tuple[str, str, np.ndarray]]
) -> list[tuple[str, str, np.ndarray]]:
    """Groups by rising AUC; those without one (a single class) last."""
    labels, scores = table["label"].to_numpy(), table["score"].to_numpy()

    def key(group: tuple[str, str, np.ndarray]) -> tuple[bool, float, str]:
        auc = metrics.binary(labels[group[2]], scores[group[2]])["auc"]
        return (auc is None, 0.0 if auc is None else auc, group[1])

    return sorted(groups, key=key)


def _units(table: pa.Table, over: str) -> np.ndarray:
    """What the bootstrap draws: ``(n,)`` integer codes of videos, or of identity groups where known."""
    names = table["video_id"]
    if over == "identities":
        names = pc.if_else(
            pc.is_valid(table["group_id"]),
            pc.binary_join_element_wise("group", table["group_id"], "\n", null_handling="skip"),
            pc.binary_join_element_wise("video", names, "\n"),
        )
    return pa.chunked_array(names).combine_chunks().dictionary_encode().indices.to_numpy()


def _text(table: pa.Table, column: str) -> np.ndarray:
    return np.array(pc.fill_null(table[column], "unknown").to_pylist(), dtype=object)


def _metric(name: str, threshold: float) -> Any:
    if name == "auc":
        return "auc"

    def rate(labels: np.ndarray, scores: np.ndarray, label: int) -> float | None:
        own = scores[labels == label]
        return float(((own >= threshold) == (label == 1)).mean()) if own.size else None

    def accuracy(labels: np.ndarray, scores: np.ndarray) -> float | None:
        return float(((scores >= threshold) == (labels == 1)).mean()) if labels.size else None

    def balanced_accuracy(labels: np.ndarray, scores: np.ndarray) -> float | None:
        real, fake = rate(labels, scores, 0), rate(labels, scores, 1)
        return None if real is None or fake is None else (real + fake) / 2

    return {"accuracy": accuracy, "balanced_accuracy": balanced_accuracy}[name]
