"""Whether what a child answered can be the answer to what it was asked.

A decoder that was taken over answers whatever it likes, but only for the file that took it over: what the
catalog knows of a video comes from the catalog, and the rest is bounded and agrees with itself.
"""

import json
import math
import re
import struct
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.crops import chunks
from deepfake.crops.extraction import LONGEST_TEXT, ExtractConfig
from deepfake.faces import encoding
from deepfake.io import tables
from deepfake.io.tables import PROGRAM_FAULT, PROVENANCE_COLUMNS, Status
from deepfake.io.tables.videos import make_video_row

STATUSES = frozenset(Status) - {Status.SKIPPED_DUPLICATE, Status.TOO_SHORT}
MOST_PIECES = 10_000
# Of Arrow's messages: fields by number, and the kind of header that a record batch is.
_HEADER_TYPE, _HEADER, _COMPRESSION, _RECORD_BATCH = 1, 2, 3, 3
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TAKEN = ("gone", "duplicate_of")  # what no decoder has to say
_OWN = ("video_id", *PROVENANCE_COLUMNS)


# Of the metadata of a row of ``videos``: how long its video took the child, by stage, and what that read.
_ACCOUNT = b"account"
_STAGES = ("read", "decode", "detect", "crop")
_COUNTS = ("bytes_read",)
_MOST = 1e15  # seconds, or bytes


class Misfit(ValueError):
    """An answer that is none to what was asked."""


def read_answer(data: bytes | bytearray, name: str) -> pa.Table:
    """A table ``name`` from a child's Arrow stream; ``ValueError`` or ``pa.ArrowException`` where it is none.

    Compressed buffers and dictionaries, which may unpack to any size, are not unpacked.
    """
    try:
        for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(data)):
            if message.type not in ("schema", "record batch") or is_compressed(bytes(message.metadata)):
                raise Misfit("a table that is packed")
        return tables.check_table(name, tables.from_ipc(data))
    except (OSError, struct.error) as error:  # what Arrow raises of bytes that are no stream
        raise Misfit(str(error)) from None


def add_account(videos: pa.Table, seconds: Mapping[str, float], counts: Mapping[str, float]) -> pa.Table:
    """A row of ``videos`` with what a child spent on it, by stage, and counted."""
    account = json.dumps([seconds, counts]).encode()
    return videos.replace_schema_metadata({**(videos.schema.metadata or {}), _ACCOUNT: account})


def read_account(videos: pa.Table) -> tuple[dict[str, float], dict[str, float]]:
    """What ``add_account`` told, as far as it can be; empty where a child tells nothing. Or ``Misfit``."""
    told = (videos.schema.metadata or {}).get(_ACCOUNT)
    if told is None:
        return {}, {}
    try:
        both = json.loads(told)
        seconds, counts = (
            {name: float(found.get(name, 0.0)) for name in names}
            for found, names in zip(both, (_STAGES, _COUNTS), strict=True)
        )
    except (TypeError, ValueError, AttributeError, RecursionError, OverflowError):
        raise Misfit("an account that is none") from None
    _require(all(0 <= value <= _MOST for value in (*seconds.values(), *counts.values())), "an account")
    return seconds, counts


def is_compressed(message: bytes) -> bool:
    """Whether a record batch's message, a FlatBuffer, has ``compression`` (format/Message.fbs of Arrow)."""
    root = struct.unpack_from("<I", message)[0]
    kind = find_field(message, root, _HEADER_TYPE)
    if kind is None or message[kind] != _RECORD_BATCH:
        return False
    header = find_field(message, root, _HEADER)
    if header is None:
        return False
    batch = header + struct.unpack_from("<I", message, header)[0]
    return find_field(message, batch, _COMPRESSION) is not None


