"""Every Parquet schema of the project, column by column.

Nothing else in the project spells out a table's columns. Each file carries in its metadata the table's
name, the schema version, the hash of the configuration that made it and the package version; ``read``
refuses a file of another table or version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from deepfake import __version__

SCHEMA_VERSION = 2


class Status(StrEnum):
    """What became of a video. A score is null unless the status is ``ok``."""

    OK = "ok"
    NO_FACE = "no_face"
    TOO_SHORT = "too_short"
    DECODE_ERROR = "decode_error"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    TIMEOUT = "timeout"
    SKIPPED_DUPLICATE = "skipped_duplicate"


# Statuses that count against the error budget: the job could not look at the footage.
FAILURES = frozenset({Status.DECODE_ERROR, Status.UNREADABLE, Status.UNSUPPORTED, Status.TIMEOUT})

BOX = pa.struct([(name, pa.float32()) for name in ("x", "y", "w", "h")])


def _field(name: str, kind: pa.DataType, doc: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


_PROVENANCE = [
    _field("dataset", pa.string(), "youtube, actors, ... or the name of the listed folder"),
    _field("label", pa.int8(), "0 real, 1 fake, null unknown"),
    _field("method", pa.string(), "manipulation method; 'real' for originals; null unknown"),
    _field("compression", pa.string(), "raw, c23, c40; null unknown"),
    _field("split", pa.string(), "train, val or test; null where nothing is labelled"),
    _field("target_id", pa.string(), "identity (clip) whose footage is shown"),
    _field("source_id", pa.string(), "identity whose face or expression was put in; null for originals"),
    _field("group_id", pa.string(), "connected component of identities; never crosses a split"),
]

_VIDEO_KEY = _field(
    "video_id", pa.string(), "path relative to the listed root, POSIX separators; unique in a catalog", False
)

_FACE_KEY = [
    _VIDEO_KEY,
    _field("frame_index", pa.int32(), "index of the frame in presentation order, from 0", False),
    _field("time_s", pa.float64(), "presentation time in seconds from the first frame", False),
    _field("face_index", pa.int16(), "index of the face in its frame, largest first", False),
    _field("track_id", pa.int32(), "one number for one person through the video"),
    _field("box", BOX, "x, y, w, h in source pixels, before the margin", False),
    _field("detector", pa.string(), "detector that found the face", False),
    _field("detector_score", pa.float32(), "the detector's confidence; its scale is the detector's"),
]

CATALOG = pa.schema(
    [
        _VIDEO_KEY,
        _field("uri", pa.string(), "where the file is", False),
        _field("size_bytes", pa.int64(), "size as listed"),
        _field("modified", pa.timestamp("us", tz="UTC"), "modification time as listed"),
        *_PROVENANCE,
    ]
)

CROPS = pa.schema(
    [
        *_FACE_KEY,
        _field("landmarks", pa.list_(pa.float32()), "five points as x1, y1, ... in source pixels; or null"),
        _field("frame_width", pa.int32(), "width of the upright source frame", False),
        _field("frame_height", pa.int32(), "height of the upright source frame", False),
        _field("sharpness", pa.float32(), "variance of the crop's Laplacian (8-bit grey)"),
        _field("crop", pa.binary(), "encoded square image, RGB uint8 once decoded, never normalised", False),
        _field("crop_format", pa.string(), "png, webp or jpeg", False),
        *_PROVENANCE,
    ]
)

# One row for each video that preprocess or score looked at.
VIDEOS = pa.schema(
    [
        _VIDEO_KEY,
        _field("uri", pa.string(), "where the file is", False),
        _field("status", pa.string(), "a Status", False),
        _field("status_detail", pa.string(), "what went wrong, in words"),
        _field("duplicate_of", pa.string(), "video_id of the same bytes, where status is skipped_duplicate"),
        _field(
            "content_sha256",
            pa.string(),
            "hash of all bytes; null where only a part of a large file was read",
        ),
        _field("etag", pa.string(), "the S3 object's ETag, where only a part of it was read"),
        _field("size_bytes", pa.int64(), "size as read"),
        _field("codec", pa.string(), "codec of the video stream, or of the image"),
        _field("width", pa.int32(), "upright width in pixels"),
        _field("height", pa.int32(), "upright height in pixels"),
        _field("duration_s", pa.float64(), "presentation time of the last frame plus its length"),
        _field("frames_total", pa.int32(), "frames in the container's index"),
        _field("frames_sampled", pa.int32(), "frames looked at", False),
        _field("frames_with_face", pa.int32(), "frames in which a face was kept", False),
        _field("faces", pa.int32(), "crops kept", False),
        _field("detector", pa.string(), "detector used"),
        _field("decode_seconds", pa.float64(), "time spent opening and decoding"),
        _field("detect_seconds", pa.float64(), "time spent finding faces"),
        _field("crop_seconds", pa.float64(), "time spent cropping and encoding"),
        *_PROVENANCE,
    ]
)

FACE_SCORES = pa.schema(
    [
        *_FACE_KEY,
        _field("landmarks", pa.list_(pa.float32()), "five points as x1, y1, ... in source pixels; or null"),
        _field("score", pa.float64(), "probability-like score of fake in [0, 1]", False),
        _field("bundle_sha256", pa.string(), "the model bundle that gave the score", False),
        _field("config_sha256", pa.string(), "the configuration that gave the row", False),
        *_PROVENANCE,
    ]
)

TRACK_SCORES = pa.schema(
    [
        _VIDEO_KEY,
        _field("track_id", pa.int32(), "one number for one person through the video"),
        _field("score", pa.float64(), "aggregated over the track's faces", False),
        _field("faces", pa.int32(), "faces of the track", False),
        _field("first_s", pa.float64(), "time of the first face", False),
        _field("last_s", pa.float64(), "time of the last face", False),
        _field("face_size_px", pa.float32(), "median longer side of its boxes in source pixels", False),
        _field("sharpness", pa.float32(), "median sharpness of its crops (variance of the Laplacian)"),
        _field(
            "segments",
            pa.int32(),
            "stretches in which it looks fake (table segments)",
            False,
        ),
        _field("bundle_sha256", pa.string(), "the model bundle that gave the score", False),
        _field("config_sha256", pa.string(), "the configuration that gave the row", False),
        *_PROVENANCE,
    ]
)

# Where a track looks fake: one row for each stretch.
SEGMENTS = pa.schema(
    [
        _VIDEO_KEY,
        _field("track_id", pa.int32(), "one number for one person through the video"),
        _field("segment_index", pa.int32(), "counted from 0 in each video, by start", False),
        _field("start_s", pa.float64(), "where the track's smoothed score reaches the threshold", False),
        _field("end_s", pa.float64(), "where it leaves it", False),
        _field("faces", pa.int32(), "faces of the track that were looked at in it", False),
        _field("mean_score", pa.float64(), "mean of their scores", False),
        _field("highest_score", pa.float64(), "the highest of them", False),
        _field("highest_frame_index", pa.int32(), "its frame", False),
        _field("threshold", pa.float64(), "the threshold", False),
        _field("bundle_sha256", pa.string(), "the model bundle that gave the scores", False),
        _field("config_sha256", pa.string(), "the configuration that gave the row", False),
        *_PROVENANCE,
    ]
)

# The face that speaks most against a video: one row for each scored video.
EVIDENCE = pa.schema(
    [
        *_FACE_KEY,
        _field("score", pa.float64(), "its score", False),
        _field("image", pa.binary(), "the crop as a small JPEG, for people to look at", False),
    ]
)

VIDEO_SCORES = pa.schema(
    [
        _VIDEO_KEY,
        _field("uri", pa.string(), "where the file is", False),
        _field("status", pa.string(), "a Status", False),
        _field("status_detail", pa.string(), "what went wrong, in words"),
        _field("duplicate_of", pa.string(), "video_id of the same bytes, where status is skipped_duplicate"),
        _field("score", pa.float64(), "score of fake in [0, 1]; null unless status is ok"),
        _field("verdict", pa.string(), "likely_real, uncertain, likely_fake; null without a score"),
        _field(
            "probability",
            pa.float64(),
            "calibrated probability of a fake, where as many videos are fake as in the bundle's validation; "
            "null where the bundle could not be calibrated",
        ),
        _field("threshold", pa.float64(), "score that divides real from fake"),
        _field("operating_point", pa.string(), "how that threshold was chosen"),
        _field("uncertain_from", pa.float64(), "lower scores are likely_real"),
        _field("uncertain_to", pa.float64(), "scores from here are likely_fake"),
        _field("frames_sampled", pa.int32(), "frames looked at", False),
        _field("frames_with_face", pa.int32(), "frames in which a face was kept", False),
        _field("faces", pa.int32(), "faces scored", False),
        _field("tracks", pa.int32(), "tracks scored", False),
        _field("worst_track_id", pa.int32(), "track with the highest score"),
        _field("worst_frame_index", pa.int32(), "frame of the highest face score"),
        _field("worst_time_s", pa.float64(), "its presentation time in seconds"),
        _field("worst_face_score", pa.float64(), "the highest face score"),
        _field("segments", pa.int32(), "stretches in which a track looks fake"),
        _field("segments_s", pa.float64(), "seconds that they cover together"),
        _field("longest_track_s", pa.float64(), "from the first to the last face of the longest track"),
        _field("face_size_px", pa.float32(), "median longer side of the face boxes in source pixels"),
        _field("sharpness", pa.float32(), "median sharpness of the crops (variance of the Laplacian)"),
        _field("duration_s", pa.float64(), "duration in seconds"),
        _field("frames_total", pa.int32(), "frames in the container's index"),
        _field("passes", pa.int8(), "1: settled by the first look, 2: looked at whole; null: no first look"),
        _field("content_sha256", pa.string(), "hash of all bytes; null where only a part was read"),
        _field("size_bytes", pa.int64(), "size as read"),
        _field("detector", pa.string(), "detector used"),
        _field("bundle_sha256", pa.string(), "the model bundle that gave the score", False),
        _field("config_sha256", pa.string(), "the configuration that gave the row", False),
        _field("made_with", pa.string(), "versions of what decoded, detected and scored"),
        _field("decode_seconds", pa.float64(), "time spent opening and decoding"),
        _field("detect_seconds", pa.float64(), "time spent finding faces"),
        *_PROVENANCE,
    ]
)

# Two outputs of the score job, video by video.
CHANGES = pa.schema(
    [
        _field("video_id", pa.string(), "path relative to the listed root; in either output", False),
        *(
            _field(f"{name}_{when}", kind, f"{name} {words}; null where the video is not in it")
            for when, words in (("before", "in the earlier output"), ("after", "in this output"))
            for name, kind in (
                ("content_sha256", pa.string()),
                ("status", pa.string()),
                ("score", pa.float64()),
                ("verdict", pa.string()),
            )
        ),
        _field("difference", pa.float64(), "score_after - score_before; null unless both are there"),
    ]
)

_METRICS = (
    ("accuracy", "share called right at the threshold"),
    ("balanced_accuracy", "mean of recall and specificity"),
    ("precision", "share of fakes among what is called fake"),
    ("precision_real", "share of reals among what is called real"),
    ("recall", "share of fakes called fake"),
    ("specificity", "share of reals called real"),
    ("f1", "harmonic mean of precision and recall"),
    ("auc", "area under the ROC curve"),
    ("partial_auc", "the same up to FPR 0.1, standardised so that chance is 0.5"),
    ("ap", "average precision"),
    ("eer", "equal error rate"),
    ("log_loss", "cross-entropy in nats"),
    ("brier", "mean squared distance of score and label"),
    ("ece", "expected calibration error, 15 bins"),
)

GROUP_METRICS = pa.schema(
    [
        _field("level", pa.string(), "video, track or frame", False),
        _field(
            "grouped_by", pa.string(), "all, method, compression, dataset, face size or track length", False
        ),
        _field("group", pa.string(), "the group; a method's fakes stand against all reals", False),
        _field("n", pa.int64(), "videos, tracks or faces", False),
        _field("n_real", pa.int64(), "of these, real", False),
        _field("n_fake", pa.int64(), "of these, fake", False),
        _field("threshold", pa.float64(), "score from which something is called fake", False),
        *(_field(name, pa.float64(), f"{doc}; null where undefined") for name, doc in _METRICS),
        _field("auc_low", pa.float64(), "lower end of the AUC's 95 % bootstrap interval"),
        _field("auc_high", pa.float64(), "upper end"),
    ]
)

# One row for each epoch of a training run. Metrics are exact, over all crops that the epoch showed.
HISTORY = pa.schema(
    [
        _field("epoch", pa.int32(), "counted from 1", False),
        _field("phase", pa.string(), "head: the head learns alone; fine_tune: the backbone too", False),
        _field("steps", pa.int32(), "updates of the weights", False),
        _field("crops", pa.int64(), "training crops shown", False),
        _field("learning_rate", pa.float64(), "of the epoch's last step", False),
        _field("loss", pa.float64(), "mean binary cross-entropy of the training passes, with dropout", False),
        _field("penalty", pa.float64(), "L2 penalty at the end of the epoch, not in loss", False),
        *(
            _field(name, pa.float64(), f"{name} of the training passes; null where undefined")
            for name in ("accuracy", "precision", "recall", "auc")
        ),
        _field("val_loss", pa.float64(), "mean binary cross-entropy of all validation crops", False),
        *(
            _field(f"val_{name}", pa.float64(), f"{name} of validation; null where undefined")
            for name in ("accuracy", "precision", "recall", "auc")
        ),
        _field("best", pa.bool_(), "whether val_loss was the lowest so far", False),
        _field("train_seconds", pa.float64(), "time of the training steps, input included", False),
        _field("val_seconds", pa.float64(), "time of validation", False),
        _field(
            "input_wait_seconds", pa.float64(), "part of train_seconds that rank 0 waited for crops", False
        ),
    ]
)

# What the saved network says of the crops that training was validated on.
VALIDATION_SCORES = pa.schema(
    [
        _field("video_id", pa.string(), "the video", False),
        _field("frame_index", pa.int32(), "frame of the crop", False),
        _field("face_index", pa.int16(), "face within the frame", False),
        _field("group_id", pa.string(), "connected component of identities"),
        _field("label", pa.int8(), "0 real, 1 fake", False),
        _field("method", pa.string(), "manipulation method, or real"),
        _field("turned", pa.bool_(), "whether this is the rotated copy of faults.rotate_fakes", False),
        _field("score", pa.float64(), "in [0, 1], 1 for fake", False),
    ]
)

# What splits share, one row for each shared thing and pair of videos. Of a pair, a stands in split_a.
OVERLAPS = pa.schema(
    [
        _field(
            "kind",
            pa.string(),
            "identity, group, video, upload, duplicate_file, duplicate_crop, near_duplicate, label_conflict",
            False,
        ),
        _field(
            "scope", pa.string(), "input: of the videos at hand; official_split: of FF++'s own lists", False
        ),
        _field("key", pa.string(), "what is shared: identity, upload or content hash; null where only alike"),
        _field("split_a", pa.string(), "split of the first; null where it has none"),
        _field("split_b", pa.string(), "split of the second"),
        _field("video_a", pa.string(), "video_id in split_a, or the clip on the official list", False),
        _field("video_b", pa.string(), "video_id in split_b, or the clip on the official list", False),
        _field("label_a", pa.int8(), "label of video_a"),
        _field("label_b", pa.int8(), "label of video_b"),
        _field("frame_a", pa.int32(), "frame of video_a's crop that is in video_b too; the closest one"),
        _field("frame_b", pa.int32(), "frame of video_b's crop"),
        _field("hash_distance", pa.int16(), "bits of 64 in which the crops' perceptual hashes differ"),
        _field("pixel_difference", pa.float64(), "1 - correlation of the crops' 16x16 grey thumbnails"),
        _field("mirrored", pa.bool_(), "whether one is the mirror image of the other"),
        _field("crop_pairs", pa.int64(), "pairs of crops of these two videos that are alike"),
    ]
)

# What a long video's survey and pieces leave under ``_work/`` until they are joined.
PACKETS = pa.schema(
    [
        _field("stamp", pa.int64(), "presentation stamp, in units that the file's metadata names", False),
        _field("key", pa.bool_(), "whether decoding can start here", False),
        _field("shown", pa.bool_(), "whether a frame of it is shown", False),
        _field("offset", pa.int64(), "where its bytes begin; -1 unknown", False),
        _field("size", pa.int64(), "its bytes", False),
    ]
)

PIECES = pa.schema(
    [
        _field("frame_index", pa.int32(), "index of the frame in presentation order, from 0", False),
        _field("time_s", pa.float64(), "presentation time in seconds from the first frame", False),
        _field("frame_width", pa.int32(), "width of the upright source frame", False),
        _field("frame_height", pa.int32(), "height of the upright source frame", False),
        _field("face_index", pa.int16(), "index of the face in its frame; null for a frame without any"),
        *(_field(name, pa.float64(), "of the box, in source pixels") for name in ("x", "y", "w", "h")),
        _field("score", pa.float64(), "the detector's confidence"),
        _field("landmarks", pa.list_(pa.float64()), "five points as x1, y1, ... in source pixels; or null"),
        _field("sharpness", pa.float64(), "of the crop; null where the face cannot be kept"),
        _field("crop", pa.binary(), "encoded square image of a face that may be kept"),
    ]
)

SCHEMAS: dict[str, pa.Schema] = {
    "catalog": CATALOG,
    "crops": CROPS,
    "videos": VIDEOS,
    "face_scores": FACE_SCORES,
    "track_scores": TRACK_SCORES,
    "segments": SEGMENTS,
    "evidence": EVIDENCE,
    "video_scores": VIDEO_SCORES,
    "changes": CHANGES,
    "group_metrics": GROUP_METRICS,
    "history": HISTORY,
    "validation_scores": VALIDATION_SCORES,
    "overlaps": OVERLAPS,
    "packets": PACKETS,
    "pieces": PIECES,
}

PROVENANCE_COLUMNS: tuple[str, ...] = tuple(field.name for field in _PROVENANCE)


class TableError(ValueError):
    """A Parquet file is not the table that was asked for."""


def columns(name: str) -> list[str]:
    """Column names of a table, in order."""
    return list(SCHEMAS[name].names)


def schema(name: str, config_sha256: str | None = None) -> pa.Schema:
    """Schema of table ``name`` with the metadata that its files carry."""
    metadata = {
        "deepfake.table": name,
        "deepfake.schema_version": str(SCHEMA_VERSION),
        "deepfake.version": __version__,
    }
    if config_sha256 is not None:
        metadata["deepfake.config_sha256"] = config_sha256
    return SCHEMAS[name].with_metadata(metadata)


def from_rows(name: str, rows: Iterable[Mapping[str, Any]], config_sha256: str | None = None) -> pa.Table:
    """Rows as a table; an absent nullable column is null.

    Raises ``TableError`` for a key that is no column, a value of another type, a null that may not be.
    """
    wanted = schema(name, config_sha256)
    rows = list(rows)
    known = set(wanted.names)
    for row in rows:
        if unknown := set(row) - known:
            raise TableError(f"table {name}: no such column: {', '.join(sorted(unknown))}")
    try:
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=wanted)
    except pa.ArrowException:
        for field in wanted:
            _check_values(name, field, rows)
        raise
    for field in wanted:
        if not field.nullable and table[field.name].null_count:
            raise TableError(f"table {name}: column {field.name} must not be null")
    return table


def _check_values(name: str, field: pa.Field, rows: Sequence[Mapping[str, Any]]) -> None:
    try:
        pa.array([row.get(field.name) for row in rows], field.type)
    except pa.ArrowException as error:
        raise TableError(f"table {name}: column {field.name} is {field.type}: {error}") from None


def check_file(path: str, file_schema: pa.Schema, name: str) -> None:
    """Raise ``TableError`` unless a Parquet file's schema is that of table ``name``."""
    metadata = {
        key.decode(): value.decode()
        for key, value in (file_schema.metadata or {}).items()
        if key.startswith(b"deepfake.")
    }
    found = metadata.get("deepfake.table")
    if found is not None and found != name:
        raise TableError(f"{path}: this is a {found} table, expected {name}")
    version = metadata.get("deepfake.schema_version")
    if version is not None and version != str(SCHEMA_VERSION):
        raise TableError(
            f"{path}: schema {version}, this version reads {SCHEMA_VERSION}; write it again with this version"
        )
    for field in SCHEMAS[name]:
        index = file_schema.get_field_index(field.name)
        if index < 0:
            raise TableError(f"{path}: column {field.name!r} is missing; is it a {name} table?")
        kind = file_schema.field(index).type
        if kind != field.type:
            raise TableError(f"{path}: column {field.name!r} is {kind}, expected {field.type}")


