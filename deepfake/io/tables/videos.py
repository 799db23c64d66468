"""Tables of what was found in videos: the catalog, videos, crops, and the pieces of long videos."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.io.tables.columns import (
    CREDENTIALS,
    FACE_KEY,
    FRAMING,
    NOTES,
    PROVENANCE,
    PROVENANCE_COLUMNS,
    VIDEO_KEY,
    VIDEO_OUTCOME,
    column,
)

CATALOG = pa.schema(
    [
        VIDEO_KEY,
        column("uri", pa.string(), "where the file is", False),
        column("size_bytes", pa.int64(), "size as listed"),
        column("modified", pa.timestamp("us", tz="UTC"), "modification time as listed"),
        *PROVENANCE,
    ]
)

CROPS = pa.schema(
    [
        *FACE_KEY,
        *FRAMING,
        column("landmarks", pa.list_(pa.float32()), "five points as x1, y1, ... in source pixels; or null"),
        column("frame_width", pa.int32(), "width of the upright source frame", False),
        column("frame_height", pa.int32(), "height of the upright source frame", False),
        column("sharpness", pa.float32(), "variance of the crop's Laplacian (8-bit grey)"),
        column("crop", pa.binary(), "encoded square image, RGB uint8 once decoded, never normalised", False),
        column("crop_format", pa.string(), "png, webp or jpeg", False),
        column(
            "surround",
            pa.binary(),
            "the wider surroundings, encoded alike, black where the crop is; null: not stored",
        ),
        *PROVENANCE,
    ]
)

# One row for each video that preprocess or score looked at.
VIDEOS = pa.schema(
    [
        *VIDEO_OUTCOME,
        column("gone", pa.bool_(), "true if the input no longer had the video at the last run; null: it did"),
        column("duplicate_of", pa.string(), "video_id of the same bytes, where status is skipped_duplicate"),
        column(
            "content_sha256",
            pa.string(),
            "hash of all bytes; null where only a part of a large file was read",
        ),
        column("etag", pa.string(), "the S3 object's ETag, where only a part of it was read"),
        column("size_bytes", pa.int64(), "size as read"),
        column("modified", pa.timestamp("us", tz="UTC"), "modification time as listed"),
        column("codec", pa.string(), "codec of the video stream, or of the image"),
        column("width", pa.int32(), "upright width in pixels"),
        column("height", pa.int32(), "upright height in pixels"),
        column("duration_s", pa.float64(), "presentation time of the last frame plus its length"),
        column("frames_total", pa.int32(), "frames in the container's index"),
        column(
            "transfer",
            pa.string(),
            "transfer function as stored, in FFmpeg's words (`arib-std-b67` is HLG, `smpte2084` PQ); "
            "null where the file does not say",
        ),
        NOTES,
        *CREDENTIALS,
        column("frames_sampled", pa.int32(), "frames looked at", False),
        column("frames_with_face", pa.int32(), "frames in which a face was kept", False),
        column("faces", pa.int32(), "crops kept", False),
        column("detector", pa.string(), "detector used"),
        column("decode_seconds", pa.float64(), "time spent opening and decoding"),
        column("detect_seconds", pa.float64(), "time spent finding faces"),
        column("crop_seconds", pa.float64(), "time spent cropping and encoding"),
        *PROVENANCE,
    ]
)

# What files that may be copies of others leave under ``_work/`` once they were read.
HASHES = pa.schema(
    [
        column("video_id", pa.string(), "unique in the archive", False),
        column("content_sha256", pa.string(), "of the file's bytes; null where it cannot be read"),
    ]
)

# What a long video's survey and pieces leave under ``_work/`` until they are joined.
PACKETS = pa.schema(
    [
        column("stamp", pa.int64(), "presentation stamp, in units that the file's metadata names", False),
        column("key", pa.bool_(), "whether decoding can start here", False),
        column("shown", pa.bool_(), "whether a frame of it is shown", False),
        column("offset", pa.int64(), "where its bytes begin; -1 unknown", False),
        column("size", pa.int64(), "its bytes", False),
    ]
)

PIECES = pa.schema(
    [
        column("frame_index", pa.int32(), "index of the frame in presentation order, from 0", False),
        column("time_s", pa.float64(), "presentation time in seconds from the first frame", False),
        column("frame_width", pa.int32(), "width of the upright source frame", False),
        column("frame_height", pa.int32(), "height of the upright source frame", False),
        column("face_index", pa.int16(), "index of the face in its frame; null for a frame without any"),
        *(column(name, pa.float64(), "of the box, in source pixels") for name in ("x", "y", "w", "h")),
        column("score", pa.float64(), "the detector's confidence"),
        column("landmarks", pa.list_(pa.float64()), "five points as x1, y1, ... in source pixels; or null"),
        column("sharpness", pa.float64(), "of the crop; null where the face cannot be kept"),
        column("crop", pa.binary(), "encoded square image of a face that may be kept"),
        column("surround", pa.binary(), "of that image, as in table crops"),
    ]
)

# Frames of a video that are wanted for people or fingerprints; from process to process only.
PICTURES = pa.schema(
    [
        column("frame_index", pa.int32(), "index of the frame in presentation order, from 0", False),
        column("frame_width", pa.int32(), "width of the upright source frame", False),
        column("frame_height", pa.int32(), "height of the upright source frame", False),
        column("width", pa.int32(), "width of the picture", False),
        column("height", pa.int32(), "height of the picture", False),
        column("rgb", pa.binary(), "its pixels, three bytes each, row by row", False),
        column("crop", pa.binary(), "those of the crop of the face that was asked for; null: none was"),
    ]
)

# What is told of each frame of a source that is watched.
WATCHED = pa.schema(
    [
        *PIECES,
        column("due", pa.float64(), "when it was to be shown: seconds of the machine's own clock", False),
        column("dropped", pa.int64(), "frames before it that came too fast to be looked at", False),
        column("width", pa.int32(), "width of the picture; null: no picture was asked for"),
        column("height", pa.int32(), "height of the picture"),
        column("rgb", pa.binary(), "its pixels, three bytes each, row by row; of a frame's first row"),
    ]
)


def make_video_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A row of table ``videos`` before anything was read; its status is still to come."""
    return {
        "video_id": entry["video_id"],
        "uri": entry["uri"],
        "size_bytes": entry.get("size_bytes"),
        "modified": entry.get("modified"),
        **{name: entry.get(name) for name in PROVENANCE_COLUMNS},
        "frames_sampled": 0,
        "frames_with_face": 0,
        "faces": 0,
    }


