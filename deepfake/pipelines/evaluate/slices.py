"""Rows of faces, tracks and videos that know how large the faces are and how long the tracks."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake import metrics

FACE_SIZE, TRACK_LENGTH, FRAMING = "face_size", "track_length", "framing"
WORDS = {FACE_SIZE: "face size", TRACK_LENGTH: "track length"}
WHOLE, AT_EDGE = "as wanted", "moved, smaller or mirrored at the frame's edge"  # crops, or most of a video's
_SIDE, _FACES, _EDGE = "_side", "_faces", "_edge"
_TRACK = "_track"
_SIZES = (64, 128, 256)  # pixels of the source frame: mean of the box's width and height
_LENGTHS = (2, 5, 17)  # faces of the longest track
_SEPARATOR = "\n"  # no track number holds one, so the last one in a key parts video and track


def add_columns(faces: pa.Table) -> pa.Table:
    """Face scores with what ``aggregate_rows`` and the groupings need besides."""
    track = pc.binary_join_element_wise(
        faces["video_id"], pc.cast(pc.fill_null(faces["track_id"], -1), pa.string()), _SEPARATOR
    )
    codes = pa.chunked_array(track).combine_chunks().dictionary_encode().indices.to_numpy()
    box = faces["box"].combine_chunks()
    side = (box.field("w").to_numpy() + box.field("h").to_numpy()) / 2
    length = np.bincount(codes)[codes] if codes.size else codes
    table = faces.append_column(_TRACK, track)
    edge = _tell_edge(faces)
    return _add_names(table, np.asarray(side, np.float64), np.asarray(length, np.int64), edge)


def aggregate_rows(rows: pa.Table, level: str, policy: str, top_k: int) -> pa.Table:
    """One row a ``track`` or a ``video`` from rows of ``add_columns``, or from tracks: score by the policy.

    The size of a track's or video's faces is their median, the length that of its longest track; it is
    framed as most of them.
    """
    key = rows[_TRACK] if level == "track" else rows["video_id"]
    keyed = rows.set_column(rows.schema.get_field_index("video_id"), "video_id", key)
    order = pc.sort_indices(keyed["video_id"])
    keyed = keyed.take(order).combine_chunks()
    table = metrics.aggregate_videos(keyed, policy, top_k)
    codes = keyed["video_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    sides = np.split(keyed[_SIDE].to_numpy(), starts[1:]) if codes.size else []
    lengths = np.maximum.reduceat(keyed[_FACES].to_numpy(), starts) if codes.size else np.empty(0, np.int64)
    if level == "track":
        table = table.append_column(_TRACK, table["video_id"])
        names = pc.list_element(
            pc.split_pattern(table["video_id"], _SEPARATOR, max_splits=1, reverse=True), 0
        )
        table = table.set_column(table.schema.get_field_index("video_id"), "video_id", names)
    edges = np.split(keyed[_EDGE].to_numpy(), starts[1:]) if codes.size else []
    edge = np.array([part.mean() for part in edges], np.float64)
    return _add_names(table, np.array([np.median(part) for part in sides]), lengths, edge)


def _tell_edge(faces: pa.Table) -> np.ndarray:
    """``(n,) float64``: 1 where the edge of its frame changed what a crop shows, else 0; nan: not known."""
    if "shift" not in faces.column_names:
        return np.full(len(faces), np.nan)
    padded, shift, shrink = (
        faces[name].to_numpy().astype(np.float64) for name in ("padded", "shift", "shrink")
    )
    known = ~np.isnan(padded + shift + shrink)
    return np.where(known, (padded > 0) | (shift > 0) | (shrink < 1), np.nan)


def _add_names(table: pa.Table, side: np.ndarray, length: np.ndarray, edge: np.ndarray) -> pa.Table:
    framing = pa.array([WHOLE, AT_EDGE]).take(pa.array((edge > 0.5).astype(np.int8), mask=np.isnan(edge)))
    return (
        table.append_column(_SIDE, pa.array(side, pa.float64()))
        .append_column(_FACES, pa.array(length, pa.int64()))
        .append_column(FACE_SIZE, _name_bins(side, _SIZES, "px"))
        .append_column(_EDGE, pa.array(edge, pa.float64()))
        .append_column(TRACK_LENGTH, _name_bins(length, _LENGTHS, "faces"))
        .append_column(FRAMING, framing)
    )


def _name_bins(values: np.ndarray, edges: Sequence[int], unit: str) -> pa.Array:
    first = f"under {edges[0]} {unit}" if edges[0] > 2 else "1 face"
    between = [f"{low} to {high - 1} {unit}" for low, high in pairwise(edges)]
    names = pa.array([first, *between, f"{edges[-1]} {unit} and more"])
    return names.take(pa.array(np.searchsorted(edges, values, "right")))