def writer(sink: Any, table_schema: pa.Schema) -> pq.ParquetWriter:
    """A Parquet writer for one of the tables. Encoded images are not compressed again."""
    compression: Any = "zstd"
    if "crop" in table_schema.names:
        compression = {name: "none" if name == "crop" else "zstd" for name in _leaves(table_schema)}
    dictionary = [field.name for field in table_schema if pa.types.is_string(field.type)]
    return pq.ParquetWriter(sink, table_schema, compression=compression, use_dictionary=dictionary)


def write(table: pa.Table, sink: Any, row_group_rows: int = 65536) -> None:
    """Write one Parquet file to a path or an open binary file."""
    with writer(sink, table.schema) as file:
        file.write_table(table, row_group_size=row_group_rows)


def _leaves(arrow_schema: pa.Schema) -> list[str]:
    names: list[str] = []
    for field in arrow_schema:
        if pa.types.is_struct(field.type):
            names += [f"{field.name}.{child.name}" for child in field.type]
        elif pa.types.is_list(field.type):
            names.append(f"{field.name}.list.element")
        else:
            names.append(field.name)
    return names


def read(source: Any, name: str, columns: Sequence[str] | None = None, path: str = "") -> pa.Table:
    """One Parquet file of table ``name``; raises ``TableError`` where it is something else."""
    where = path or str(source)
    try:
        with pq.ParquetFile(source) as file:
            check_file(where, file.schema_arrow, name)
            return file.read(columns=list(columns) if columns is not None else None)
    except pa.ArrowInvalid as error:
        raise TableError(f"{where}: not a whole Parquet file: {error}") from None