def select_relabelled(rows: pa.Table, listed: pa.Table) -> pa.Table:
    """``video_id`` and provenance, as ``listed`` has them, of videos of which ``rows`` say something else.

    Both have a row a video.
    """
    place = pc.index_in(rows["video_id"], listed["video_id"])
    differs = pa.array([False] * len(rows), pa.bool_())
    for name in PROVENANCE_COLUMNS:
        said, new = rows[name], listed[name].take(place)
        other = pc.or_(pc.fill_null(pc.not_equal(said, new), False), pc.xor(said.is_null(), new.is_null()))
        differs = pc.or_(differs, other)
    which = rows["video_id"].filter(pc.and_(differs, place.is_valid()))
    found = listed.select(["video_id", *PROVENANCE_COLUMNS])
    return found.filter(pc.is_in(found["video_id"], which.combine_chunks()))


def relabel(table: pa.Table, known: pa.Table) -> pa.Table:
    """A table with the provenance that ``known`` has of some of its videos, where it has such columns."""
    if not known.num_rows:
        return table
    place = pc.index_in(table["video_id"], known["video_id"])
    for name in PROVENANCE_COLUMNS:
        if name in table.column_names:
            field = table.schema.field(name)
            new = pc.if_else(place.is_valid(), known[name].take(place), table[name])
            table = table.set_column(table.schema.get_field_index(name), field, new)
    return table
