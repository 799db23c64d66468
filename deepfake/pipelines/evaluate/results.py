"""From the complete table of face scores to every number of an evaluation. Plain arrays, no files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake import metrics
from deepfake.catalog.identity_overlap import choose_resampling_units
from deepfake.config import EvaluationConfig
from deepfake.model.thresholds import Decisions
from deepfake.pipelines.evaluate import slices
from deepfake.pipelines.evaluate.declared_groups import compare_groups, read_groups
from deepfake.pipelines.evaluate.operating_points import DecisionMetrics, measure_decisions

LEVELS = ("video", "track", "frame")
SMALL = 50  # videos of a class below which the page warns
FEW_UNITS = 10  # identities of a class below which it warns that intervals rest on them
AGAINST, WITHOUT_LOOKING = "against", "without_looking"
RIVALS = (AGAINST, WITHOUT_LOOKING)  # who else than the bundle may have scored the same faces
MEANINGFUL = 5  # items of each class below which a group is not among the weakest

# name, words, what is aggregated within a track; the highest track then stands for the video
AGGREGATIONS: tuple[tuple[str, str, bool], ...] = (
    ("mean", "mean of all faces", False),
    ("median", "median of all faces", False),
    ("top_k", "mean of the {k} highest faces", False),
    ("max", "highest face", False),
    ("frame_max", "highest face of each frame, their mean", False),
    ("mean", "highest track, by the mean of its faces", True),
    ("median", "highest track, by the median of its faces", True),
    ("top_k", "highest track, by the mean of its {k} highest faces", True),
)


@dataclass(frozen=True)
class Level:
    """Labels and scores of all items of one level, and the numbers made of them."""

    labels: np.ndarray  # (n,) int8
    scores: np.ndarray  # (n,) float64
    drawn: np.ndarray  # (n,) int64, what the bootstrap draws: codes of identities, or of videos
    # metrics.measure_binary, and intervals as name -> [low, high] or None, and what they come from
    overall: dict[str, Any]
    groups: list[dict[str, Any]]  # rows of the table group_metrics; within each grouping worst first


@dataclass(frozen=True)
class Results:
    """An evaluation's numbers: one item a face in ``frame``, a track in ``track``, a video in ``video``."""

    video: Level
    track: Level
    frame: Level
    threshold: float
    aggregations: list[dict[str, Any]] = field(default_factory=list)  # ways to a video's score, compared
    decisions: DecisionMetrics = field(default_factory=DecisionMetrics)
    declared: list[dict[str, Any]] = field(default_factory=list)  # errors by stated groups: compare_groups

    def count_items(self) -> dict[str, int]:
        """How many videos and faces of each class were measured."""
        return {
            "videos": self.video.overall["n"],
            "real_videos": self.video.overall["n_real"],
            "fake_videos": self.video.overall["n_fake"],
            "tracks": self.track.overall["n"],
            "faces": self.frame.overall["n"],
        }

    def find_weakest(self, count: int = 5) -> list[dict[str, Any]]:
        """The groups of videos with the lowest AUC, of all groupings that tell any apart."""
        rows = [row for row in self.video.groups if row["auc"] is not None and row["grouped_by"] != "all"]
        groups = Counter(row["grouped_by"] for row in rows)
        rows = [
            row
            for row in rows
            if groups[row["grouped_by"]] > 1 and min(row["n_real"], row["n_fake"]) >= MEANINGFUL
        ]
        return sorted(rows, key=lambda row: (row["auc"], row["grouped_by"], row["group"]))[:count]


def measure_faces(
    faces: pa.Table,
    config: EvaluationConfig,
    threshold: float,
    decisions: Decisions | None = None,
    rivals: Mapping[str, np.ndarray] = MappingProxyType({}),
    faceless: pa.Table | None = None,
) -> Results:
    """Every number of labelled face scores.

    Args:
        faces: table ``face_scores`` without null labels.
        threshold: ``score >= threshold`` is called fake, on all levels.
        decisions: what the bundle's validation chose, where there is a bundle.
        rivals: scores ``(n,)`` of the same faces by ``RIVALS``, for their AUC beside.
        faceless: labelled videos in which no face was found, where they are known.
    """
    for name, scores in rivals.items():
        faces = faces.append_column(name, pa.array(scores, pa.float64()))
    faces = faces.sort_by([(name, "ascending") for name in ("video_id", "frame_index", "face_index")])
    faces = slices.add_columns(faces.combine_chunks())
    levels = {name: _measure_level(name, faces, config, threshold, list(rivals)) for name in LEVELS}
    video = levels["video"]
    videos = slices.aggregate_rows(faces, "video", config.aggregation, config.top_k)
    return Results(
        **levels,
        threshold=threshold,
        aggregations=_compare_aggregations(faces, config),
        decisions=measure_decisions(video.labels, video.scores, threshold, config, video.drawn, decisions),
        declared=compare_groups(videos, threshold, decisions or Decisions(), faceless),
    )


