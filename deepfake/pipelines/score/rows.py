"""The crops of some videos, scored, as rows of the score tables. Plain code: no Ray, no files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from deepfake.config import ScoringConfig
from deepfake.faces.encoding import decode_image
from deepfake.io import tables
from deepfake.io.tables import Status
from deepfake.metrics import aggregate, segments
from deepfake.model.thresholds import Mixer
from deepfake.model.verdicts import VerdictRule
from deepfake.outcome import get_clock
from deepfake.report import images

THUMBNAIL_SIDE = 112
OWN = "bundle_scores"  # column
CROPS_AT_ONCE = 512  # decoded crops held at a time: 77 MB
TABLES = ("face_scores", "track_scores", "segments", "video_scores", "evidence")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Judgement:
    """What makes scores into answers, and what every row says of where it comes from."""

    scoring: ScoringConfig
    point: VerdictRule
    bundle_sha256: str
    config_sha256: str
    made_with: str | None = None
    pictures: bool = True  # whether the table evidence has any
    mixer: Mixer = Mixer()  # noqa: RUF009 - frozen

    @property
    def stamp(self) -> dict[str, str]:
        """The columns that every row has."""
        return {"bundle_sha256": self.bundle_sha256, "config_sha256": self.config_sha256}


def score_crops(encoded: Sequence[bytes], score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(n,) or (n, bundles) float64 of encoded crops; ``score`` takes ``(n, size, size, 3) uint8 RGB``."""
    with get_clock().on("score"):
        scores = [
            score(np.stack([decode_image(data) for data in encoded[start : start + CROPS_AT_ONCE]]))
            for start in range(0, len(encoded), CROPS_AT_ONCE)
        ]
    return np.concatenate(scores) if scores else np.empty(0)


def score_tables(
    videos: pa.Table,
    crops: pa.Table,
    scores: np.ndarray,
    judgement: Judgement,
    passes: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, pa.Table]:
    """The tables named in ``TABLES`` of some videos.

    ``videos`` and ``crops`` are the tables of those names, ``crops`` sorted as preprocess leaves it;
    ``scores`` are (n,) float64, one for each crop, or (n, bundles) of an ensemble. A video with fewer faces
    than ``scoring.min_faces`` gets status ``too_short`` and no score. ``passes`` is the column of that name,
    by video_id.
    """
    faces: dict[str, list[Row]] = defaultdict(list)
    own = scores.tolist() if scores.ndim == 2 else [None] * len(scores)
    for row, score, each in zip(crops.to_pylist(), judgement.mixer(scores), own, strict=True):
        faces[row["video_id"]].append({**row, "score": float(score), OWN: each})
    return judge_faces(videos, faces, judgement, _make_evidence, passes)


def judge_faces(
    videos: pa.Table,
    faces: Mapping[str, Sequence[Row]],
    judgement: Judgement,
    show: Callable[[Row], Row],
    passes: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, pa.Table]:
    """The tables named in ``TABLES`` from the scored faces of each video, by video_id.

    ``show`` makes a row of ``evidence`` of the face that speaks most against its video.
    """
    stamp = judgement.stamp
    rows: dict[str, list[Row]] = defaultdict(list)
    for video in videos.to_pylist():
        found = faces.get(video["video_id"], ())
        rows["face_scores"] += [{**_keep_columns(face, "face_scores"), **stamp} for face in found]
        scored = video["status"] == Status.OK and len(found) >= judgement.scoring.min_faces
        judged = [_JudgedTrack.of(group, judgement) for group in _group_by_track(found)] if scored else []
        rows["track_scores"] += [{**track.row(), **stamp} for track in judged]
        rows["segments"] += [{**row, **stamp} for row in _list_segment_rows(judged, judgement)]
        answer = _judge_video(video, found, judged, judgement)
        rows["video_scores"].append({**answer, "passes": passes.get(video["video_id"]), **stamp})
        if scored and judgement.pictures:
            rows["evidence"].append(show(_find_worst(found)))
    return {name: tables.from_rows(name, rows[name], judgement.config_sha256) for name in TABLES}


@dataclass(frozen=True)
class _JudgedTrack:
    """One person's faces through a video, judged."""

    faces: Sequence[Row]
    score: float
    own: Sequence[float] | None  # of each of several bundles
    found: Sequence[segments.Segment]

    @classmethod
    def of(cls, faces: Sequence[Row], judgement: Judgement) -> _JudgedTrack:
        scores, times = [face["score"] for face in faces], [face["time_s"] for face in faces]
        config = judgement.scoring
        smooth = segments.smooth_scores(times, scores, config.smooth_seconds)
        found = segments.find_segments(times, smooth, judgement.point.threshold)
        frames = [face["frame_index"] for face in faces]
        combine = partial(aggregate, policy=config.aggregation, top_k=config.top_k, frames=frames)
        own = _combine_each([face.get(OWN) for face in faces], combine)
        return cls(faces, combine(scores), own, [] if judgement.point.unproven else found)

    def row(self) -> dict[str, Any]:
        """Its row of ``track_scores``, less the stamp."""
        return {
            **_get_provenance(self.faces[0]),
            "track_id": self.faces[0]["track_id"],
            "score": self.score,
            OWN: self.own,
            "faces": len(self.faces),
            "first_s": self.faces[0]["time_s"],
            "last_s": self.faces[-1]["time_s"],
            "segments": len(self.found),
            **_measure_quality(self.faces),
        }


