"""From the scores of faces to the score of a video."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike

from deepfake.metrics.validation import validate_scores

POLICIES = ("mean", "median", "max", "top_k", "frame_max")

# What a video's row keeps of its faces' rows; the same for all faces of one video.
KEPT_COLUMNS = ("label", "method", "compression", "dataset", "split", "target_id", "source_id", "group_id",
                "groups")  # fmt: skip


def aggregate(
    scores: ArrayLike, policy: str = "mean", top_k: int = 5, frames: ArrayLike | None = None
) -> float:
    """One score from the ``(n,)`` scores of a video's (or track's) faces, the same in whatever order.

    mean: of all; median: of all; max: the highest; top_k: the mean of the ``top_k`` highest, or of all
    where there are fewer; frame_max: the mean over ``frames`` ``(n,)`` of the highest of each, as
    self-blended images are evaluated (Shiohara and Yamasaki 2022). Raises ``ValueError`` for no scores, NaN,
    an unknown policy, or frame_max without frames.
    """
    array = validate_scores(scores)
    if not array.size:
        raise ValueError("no scores to aggregate; without faces a video has a status, not a score")
    if policy == "max":
        return float(array.max())
    if policy == "median":
        return float(np.median(array))
    if policy == "mean":
        return _average(array.tolist())
    if policy == "top_k":
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, got {top_k}")
        return _average(np.sort(array)[-top_k:].tolist())
    if policy == "frame_max":
        if frames is None:
            raise ValueError("frame_max needs the frame of each score")
        numbers, place = np.unique(np.asarray(frames), return_inverse=True)
        highest = np.zeros(numbers.size)
        np.maximum.at(highest, place, array)
        return _average(highest.tolist())
    raise ValueError(f"unknown aggregation {policy!r}; one of {', '.join(POLICIES)}")


def aggregate_videos(face_scores: pa.Table, policy: str = "mean", top_k: int = 5) -> pa.Table:
    """One row a video from rows of faces: the policy over the scores of all its faces.

    Args:
        face_scores: columns ``video_id`` and ``score``, and any of ``KEPT_COLUMNS`` and ``frame_index``.

    Returns:
        Sorted by ``video_id``: ``video_id, score, faces, frames`` and the kept columns present.
        ``frames`` counts distinct frames, and is there if ``frame_index`` is. Raises ``ValueError`` where
        the faces of one video disagree on a kept column.
    """
    kept = [name for name in KEPT_COLUMNS if name in face_scores.column_names]
    has_frames = "frame_index" in face_scores.column_names
    keys = [("video_id", "ascending"), *([("frame_index", "ascending")] if has_frames else [])]
    table = face_scores.take(pc.sort_indices(face_scores, sort_keys=keys)).combine_chunks()
    scores = validate_scores(table["score"].to_numpy())
    codes = table["video_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    first = np.flatnonzero(np.diff(codes, prepend=-1))
    parts = np.split(scores, first[1:]) if scores.size else []
    for name in kept:
        _require_constant(table, name, codes, first)
    frames: Sequence[Any] = [None] * len(parts)
    if has_frames and parts:
        frames = np.split(table["frame_index"].to_numpy(), first[1:])
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "video_id": table["video_id"].take(pa.array(first)),
        "score": pa.array(
            [aggregate(part, policy, top_k, of) for part, of in zip(parts, frames, strict=True)], pa.float64()
        ),
        "faces": pa.array([part.size for part in parts], pa.int32()),
    }
    if has_frames:
        columns["frames"] = pa.array([np.unique(part).size for part in frames], pa.int32())
    columns |= {name: table[name].take(pa.array(first)) for name in kept}
    return pa.table(columns)


def _require_constant(table: pa.Table, name: str, codes: np.ndarray, first: np.ndarray) -> None:
    encoded = table[name].combine_chunks().dictionary_encode(null_encoding="encode")
    values = encoded.indices.to_numpy()
    if np.array_equal(values, values[first][codes] if values.size else values):
        return
    row = int(np.flatnonzero(values != values[first][codes])[0])
    video = table["video_id"][row].as_py()
    raise ValueError(f"{video}: its faces disagree on {name}; were two data sets mixed in one folder?")


def _average(values: Iterable[float]) -> float:
    """The mean, exactly rounded: the order of the values changes no bit of it."""
    values = list(values)
    return math.fsum(values) / len(values)