def describe_aggregation(config: EvaluationConfig) -> str:
    """The way to a video's score that is in force, in words."""
    words = {policy: words for policy, words, by_track in AGGREGATIONS if not by_track}
    return words[config.aggregation].format(k=config.top_k)


def list_warnings(results: Results) -> list[str]:
    """What a reader must know about the numbers themselves."""
    overall, found = results.video.overall, []
    few = [f"{overall[f'n_{name}']} {name}" for name in ("real", "fake") if overall[f"n_{name}"] < SMALL]
    if few:
        found.append(
            f"There are only {' and '.join(few)} videos. Numbers from so few move a lot with each video; "
            "read the intervals, where there are enough videos for any, and do not compare models by them."
        )
    drawn = overall["resampled"]
    if drawn["unit"] != "videos" and min(drawn["n_real"], drawn["n_fake"]) < FEW_UNITS:
        found.append(
            f"Intervals come from resampling {drawn['unit']}, of which {drawn['n_real']} have reals and "
            f"{drawn['n_fake']} fakes. So few give intervals that are too narrow, or none."
        )
    blind = overall[WITHOUT_LOOKING]
    if blind and blind["difference_interval"] and blind["difference_interval"].low <= 0:
        found.append(
            f"Without looking at a single pixel an AUC of {blind['auc']:.3f} is reached. It is not shown "
            "that this model sees more than that."
        )
    if overall["auc"] is not None and overall["auc"] < 0.5:
        found.append(
            "The AUC is below 0.5: the model ranks these reals above these fakes. That is no better than "
            "chance unless labels were swapped."
        )
    return found


def _measure_level(
    name: str, faces: pa.Table, config: EvaluationConfig, threshold: float, rivals: Sequence[str]
) -> Level:
    def aggregate(column: str = "score") -> pa.Table:
        rows = _replace_score(faces, column)
        if name == "frame":
            return rows
        return slices.aggregate_rows(rows, name, config.aggregation, config.top_k)

    table = aggregate()
    labels, scores = _read_labels(table), table["score"].to_numpy()
    drawn, unit = choose_bootstrap_units(table, config.bootstrap_over)
    overall = metrics.measure_binary(labels, scores, threshold)
    real, fake = (int(np.unique(drawn[labels == label]).size) for label in (0, 1))
    overall["resampled"] = {"unit": unit, "n_real": real, "n_fake": fake}
    overall["intervals"] = metrics.bootstrap_metrics(
        labels, scores, drawn, threshold, config.bootstrap, config.seed
    )
    others = {rival: aggregate(rival)["score"].to_numpy() for rival in rivals}
    overall |= dict.fromkeys(RIVALS)
    for rival, theirs in others.items():
        overall[rival] = compare_aucs(labels, scores, theirs, drawn, config)
    rows = []
    for grouped_by, masks in _group_rows(table, labels):
        found = []
        for group, mask in masks.items():
            numbers = metrics.measure_binary(labels[mask], scores[mask], threshold)
            del numbers["confusion"], numbers["eer_threshold"]
            row = {"level": name, "grouped_by": grouped_by, "group": group, **numbers}
            row |= measure_auc(labels[mask], scores[mask], drawn[mask], config)
            if (blind := others.get(WITHOUT_LOOKING)) is not None:
                row |= measure_auc(labels[mask], blind[mask], drawn[mask], config, "blind_auc")
            found.append(row)
        # worst first; those without an AUC (a single class) last
        rows += sorted(found, key=lambda row: (row["auc"] is None, row["auc"] or 0.0, row["group"]))
    return Level(labels, scores, drawn, overall, rows)


def compare_aucs(
    labels: np.ndarray, scores: np.ndarray, others: np.ndarray, drawn: np.ndarray, config: EvaluationConfig
) -> dict[str, Any]:
    """A rival's AUC, by what that of ``scores`` exceeds it, and the intervals of both; ``(n,)`` each."""
    auc, other = (metrics.measure_binary(labels, one)["auc"] for one in (scores, others))
    resamples = (drawn, config.bootstrap, config.seed)  # the same for both, and for all other intervals
    return {
        "auc": other,
        "interval": metrics.bootstrap_auc(labels, others, *resamples),
        "difference": None if auc is None else auc - other,
        "difference_interval": metrics.bootstrap_auc_difference(labels, scores, others, *resamples),
    }