def _group_by_track(faces: Sequence[Row]) -> list[list[Row]]:
    """The faces of each track in the order of time, tracks by number."""
    by_track: dict[int, list[Row]] = defaultdict(list)
    for face in sorted(faces, key=lambda face: face["frame_index"]):
        by_track[face["track_id"]].append(face)
    return [group for _, group in sorted(by_track.items())]


def _list_segment_rows(judged: Sequence[_JudgedTrack], judgement: Judgement) -> list[dict[str, Any]]:
    rows = []
    for track in judged:
        for segment in track.found:
            faces = track.faces[segment.first : segment.last + 1]
            worst = _find_worst(faces)
            rows.append(
                {
                    **_get_provenance(worst),
                    "track_id": worst["track_id"],
                    "start_s": segment.start_s,
                    "end_s": segment.end_s,
                    "faces": len(faces),
                    "mean_score": aggregate([face["score"] for face in faces]),
                    "highest_score": worst["score"],
                    "highest_frame_index": worst["frame_index"],
                    "threshold": judgement.point.threshold,
                }
            )
    rows.sort(key=lambda row: (row["start_s"], row["track_id"]))
    return [{**row, "segment_index": i} for i, row in enumerate(rows)]


def _judge_video(
    video: Row, faces: Sequence[Row], judged: Sequence[_JudgedTrack], judgement: Judgement
) -> dict[str, Any]:
    config, point = judgement.scoring, judgement.point
    row = {
        **_keep_columns(video, "video_scores"),
        "threshold": point.threshold,
        "operating_point": point.name,
        "uncertain_from": point.uncertain_from,
        "uncertain_to": point.uncertain_to,
        "tracks": len(judged),
        "made_with": judgement.made_with,
    }
    if not judged:
        if video["status"] == Status.OK:
            row |= {
                "status": Status.TOO_SHORT,
                "status_detail": f"{len(faces)} faces, scoring.min_faces is {config.min_faces}",
            }
        return row
    frames = [face["frame_index"] for face in faces]
    if config.over_tracks == "faces":
        scores, each = [face["score"] for face in faces], [face.get(OWN) for face in faces]
        combine = partial(aggregate, policy=config.aggregation, top_k=config.top_k, frames=frames)
    else:
        scores, each = [track.score for track in judged], [track.own for track in judged]
        combine = partial(aggregate, policy=config.over_tracks, top_k=config.top_k)
    score = combine(scores)
    worst, found = _find_worst(faces), [segment for track in judged for segment in track.found]
    return row | {
        "score": score,
        OWN: _combine_each(each, combine),
        "verdict": point.judge(score),
        "probability": point.compute_probability(score),
        **point.describe_ratio(score),
        "worst_track_id": max(judged, key=lambda track: track.score).faces[0]["track_id"],
        "worst_frame_index": worst["frame_index"],
        "worst_time_s": worst["time_s"],
        "worst_face_score": worst["score"],
        "segments": None if point.unproven else len(found),
        "segments_s": None if point.unproven else segments.sum_covered_seconds(found),
        "longest_track_s": max(track.faces[-1]["time_s"] - track.faces[0]["time_s"] for track in judged),
        **_measure_quality(faces),
    }


def _combine_each(
    each: Sequence[Sequence[float] | None], combine: Callable[[Sequence[float]], float]
) -> list[float] | None:
    """What ``combine`` makes of each bundle's own scores of some faces or tracks; None where there is one."""
    known = [scores for scores in each if scores is not None]
    return [combine(own) for own in zip(*known, strict=True)] if known else None


def _get_provenance(face: Row) -> dict[str, Any]:
    return {name: face[name] for name in ("video_id", *tables.PROVENANCE_COLUMNS)}


def _measure_quality(faces: Sequence[Row]) -> dict[str, float | None]:
    """How well the faces could be seen."""
    sharp = [face["sharpness"] for face in faces if face.get("sharpness") is not None]
    return {
        "face_size_px": float(np.median([max(face["box"]["w"], face["box"]["h"]) for face in faces])),
        "sharpness": float(np.median(sharp)) if sharp else None,
    }


def _find_worst(faces: Sequence[Row]) -> Row:
    """The face with the highest score, the earliest of several."""
    return max(faces, key=lambda face: face["score"])


def _make_evidence(face: Row) -> dict[str, Any]:
    thumbnail = images.fit_side(decode_image(face["crop"]), THUMBNAIL_SIDE)
    return {**_keep_columns(face, "evidence"), "image": images.encode_jpeg(thumbnail, 85)}


def _keep_columns(row: Row, table: str) -> dict[str, Any]:
    return {name: row[name] for name in tables.list_columns(table) if name in row}
