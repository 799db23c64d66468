"""Columns that several tables share, and how a column is described."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


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

# How the ``status_detail`` of a ``decode_error`` begins where our own code raised: no fault of the file.
PROGRAM_FAULT = "a fault of this program"


def count_program_faults(details: Iterable[str | None]) -> int:
    """How many values of ``status_detail`` tell of a fault of this program."""
    return sum(detail is not None and detail.startswith(PROGRAM_FAULT) for detail in details)


def count_values(column: pa.ChunkedArray) -> Counter[Any]:
    """How often a column has each value."""
    return Counter({entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()})


BOX = pa.struct([(name, pa.float32()) for name in ("x", "y", "w", "h")])


def column(name: str, kind: pa.DataType, doc: str, nullable: bool = True) -> pa.Field:
    """A column, with what it holds in words for readers of the schema."""
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


PROVENANCE = [
    column("dataset", pa.string(), "youtube, actors, ... or the name of the listed folder"),
    column("label", pa.int8(), "0 real, 1 fake, null unknown"),
    column("method", pa.string(), "manipulation method; 'real' for originals; null unknown"),
    column("compression", pa.string(), "raw, c23, c40; null unknown"),
    column(
        "split",
        pa.string(),
        "train, val or test; null: not labelled, or of a scored archive that names none",
    ),
    column("target_id", pa.string(), "identity (person or clip) whose footage is shown; null: not known"),
    column("source_id", pa.string(), "identity whose face or expression was put in; null for originals"),
    column(
        "group_id",
        pa.string(),
        "connected component of identities, or the file itself where nobody is known; never crosses a split",
    ),
    column("groups", pa.string(), "what catalog.groups names, as JSON by name; null: nothing is stated"),
]

PROVENANCE_COLUMNS: tuple[str, ...] = tuple(field.name for field in PROVENANCE)

VIDEO_KEY = column(
    "video_id", pa.string(), "path relative to the listed root, POSIX separators; unique in a catalog", False
)

# How it went with a video.
VIDEO_OUTCOME = [
    VIDEO_KEY,
    column("uri", pa.string(), "where the file is", False),
    column("status", pa.string(), "ok, or why there is no result: see above", False),
    column("status_detail", pa.string(), "what went wrong, in words"),
    column(
        "retry",
        pa.bool_(),
        "true if the failure may be the machine's: the same command tries the video again; null: no failure",
    ),
]

NOTES = column("notes", pa.string(), "what was chosen if the file leaves a choice, in words: streams, parts")

# What C2PA manifests say; null where nobody looked.
CREDENTIALS = [
    column(
        "credentials",
        pa.string(),
        "content credentials (C2PA) in the file: none; valid: the signature holds; trusted: by somebody of "
        "the trust list; invalid; unread: the file was not read whole or is damaged, or they lie elsewhere. "
        "Null: nobody looked",
    ),
    column("credentials_signer", pa.string(), "whom the signing certificate names"),
    column("credentials_time", pa.string(), "when it was signed, where a time stamp vouches for it"),
    column("credentials_actions", pa.string(), "what the signer says was done, and with what kind of source"),
    column("credentials_problem", pa.string(), "what does not hold, in C2PA's codes"),
]

FACE_KEY = [
    VIDEO_KEY,
    column("frame_index", pa.int32(), "index of the frame in presentation order, from 0", False),
    column("time_s", pa.float64(), "presentation time in seconds from the first frame", False),
    column("face_index", pa.int16(), "index of the face in its frame, largest first", False),
    column("track_id", pa.int32(), "number of the track, from 0: one person followed through the video"),
    column("box", BOX, "x, y, w, h in source pixels, before the margin", False),
    column("detector", pa.string(), "detector that found the face", False),
    column("detector_score", pa.float32(), "the detector's confidence; its scale is the detector's"),
]

# How near the face is to the edges of its frame, as its crop shows; null where that is not known.
FRAMING = [
    column("padded", pa.float32(), "share of the crop that lies outside the frame, and is mirrored"),
    column("shift", pa.float32(), "how far the crop was moved into the frame, in sides of the box"),
    column("shrink", pa.float32(), "side of the crop, as a share of the side that the margin asks for"),
]
