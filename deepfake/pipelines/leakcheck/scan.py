"""Looks at every picture once, with Ray Data: stored crops, or the files of a catalog.

A task reads a few row groups, or a few files, and hands back some hundred bytes for each picture; no task
holds more than a window of decoded pictures. Of a catalog's videos the middle key frame is looked at.
"""

import io
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.config import CropConfig, DetectorConfig, LeakcheckConfig, RayConfig, SamplingConfig
from deepfake.crops import pictures
from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.facts import describe_boxes
from deepfake.crops.reader import decode_crop
from deepfake.crops.sandbox import get_extractor
from deepfake.execution import runner, work_units
from deepfake.execution.ray_errors import raise_user_errors
from deepfake.io import tables
from deepfake.io.checksums import hash_file
from deepfake.io.frame_files import hash_frames, list_frames
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.outcome import get_clock
from deepfake.pipelines.leakcheck.fingerprints import describe_picture
from deepfake.pipelines.leakcheck.inputs import LeakcheckInput
from deepfake.progress import Progress
from deepfake.video.errors import VideoError

log = logging.getLogger(__name__)

_NUMBERS = (
    "corner_black", "edge_black", "edge_constant", "edge_repeated", "brightness", "contrast",
    "red_minus_green", "blue_minus_green", "sharpness", "box_x", "box_y", "box_aspect", "box_area",
    "box_outside", "padded", "shift", "shrink", "box_side", "detector_score", "crop_bits_per_pixel",
)  # fmt: skip

