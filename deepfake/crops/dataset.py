"""A crops folder as an index in memory and pixels on demand. Knows nothing of batches, Ray or training.

The index holds every column but the encoded crops, with the place (file, row group, row) of each crop.
``decode`` is the one place where stored bytes become RGB.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deepfake.crops.pairing import originals
from deepfake.errors import UsageError
from deepfake.faces.cropping import decode as decoded
from deepfake.io import tables
from deepfake.io.run_record import RECORD_FILE, read_record
from deepfake.io.storage import Storage
from deepfake.io.uri import join

log = logging.getLogger(__name__)

KEY = ("video_id", "frame_index", "face_index")
_COLUMNS = (
    "video_id", "frame_index", "face_index", "box", "sharpness",
    "dataset", "label", "method", "compression", "split", "target_id", "source_id", "group_id",
)  # fmt: skip
_TEXT = ("dataset", "method", "compression", "split", "target_id", "source_id", "group_id")
_HASHED = ("video_id", "frame_index", "face_index", "box", "sharpness", "label", "method", "split")
_READERS = 8  # files whose footers and key columns are fetched at once; matters on S3 only


@dataclass(frozen=True)
class CropSet:
    """The index of a crops folder."""

    uri: str
    files: tuple[str, ...]  # relative to uri, sorted
    table: pa.Table  # key columns of every crop, and file, row_group, row: int32
    config: Mapping[str, Any]  # what preprocess left in _config.json; empty where it is absent

    def sha256(self) -> str:
        """Hash of what the crops are, whatever files they lie in.

        Covers keys, labels, methods, splits, boxes and sharpness; the last follows the pixels, so changed
        crops change the hash although their bytes are not read.
        """
        order = pc.sort_indices(
            self.table, [(name, "ascending") for name in ("video_id", "frame_index", "face_index")]
        )
        digest = hashlib.sha256()
        for batch in self.table.select(list(_HASHED)).take(order).to_batches(max_chunksize=65536):
            digest.update(json.dumps(batch.to_pylist(), sort_keys=True).encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class Rows:
    """The labelled crops of one split: where they lie and what they are. Arrays of one length."""

    file: np.ndarray  # int32, index into CropSet.files
    row_group: np.ndarray  # int32
    row: np.ndarray  # int32, within the row group
    label: np.ndarray  # int8, 0 real, 1 fake
    method: np.ndarray  # int16, index into methods
    methods: tuple[str, ...]
    # int64, for each fake the row of its original's crop of the same frame, -1 where there is none
    original: np.ndarray | None = None
    turned: np.ndarray | None = (
        None  # bool, a copy with black corners (``training.faults``); None: there is none
    )

    def __len__(self) -> int:
        return len(self.label)


def open_crops(uri: str, storage: Storage, limit: int | None = None) -> CropSet:
    """Index a crops folder; ``limit`` keeps the crops of the first so many videos."""
    files = _files(uri, storage)
    with ThreadPoolExecutor(_READERS) as pool:
        parts = list(
            pool.map(lambda number: _index_file(uri, files[number], number, storage), range(len(files)))
        )
    table = pa.concat_tables(parts).combine_chunks()
    require_distinct(table, uri)
    if limit is not None:
        videos = pc.unique(table["video_id"])[:limit]
        table = table.filter(pc.is_in(table["video_id"], videos))
    record = read_record(uri, storage)
    if record is None:
        log.warning("%s is absent: how these crops were made is not known", join(uri, RECORD_FILE))
    return CropSet(uri, tuple(files), table, record or {})


def require_distinct(table: pa.Table, uri: str) -> None:
    """Refuse faces that are there twice; ``table`` holds the columns ``KEY`` of all that is at ``uri``."""
    keys = table.select(list(KEY)).set_column(
        0,
        KEY[0],
        table[KEY[0]].combine_chunks().dictionary_encode().indices,  # groups in half the time
    )
    distinct = keys.group_by(list(KEY)).aggregate([]).num_rows
    if distinct < len(table):
        raise UsageError(
            f"{uri}: {len(table) - distinct} faces are there twice (same video, frame and face); were the "
            "outputs of two runs copied into one folder? Make them again, into another folder"
        )


def _files(uri: str, storage: Storage) -> list[str]:
    if not storage.exists(uri):
        raise UsageError(f"{uri}: no such folder; give the crops folder that jobs/preprocess.py wrote")
    if not storage.is_folder(uri):
        raise UsageError(f"{uri}: this is a file; give the crops folder that jobs/preprocess.py wrote")
    found = [
        info.path
        for info in storage.list_files(uri)
        if info.path.endswith(".parquet")
        and not any(part.startswith(("_", ".")) for part in PurePosixPath(info.path).parts)
    ]
    if not found:
        raise UsageError(f"{uri}: no *.parquet files with crops; was jobs/preprocess.py run to its end?")
    return found


def _index_file(uri: str, name: str, number: int, storage: Storage) -> pa.Table:
    path = join(uri, name)
    with storage.open(path) as source, pq.ParquetFile(source) as file:
        tables.check_file(path, file.schema_arrow, "crops")
        table = file.read(columns=list(_COLUMNS))
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    table = table.replace_schema_metadata(None)
    for column in _TEXT:
        place = table.schema.get_field_index(column)
        table = table.set_column(place, column, table[column].cast(pa.string()))
    places = {
        "file": np.full(len(table), number, np.int32),
        "row_group": np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
        "row": np.concatenate([np.arange(size, dtype=np.int32) for size in sizes] or [np.empty(0, np.int32)]),
    }
    for column, values in places.items():
        table = table.append_column(column, pa.array(values))
    return table


def labelled_crops(table: pa.Table, split: str) -> pa.Table:
    """Those rows of an index that are labelled and of a split, in the order that they have."""
    return table.filter(pc.and_(pc.equal(table["split"], split), pc.is_valid(table["label"])))


def split_rows(crops: CropSet, split: str, with_originals: bool = False) -> Rows:
    """The labelled crops of a split, in the order of the files. Unlabelled ones are left out, and said so.

    ``with_originals`` looks up which real crop belongs beside each fake.
    """
    labelled = labelled_crops(crops.table, split)
    of_split = pc.sum(pc.equal(crops.table["split"], split)).as_py() or 0
    if skipped := of_split - len(labelled):
        log.warning("%s: %d crops of split %s have no label and are not used", crops.uri, skipped, split)
    named = pc.fill_null(labelled["method"], "unknown")
    methods = tuple(sorted(pc.unique(named).to_pylist()))
    codes = pc.index_in(named, pa.array(methods, pa.string()))

    def array(column: Any, kind: Any) -> np.ndarray:
        return np.asarray(column.to_numpy(), kind)

    return Rows(
        array(labelled["file"], np.int32),
        array(labelled["row_group"], np.int32),
        array(labelled["row"], np.int32),
        array(labelled["label"], np.int8),
        array(codes, np.int16),
        methods,
        originals(labelled) if with_originals else None,
    )


def identities(table: pa.Table, split: str) -> list[str]:
    """Every identity shown or used in a split, sorted; of videos without one the group, else the video."""
    rows = table.filter(pc.equal(table["split"], split)).select(
        ["video_id", "target_id", "source_id", "group_id"]
    )
    found: set[str] = set()
    for row in rows.group_by(rows.column_names).aggregate([]).to_pylist():
        found |= {row["target_id"], row["source_id"]} - {None} or {row["group_id"] or row["video_id"]}
    return sorted(found)


def sample_id(video_id: str, frame_index: int, face_index: int) -> str:
    """The name of a crop that augmentation is seeded by."""
    return f"{video_id}#{frame_index}#{face_index}"


@dataclass(frozen=True)
class StoredCrop:
    """One crop as it is stored."""

    sample_id: str
    encoded: bytes
    box: tuple[float, float, float, float] | None = None  # x, y, w, h in the frame's pixels, if asked for
    landmarks: np.ndarray | None = None  # (5, 2) in the frame's pixels, if asked for and known


def read_stored(
    uri: str,
    name: str,
    row_groups: Mapping[int, Sequence[int]],
    storage: Storage,
    with_faces: bool = False,
) -> dict[tuple[int, int], StoredCrop]:
    """Chosen rows of one file, by ``(row group, row)``. Reads those row groups and no others.

    ``with_faces`` reads boxes and landmarks too.
    """
    found: dict[tuple[int, int], StoredCrop] = {}
    columns = ["video_id", "frame_index", "face_index", "crop", *(["box", "landmarks"] * with_faces)]
    with storage.open(join(uri, name)) as source, pq.ParquetFile(source) as file:
        for group, rows in row_groups.items():
            taken = file.read_row_group(group, columns=columns).take(pa.array(rows, pa.int64()))
            for row, values in zip(rows, taken.to_pylist(), strict=True):
                identity = sample_id(values["video_id"], values["frame_index"], values["face_index"])
                box, landmarks = values.get("box"), values.get("landmarks")
                found[group, row] = StoredCrop(
                    identity,
                    values["crop"],
                    (box["x"], box["y"], box["w"], box["h"]) if box else None,
                    np.array(landmarks, np.float64).reshape(-1, 2) if landmarks else None,
                )
    return found


def decode(encoded: bytes, where: str = "crop", size: int | None = 224) -> np.ndarray:
    """Stored bytes as ``(size, size, 3) uint8 RGB``, 0..255.

    Raises ``tables.TableError`` that names ``where`` for bytes that are no image or of another size.
    """
    try:
        image = decoded(encoded)
    except ValueError as error:
        raise tables.TableError(f"{where}: the stored crop is not an image") from error
    if size is not None and image.shape[:2] != (size, size):
        raise tables.TableError(
            f"{where}: the stored crop is {image.shape[1]}x{image.shape[0]}, expected {size}x{size}; "
            f"run jobs/preprocess.py with --crop.size {size}"
        )
    return image
