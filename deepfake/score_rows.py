"""The crops of some videos, scored, as rows of the score tables. Plain code: no Ray, no files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import pyarrow as pa

from deepfake import tables
from deepfake.config import ScoringConfig
from deepfake.faces.crops import decode
from deepfake.metrics import aggregate
from deepfake.tables import Status

THUMBNAIL_SIDE = 112
CROPS_AT_ONCE = 512  # decoded crops held at a time: 77 MB


class Scorer(Protocol):
    """What scores crops; ``deepfake.bundle.Bundle`` is one."""

    @property
    def sha256(self) -> str:
        """Identity of everything that decides a score."""
        ...

    @property
    def threshold(self) -> float:
        """Scores at or above this are called fake."""
        ...

    def score(self, crops: np.ndarray) -> np.ndarray:
        """(n,) float64 in [0, 1] of (n, 224, 224, 3) uint8 RGB crops."""
        ...


def score_crops(encoded: Sequence[bytes], scorer: Scorer) -> np.ndarray:
    """(n,) float64 scores of encoded crops."""
    scores = [
        scorer.score(np.stack([decode(data) for data in encoded[start : start + CROPS_AT_ONCE]]))
        for start in range(0, len(encoded), CROPS_AT_ONCE)
    ]
    return np.concatenate(scores) if scores else np.empty(0)


def score_tables(
    videos: pa.Table, crops: pa.Table, scorer: Scorer, config: ScoringConfig, config_sha256: str
) -> dict[str, pa.Table]:
    """Tables ``face_scores``, ``track_scores``, ``video_scores`` and ``evidence`` of some videos.

    ``videos`` and ``crops`` are the tables of those names, ``crops`` sorted as preprocess leaves it. A
    video with fewer faces than ``config.min_faces`` gets status ``too_short`` and no score.
    """
    scores = score_crops(crops["crop"].to_pylist(), scorer)
    stamp = {"bundle_sha256": scorer.sha256, "config_sha256": config_sha256}
    faces: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row, score in zip(crops.to_pylist(), scores, strict=True):
        faces[row["video_id"]].append({**row, "score": float(score)})
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for video in videos.to_pylist():
        found = faces.get(video["video_id"], [])
        rows["face_scores"] += [{**_only(face, tables.FACE_SCORES), **stamp} for face in found]
        scored = video["status"] == Status.OK and len(found) >= config.min_faces
        tracks = _tracks(found, config) if scored else []
        rows["track_scores"] += [{**track, **stamp} for track in tracks]
        rows["video_scores"].append({**_video(video, found, tracks, scorer, config), **stamp})
        if scored:
            rows["evidence"].append(_evidence(_worst(found)))
    return {
        name: tables.from_rows(name, rows[name], config_sha256)
        for name in ("face_scores", "track_scores", "video_scores", "evidence")
    }


def _video(
    video: Mapping[str, Any],
    faces: Sequence[Mapping[str, Any]],
    tracks: Sequence[Mapping[str, Any]],
    scorer: Scorer,
    config: ScoringConfig,
) -> dict[str, Any]:
    row = {**_only(video, tables.VIDEO_SCORES), "threshold": scorer.threshold, "tracks": len(tracks)}
    if not tracks:
        if video["status"] == Status.OK:
            row |= {
                "status": Status.TOO_SHORT,
                "status_detail": f"{len(faces)} faces, scoring.min_faces is {config.min_faces}",
            }
        return row
    score = aggregate([face["score"] for face in faces], config.aggregation, config.top_k)
    worst = _worst(faces)
    return row | {
        "score": score,
        "verdict": "likely_fake" if score >= scorer.threshold else "likely_real",
        "worst_track_id": max(tracks, key=lambda track: track["score"])["track_id"],
        "worst_frame_index": worst["frame_index"],
        "worst_time_s": worst["time_s"],
        "worst_face_score": worst["score"],
    }


def _tracks(faces: Sequence[Mapping[str, Any]], config: ScoringConfig) -> list[dict[str, Any]]:
    by_track: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for face in faces:
        by_track[face["track_id"]].append(face)
    return [
        {
            **{name: group[0][name] for name in tables.PROVENANCE_COLUMNS},
            "video_id": group[0]["video_id"],
            "track_id": track_id,
            "score": aggregate([face["score"] for face in group], config.aggregation, config.top_k),
            "faces": len(group),
            "first_s": min(face["time_s"] for face in group),
            "last_s": max(face["time_s"] for face in group),
        }
        for track_id, group in sorted(by_track.items())
    ]


def _worst(faces: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The face with the highest score, the earliest of several."""
    return max(faces, key=lambda face: face["score"])


def _evidence(face: Mapping[str, Any]) -> dict[str, Any]:
    image = decode(face["crop"])
    small = cv2.resize(image, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    written, data = cv2.imencode(
        ".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85]
    )
    if not written:
        raise ValueError(f"{face['video_id']}: a thumbnail could not be encoded")
    return {**_only(face, tables.EVIDENCE), "image": data.tobytes()}


def _only(row: Mapping[str, Any], wanted: pa.Schema) -> dict[str, Any]:
    return {name: row[name] for name in wanted.names if name in row}