# One row for each picture, in memory only. Crops are at (file, row_group, row); files of a catalog are not.
PICTURES = pa.schema(
    [
        ("video_id", pa.string()),
        ("frame_index", pa.int32()),
        ("face_index", pa.int16()),
        ("split", pa.string()),
        ("label", pa.int8()),
        ("file", pa.int32()),
        ("row_group", pa.int32()),
        ("row", pa.int32()),
        ("pixels", pa.binary()),
        ("phash", pa.uint64()),
        ("phash_mirrored", pa.uint64()),
        ("thumbnail", pa.binary()),
        *((name, pa.float32()) for name in _NUMBERS),
        # of a file of a catalog:
        ("content_sha256", pa.string()),
        ("size_bytes", pa.int64()),
        ("codec", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("duration_s", pa.float64()),
        ("frames_total", pa.int32()),
        ("problem", pa.string()),
    ]
)

_CROP_COLUMNS = [
    "video_id", "frame_index", "face_index", "split", "label", "box", "frame_width", "frame_height",
    "detector_score", "padded", "shift", "shrink", "crop",
]  # fmt: skip
SECONDS_PER_CROP = 0.005  # of one core
HASH_BYTES_PER_SECOND = 500e6
_WINDOW = 64  # crops held decoded or encoded at once by a task
_TASK_ROWS = 512  # crops a task
_TASK_FILES = 64  # files a task
_FACTS = ("codec", "width", "height", "duration_s", "frames_total")


def estimate_core_seconds(loaded: LeakcheckInput, pixels: bool) -> float:
    """About how long one core takes for ``scan_pictures``."""
    if loaded.kind == "crops":
        return SECONDS_PER_CROP * sum(loaded.videos["faces"].to_pylist())
    if pixels:
        return float(work_units.estimate_seconds(loaded.videos).sum())
    return sum(filter(None, loaded.videos["size_bytes"].to_pylist())) / HASH_BYTES_PER_SECOND


def scan_pictures(
    loaded: LeakcheckInput, options: LeakcheckConfig, config: RayConfig, storage: Storage
) -> pa.Table:
    """``PICTURES`` of all crops, or of all files of a catalog; sorted.

    Files of a catalog are hashed where another has their size; without ``options.pixels`` nothing else is
    done.
    """
    task: Callable[..., Iterator[pa.Table]]
    arguments: dict[str, Any] = {"storage": storage}
    if loaded.kind == "crops":
        blocks = _list_row_groups(loaded.files, storage)
        task, arguments = _scan_crops, arguments | {"files": loaded.files}
        what, total = "crops looked at", sum(pc.sum(block["rows"]).as_py() for block in blocks)
    else:
        blocks = _list_scanned_files(loaded.videos, options.pixels)
        task, arguments = _scan_files, arguments | {"options": options}
        what, total = "files looked at", sum(block.num_rows for block in blocks)
    if not blocks:
        return PICTURES.empty_table()
    parts = []
    with Progress(what, total) as progress, raise_user_errors("the leak check"):
        for batch in runner.run_tasks(blocks, task, arguments, config):
            parts.append(batch.cast(PICTURES))
            progress.step(batch.num_rows)
    found = pa.concat_tables(parts) if parts else PICTURES.empty_table()
    found = found.filter(pc.is_in(found["video_id"], loaded.videos["video_id"]))
    order = [(name, "ascending") for name in ("video_id", "frame_index", "face_index")]
    return found.sort_by(order).combine_chunks()


def read_key_frame(
    video_id: str, uri: str, timeout_seconds: float, storage: Storage
) -> tuple[dict[str, Any], np.ndarray, int]:
    """Facts of a file, the frame of it that is looked at, ``(h, w, 3) uint8 RGB``, and that frame's index.

    Raises ``VideoError``.
    """
    one = SamplingConfig(policy="keyframes", max_frames=1, timeout_seconds=timeout_seconds)
    # The detector is not asked; this one starts soonest.
    extractor = get_extractor(ExtractConfig(one, DetectorConfig(name="haar"), CropConfig()), storage)
    found = extractor.show({"video_id": video_id, "uri": uri})
    video = found.video
    if video["status"] != Status.OK:
        raise VideoError(Status(video["status"]), video["status_detail"])
    if not found.table.num_rows:
        raise VideoError(Status.DECODE_ERROR, "no frame could be decoded")
    (row,) = found.rows
    return {name: video[name] for name in _FACTS}, pictures.read_picture(row), row["frame_index"]


def _list_row_groups(files: Sequence[str], storage: Storage) -> list[pa.Table]:
    """Blocks of ``file, row_group, rows``, about ``_TASK_ROWS`` crops each."""
    blocks: list[list[dict[str, int]]] = [[]]
    for number, uri in enumerate(files):
        with tables.open_table(storage, uri, "crops") as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        for group, rows in enumerate(sizes):
            if sum(place["rows"] for place in blocks[-1]) >= _TASK_ROWS:
                blocks.append([])
            blocks[-1].append({"file": number, "row_group": group, "rows": rows})
    return [pa.Table.from_pylist(block) for block in blocks if block]


def _list_scanned_files(videos: pa.Table, pixels: bool) -> list[pa.Table]:
    """Blocks of files to look at; ``hash`` says whether a file's bytes may be another's."""
    sizes = videos["size_bytes"].to_pylist()
    counts = Counter(sizes)
    shared = [size is None or (size > 0 and counts[size] > 1) for size in sizes]
    listed = videos.select(["video_id", "uri", "split", "label"])
    listed = listed.append_column("hash", pa.array(shared, pa.bool_()))
    if not pixels:
        listed = listed.filter(listed["hash"])
    return [
        listed.slice(start, _TASK_FILES).combine_chunks() for start in range(0, listed.num_rows, _TASK_FILES)
    ]


def _scan_crops(block: pa.Table, files: tuple[str, ...], storage: Storage) -> Iterator[pa.Table]:
    """Rows of ``PICTURES`` for the crops of some row groups."""
    cv2.setNumThreads(1)  # Ray runs a task a core already
    for place in block.to_pylist():
        group = place["row_group"]
        with tables.open_table(storage, files[place["file"]], "crops") as file:
            rows = itertools.count()
            for batch in file.iter_batches(_WINDOW, [group], columns=_CROP_COLUMNS):
                boxes = pa.table(describe_boxes(pa.Table.from_batches([batch])))
                described = [
                    _describe_crop(crop, files, {"file": place["file"], "row_group": group, "row": row}) | box
                    for crop, box, row in zip(batch.to_pylist(), boxes.to_pylist(), rows, strict=False)
                ]
                yield pa.Table.from_pylist(described, PICTURES)


def _describe_crop(crop: dict[str, Any], files: tuple[str, ...], place: dict[str, int]) -> dict[str, Any]:
    where = f"{files[place['file']]}, row group {place['row_group']}, row {place['row']}"
    picture = decode_crop(crop["crop"], None, where)
    kept = (*_CROP_COLUMNS[:5], "detector_score", "padded", "shift", "shrink")
    return {
        **{name: crop[name] for name in kept},
        **place,
        "crop_bits_per_pixel": 8 * len(crop["crop"]) / (picture.shape[0] * picture.shape[1]),
        **describe_picture(picture),
    }


def _scan_files(block: pa.Table, options: LeakcheckConfig, storage: Storage) -> Iterator[pa.Table]:
    """Rows of ``PICTURES`` for files: hashes, and what an image or one key frame of a video shows."""
    cv2.setNumThreads(1)
    for entry in block.to_pylist():
        row = {name: entry[name] for name in ("video_id", "split", "label")}
        row |= {"frame_index": 0, "face_index": 0}
        until = time.monotonic() + options.timeout_seconds
        try:
            if entry["uri"].endswith("/"):  # frames
                frames = list_frames(entry["uri"], storage)
                row["size_bytes"] = sum(info.size for info in frames)
                if entry["hash"]:
                    row["content_sha256"] = hash_frames(frames, storage, until)
            else:
                with get_clock().on("read"), storage.open(entry["uri"]) as file:
                    row["size_bytes"] = file.seek(0, io.SEEK_END)
                    if entry["hash"]:
                        row["content_sha256"] = hash_file(file, until)
            if options.pixels:
                facts, picture, index = read_key_frame(
                    entry["video_id"], entry["uri"], options.timeout_seconds, storage
                )
                upright = {"height": picture.shape[0], "width": picture.shape[1], "frame_index": index}
                row |= {**facts, **upright, **describe_picture(picture)}
        except (VideoError, OSError) as error:
            row["problem"] = str(error)
            log.info("%s: %s", entry["video_id"], error)
        yield pa.Table.from_pylist([row], PICTURES)
