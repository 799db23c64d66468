"""A crops folder as an index in memory. Knows nothing of batches, Ray or training.

The index holds every column but the encoded crops, with the place (file, row group, row) of each crop.
``reader`` reads what lies there.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.crops.framing import measure_rooms
from deepfake.crops.pairing import find_originals
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.parts import list_part_files
from deepfake.io.run_record import RECORD_FILE, read_crop_size, read_record
from deepfake.io.storage import Storage
from deepfake.io.uri import join

log = logging.getLogger(__name__)

KEY = ("video_id", "frame_index", "face_index")
_COLUMNS = (
    "video_id", "frame_index", "face_index", "box", "frame_width", "frame_height", "sharpness",
    "dataset", "label", "method", "compression", "split", "target_id", "source_id", "group_id",
)  # fmt: skip
_HASHED = ("video_id", "frame_index", "face_index", "box", "sharpness", "label", "method", "split")
_READERS = 8  # files whose footers and key columns are fetched at once; matters on S3 only


@dataclass(frozen=True)
class CropSet:
    """The index of a crops folder."""

    uri: str
    files: tuple[str, ...]  # URIs, sorted
    table: pa.Table  # key columns of every crop, and file, row_group, row: int32
    config: Mapping[str, Any]  # what preprocess left in _config.json; empty where it is absent

    @property
    def crop_size(self) -> int:
        """Side of the crops in pixels."""
        return read_crop_size(self.config)

    def hash_crops(self) -> str:
        """Hash of what the crops are, whatever files they lie in.

        Covers keys, labels, methods, splits, boxes and sharpness; the last follows the pixels, so changed
        crops change the hash although their bytes are not read.
        """
        ordered = self.table.select(list(_HASHED)).sort_by([(name, "ascending") for name in KEY])
        digest = hashlib.sha256()
        for batch in ordered.to_batches(max_chunksize=65536):
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
    # (n, 4) float32, what the frames have around the faces: see crops.framing
    room: np.ndarray | None = None
    # bool, whether it is a copy with black corners (``training.faults``); None: there is none
    turned: np.ndarray | None = None
    # bool, whether the fake that self-blending makes of it is shown instead; None: of none
    blended: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, chosen: np.ndarray) -> Rows:
        """The rows at these places ``(k,) int64``, without their originals."""
        names = ("file", "row_group", "row", "label", "method", "room", "turned", "blended")
        arrays = {name: array[chosen] for name in names if (array := getattr(self, name)) is not None}
        return replace(self, **arrays, original=None)

    def add_copies(self, chosen: np.ndarray, flag: str) -> Rows:
        """These rows, then those at places ``(k,) int64`` once more as fakes, with ``flag`` set.

        ``flag`` is ``turned`` or ``blended``. Without their originals.
        """
        both = self.take(np.concatenate([np.arange(len(self)), chosen]))
        is_copy = np.arange(len(both)) >= len(self)
        label = np.where(is_copy, both.label.dtype.type(1), both.label)
        changed: dict[str, Any] = {"label": label, flag: is_copy}
        return replace(both, **changed)


def open_crops(uri: str, storage: Storage, limit: int | None = None) -> CropSet:
    """Index a crops folder; ``limit`` keeps the crops of the first so many videos."""
    files = list_part_files(uri, storage)
    table = index_rows(files, "crops", _COLUMNS, storage).combine_chunks()
    require_distinct(table, uri)
    if limit is not None:
        videos = pc.unique(table["video_id"])[:limit]
        table = table.filter(pc.is_in(table["video_id"], videos))
    record = read_record(uri, storage)
    if record is None:
        log.warning("%s is absent: how these crops were made is not known", join(uri, RECORD_FILE))
    return CropSet(uri, tuple(files), table, record or {})


def require_distinct(table: pa.Table, uri: str) -> None:
    """Refuse faces that are there twice, or that say different things of their video.

    ``table`` holds the columns ``KEY`` of all that is at ``uri``.
    """
    videos = table[KEY[0]].combine_chunks().dictionary_encode()
    codes = videos.indices  # groups in half the time
    for name in tables.PROVENANCE_COLUMNS:
        if name in table.column_names:
            told = pa.table({"video": codes, "value": table[name]}).group_by(["video", "value"]).aggregate([])
            if len(told) > len(videos.dictionary):
                twice = pc.value_counts(told["video"]).field("counts")
                video = pc.unique(told["video"])[pc.index(pc.greater(twice, 1), True).as_py()].as_py()
                raise UsageError(
                    f"{uri}: the faces of {videos.dictionary[video]} disagree on {name}; were two data sets "
                    "mixed in one folder?"
                )
    keys = table.select(list(KEY)).set_column(0, KEY[0], codes)
    distinct = keys.group_by(list(KEY)).aggregate([]).num_rows
    if distinct < len(table):
        raise UsageError(
            f"{uri}: {len(table) - distinct} faces are there twice (same video, frame and face); were the "
            "outputs of two runs copied into one folder? Make them again, into another folder"
        )


def index_rows(files: Sequence[str], name: str, columns: Sequence[str], storage: Storage) -> pa.Table:
    """Some columns of every row of files of a table ``name``, and where each lies.

    ``file`` is its number in ``files``, then come ``row_group`` and ``row`` within that: all int32.
    """

    def read(number: int) -> pa.Table:
        with tables.open_table(storage, files[number], name) as file:
            table = file.read(columns=list(columns))
            table = tables.add_later_columns(name, table, columns).replace_schema_metadata(None)
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        within = [np.arange(size, dtype=np.int32) for size in sizes]
        places = {
            "file": np.full(len(table), number, np.int32),
            "row_group": np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
            "row": np.concatenate(within or [np.empty(0, np.int32)]),
        }
        for column, values in places.items():
            table = table.append_column(column, pa.array(values))
        return table

    with ThreadPoolExecutor(_READERS) as pool:
        return pa.concat_tables(list(pool.map(read, range(len(files)))))


def select_labelled(table: pa.Table, split: str) -> pa.Table:
    """The labelled rows of one split of an index, in their order."""
    return table.filter(pc.and_(pc.equal(table["split"], split), pc.is_valid(table["label"])))


def select_rows(crops: CropSet, split: str, with_originals: bool = False) -> Rows:
    """The labelled crops of a split, in the order of the files. Unlabelled ones are left out, and said so.

    ``with_originals`` looks up which real crop belongs beside each fake.
    """
    labelled = select_labelled(crops.table, split)
    of_split = pc.sum(pc.equal(crops.table["split"], split)).as_py() or 0
    if skipped := of_split - len(labelled):
        log.warning("%s: %d crops of split %s have no label and are not used", crops.uri, skipped, split)
    named = pc.fill_null(labelled["method"], "unknown")
    methods = tuple(sorted(pc.unique(named).to_pylist()))
    codes = pc.index_in(named, pa.array(methods, pa.string()))

    file, row_group, row, label = (
        labelled[name].to_numpy() for name in ("file", "row_group", "row", "label")
    )
    original = find_originals(labelled) if with_originals else None
    numbers = codes.to_numpy().astype(np.int16)
    return Rows(file, row_group, row, label, numbers, methods, original, measure_rooms(labelled))