def _replace_score(faces: pa.Table, column: str) -> pa.Table:
    """The faces with another column's values as their scores."""
    return faces.set_column(faces.schema.get_field_index("score"), "score", faces[column])


def measure_auc(
    labels: np.ndarray, scores: np.ndarray, drawn: np.ndarray, config: EvaluationConfig, name: str = "auc"
) -> dict[str, float | None]:
    """The AUC of ``(n,)`` items and its interval, as columns: ``name``, ``name_low``, ``name_high``."""
    low, high = metrics.bootstrap_auc(labels, scores, drawn, config.bootstrap, config.seed) or (None, None)
    auc = metrics.measure_binary(labels, scores)["auc"]
    return {name: auc, f"{name}_low": low, f"{name}_high": high}


def _compare_aggregations(faces: pa.Table, config: EvaluationConfig) -> list[dict[str, Any]]:
    """The ways of making a video's score from its faces', side by side; none depends on a threshold."""

    def aggregate(policy: str, by_track: bool, column: str = "score") -> pa.Table:
        rows = _replace_score(faces, column)
        if by_track:
            tracks = slices.aggregate_rows(rows, "track", policy, config.top_k)
            return slices.aggregate_rows(tracks, "video", "max", config.top_k)
        return slices.aggregate_rows(rows, "video", policy, config.top_k)

    rows = []
    for policy, words, by_track in AGGREGATIONS:
        videos = aggregate(policy, by_track)
        labels, scores = _read_labels(videos), videos["score"].to_numpy()
        drawn, _ = choose_bootstrap_units(videos, config.bootstrap_over)
        numbers = metrics.measure_binary(labels, scores)
        intervals = metrics.bootstrap_metrics(labels, scores, drawn, 0.5, config.bootstrap, config.seed)
        row = {
            "name": f"highest track, {policy}" if by_track else policy,
            "words": words.format(k=config.top_k),
            "used": not by_track and policy == config.aggregation,
            **{name: numbers[name] for name in ("auc", "partial_auc", "ap", "eer")},
            "intervals": {name: intervals[name] for name in ("auc", "partial_auc", "ap", "eer")},
        }
        if WITHOUT_LOOKING in faces.column_names:
            blind = aggregate(policy, by_track, WITHOUT_LOOKING)["score"].to_numpy()
            row |= measure_auc(labels, blind, drawn, config, "blind_auc")
        rows.append(row)
    return rows


def _group_rows(table: pa.Table, labels: np.ndarray) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """``(grouped by, masks by group)``: everything, then each grouping."""
    yield "all", {"all": np.ones(labels.size, bool)}
    methods = _read_texts(table, "method")
    yield "method", {m: (labels == 0) | (methods == m) for m in np.unique(methods[labels == 1])}
    for column in ("compression", "dataset", slices.FACE_SIZE, slices.TRACK_LENGTH, slices.FRAMING):
        values = _read_texts(table, column)
        if np.unique(values).size > 1:
            yield slices.WORDS.get(column, column), {v: values == v for v in np.unique(values)}
    for name, values in read_groups(table).items():
        yield name, {v: values == v for v in np.unique(values)}


def choose_bootstrap_units(table: pa.Table, over: str) -> tuple[np.ndarray, str]:
    """What the bootstrap draws: ``(n,)`` integer codes of videos, or of identities; and what one is."""
    if over == "identities":
        return choose_resampling_units(table)
    return table["video_id"].combine_chunks().dictionary_encode().indices.to_numpy(), "videos"


def _read_labels(table: pa.Table) -> np.ndarray:
    return table["label"].to_numpy().astype(np.int8)


def _read_texts(table: pa.Table, column: str) -> np.ndarray:
    return np.array(pc.fill_null(table[column], "unknown").to_pylist(), dtype=object)


def results_as_json(results: Results) -> Mapping[str, Any]:
    """Everything but the arrays, for ``metrics.json``."""
    levels = {name: getattr(results, name) for name in LEVELS}
    return {
        **{name: {"overall": level.overall, "groups": level.groups} for name, level in levels.items()},
        "weakest_groups": results.find_weakest(),
        "aggregations": results.aggregations,
        "declared_groups": results.declared,
        **results.decisions.as_json(),
    }