def find_field(message: bytes, table: int, number: int) -> int | None:
    """Where a field of a FlatBuffer's table lies; None where it is absent."""
    fields = table - struct.unpack_from("<i", message, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", message, fields)[0]:
        return None
    offset = struct.unpack_from("<H", message, fields + 4 + 2 * number)[0]
    return table + offset if offset else None


def require_fit(
    entry: Mapping[str, Any], videos: pa.Table, table: pa.Table, name: str, asked: Mapping[str, Any],
    config: ExtractConfig,
) -> dict[str, Any]:  # fmt: skip
    """The one row of ``videos``; ``Misfit`` where it and table ``name`` cannot be those of a catalog row.

    ``asked`` is the request that they answer.
    """
    _require(videos.num_rows == 1, f"{videos.num_rows} rows for one video")
    video: dict[str, Any] = videos.to_pylist()[0]
    _check_video(entry, video, config)
    is_ok = video["status"] == Status.OK
    _require(is_ok or not table.num_rows, f"{table.num_rows} rows and status {video['status']}")
    if name == "crops":
        _require(not is_ok or table.num_rows > 0, "status ok without a face")
        _check_crops(entry, video, table, config)
    elif name == "packets" and is_ok:
        _check_bounds(table)
    elif name == "pieces" and is_ok:
        first, stop = asked["bounds"]
        frames = pc.count_distinct(table["frame_index"]).as_py()
        _require(frames == video["frames_sampled"] <= stop - first, f"{frames} frames of a piece")
    elif name == "pictures":
        _check_pictures(video, table, asked, config)
    elif name == "watched" and table.num_rows:
        _check_watched(video, table, asked, config)
    return video


def _require(holds: bool, words: str) -> None:
    if not holds:
        raise Misfit(words)


def _check_video(entry: Mapping[str, Any], video: Mapping[str, Any], config: ExtractConfig) -> None:
    own = make_video_row(entry)
    for name in ("uri", *_OWN, *_TAKEN):
        _require(video[name] == own.get(name), f"{name} is {str(video[name])[:100]!r}")
    _require(video["status"] in STATUSES, f"status {str(video['status'])[:100]!r}")
    _require(video["detector"] in (None, config.detector.name), "another detector")
    digest = video["content_sha256"]
    _require(digest is None or bool(_SHA256.fullmatch(digest)), "content_sha256 is no hash")
    detail = video["status_detail"] or ""
    _require(not detail.startswith(PROGRAM_FAULT), "a fault of this program among the words for a file")
    for name, value in video.items():
        if isinstance(value, str) and name not in ("uri", *_OWN):
            _require(len(value) <= LONGEST_TEXT and "\0" not in value, f"{name} is too long")
        if isinstance(value, int | float) and name not in PROVENANCE_COLUMNS:
            _require(math.isfinite(value) and value >= 0, f"{name} is {value}")
    _require(video["frames_with_face"] <= video["frames_sampled"], "more frames with a face than frames")


def _check_crops(
    entry: Mapping[str, Any], video: Mapping[str, Any], table: pa.Table, config: ExtractConfig
) -> None:
    _require(video["faces"] == table.num_rows, f"{video['faces']} faces, {table.num_rows} crops")
    frames = pc.count_distinct(table["frame_index"]).as_py()
    _require(video["frames_with_face"] == frames, f"{frames} frames with a face")
    if not table.num_rows:
        return
    fixed = {"detector": config.detector.name, "crop_format": config.crop.format}
    for name, value in ({name: entry.get(name) for name in _OWN} | fixed).items():
        column = table[name]
        same = column.null_count == len(column) if value is None else pc.all(pc.equal(column, value)).as_py()
        _require(same is True and (value is None or not column.null_count), f"{name} of a crop is another")
    keys = set(zip(table["frame_index"].to_pylist(), table["face_index"].to_pylist(), strict=True))
    _require(len(keys) == table.num_rows, "a face twice")
    for column in (table["time_s"], table["sharpness"], *table["box"].combine_chunks().flatten()):
        _require(bool(pc.all(pc.is_finite(column)).as_py()), "a number that is none")
    sides = {"crop": config.crop.size, "surround": config.crop.size + 2 * config.crop.surround}
    for name, side in sides.items():
        for data in table[name].to_pylist():
            if data is not None:
                size = encoding.read_size(data)
                _require(size == (side, side), f"a {name} of {size} pixels")


def _check_watched(
    video: Mapping[str, Any], table: pa.Table, asked: Mapping[str, Any], config: ExtractConfig
) -> None:
    rows = table.to_pylist()
    _require(
        len({(row["frame_index"], row["frame_width"], row["frame_height"]) for row in rows}) == 1, "frames"
    )
    _require(len({row["face_index"] for row in rows}) == len(rows), "a face twice")
    for row in rows:
        _require(row["frame_width"] * row["frame_height"] <= config.sampling.max_pixels, "too large a frame")
        numbers = [
            row[name] for name in ("time_s", "due", "x", "y", "w", "h", "score") if row[name] is not None
        ]
        _require(all(map(math.isfinite, numbers)) and row["dropped"] >= 0, "a number that is none")
        _require(len(numbers) == (2 if row["face_index"] is None else 7), "half a face")
        side = config.crop.size
        _require(
            row["crop"] is None or encoding.read_size(row["crop"]) == (side, side), "a crop of another size"
        )
    first = rows[0]
    if first["rgb"] is not None:
        width, height = first["width"] or 0, first["height"] or 0
        _require(
            min(width, height) > 0 and max(width, height) <= asked["side"], "a picture that is too large"
        )
        _require(len(first["rgb"]) == 3 * width * height, "a picture of another size")


def _check_bounds(table: pa.Table) -> None:
    try:
        bounds = json.loads(table.schema.metadata[chunks.LISTING_KEY])["bounds"]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Misfit("a survey without bounds") from None
    whole = isinstance(bounds, list) and all(type(bound) is int for bound in bounds)
    _require(whole and 0 < len(bounds) <= MOST_PIECES, "bounds of pieces that are none")
    _require(bounds[0] == 0 and bounds == sorted(set(bounds)), "bounds of pieces out of order")


def _check_pictures(
    video: Mapping[str, Any], table: pa.Table, asked: Mapping[str, Any], config: ExtractConfig
) -> None:
    _require(video["frames_sampled"] == table.num_rows or not table.num_rows, "another number of pictures")
    wanted = None if asked["faces"] is None else {face["frame_index"] for face in asked["faces"]}
    most = config.sampling.max_frames if wanted is None else len(wanted)
    _require(table.num_rows <= most, f"{table.num_rows} pictures")
    indices = set(table["frame_index"].to_pylist())
    _require(len(indices) == table.num_rows and (wanted is None or indices <= wanted), "other pictures")
    for row in table.to_pylist():
        size = row["width"], row["height"], row["frame_width"], row["frame_height"]
        _require(min(size) > 0 and len(row["rgb"]) == 3 * size[0] * size[1], "a picture of another size")
        _require(size[2] * size[3] <= config.sampling.max_pixels, "a frame that is too large")
        _require(asked["side"] is None or max(size[:2]) <= asked["side"], "a picture that is too large")
        length = None if wanted is None else 3 * config.crop.size**2
        _require((None if row["crop"] is None else len(row["crop"])) == length, "a crop of another size")
