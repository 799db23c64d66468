"""Crops that an earlier job kept, as the input of scoring: nothing is decoded or searched for faces again.

They come from preprocess, or from a score job with ``scoring.keep_crops``.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig, hash_json
from deepfake.crops.dataset import index_rows
from deepfake.crops.reader import read_rows
from deepfake.errors import UsageError
from deepfake.execution.attempts import Attempt
from deepfake.execution.unit_worker import UNIT_ID, read_unit_id
from deepfake.execution.work_units import Unit
from deepfake.io import tables
from deepfake.io.parts import list_part_files, read_part_names
from deepfake.io.run_record import RECORD_FILE, parse_section, read_record
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.outcome import get_clock

PLACES = "places"  # JSON of [[part's URI, row group, first row, rows], ...]: where a video's crops lie
UNIT_CROPS = 512
SECONDS_PER_CROP = 0.01  # of one core: decoding 2 ms, the network 8 ms; only ever compared with each other


@dataclass(frozen=True)
class KeptCrops:
    """A finished output with crops, and how they were made."""

    videos: pa.Table  # table ``videos`` with the column ``PLACES``
    sampling: SamplingConfig
    detector: DetectorConfig
    crop: CropConfig


def find_kept_crops(uri: str, storage: Storage) -> KeptCrops | None:
    """The crops below a URI, None where it is no output of a job with crops.

    Raises ``UsageError`` where it is one that is not finished.
    """
    manifest = join(uri, "_manifest.parquet")
    if not storage.is_folder(uri) or not storage.exists(manifest):
        return None
    if not read_part_names(uri, storage).get("crops"):
        return None
    folder = "crops" if storage.is_folder(join(uri, "crops")) else ""
    places: dict[str, list[tuple[str, int, int, int]]] = defaultdict(list)
    for part in list_part_files(uri, storage, folder):
        for name, group, first, rows in list_runs(part, "crops", storage):
            places[name].append((part, group, first, rows))
    videos = tables.read_table(storage, manifest, "videos")
    _require_once(videos, places, uri)
    column = [json.dumps(places.get(name, [])) for name in videos["video_id"].to_pylist()]
    record = read_record(uri, storage) or {}
    sampling = parse_section(record, "sampling", SamplingConfig)
    detector = parse_section(record, "detector", DetectorConfig)
    crop = parse_section(record, "crop", CropConfig)
    if sampling is None or detector is None or crop is None:
        raise UsageError(f"{join(uri, RECORD_FILE)}: does not say how these crops were made; make them again")
    return KeptCrops(videos.append_column(PLACES, pa.array(column, pa.string())), sampling, detector, crop)


def _require_once(
    videos: pa.Table, places: Mapping[str, Sequence[tuple[str, int, int, int]]], uri: str
) -> None:
    """Refuse crops that are there twice: the manifest knows how many each video has."""
    for name, faces in zip(videos["video_id"].to_pylist(), videos["faces"].to_pylist(), strict=True):
        if (found := sum(rows for *_, rows in places.get(name, ()))) > faces:
            raise UsageError(
                f"{uri}: {found} crops of {name}, of which _manifest.parquet knows {faces}; were the outputs "
                "of two runs written into one folder? Make them again, into another folder"
            )


def plan_kept_units(
    videos: pa.Table, identity: str, crops: int = UNIT_CROPS, seconds: float = SECONDS_PER_CROP
) -> list[Unit]:
    """Units of consecutive videos with some ``crops`` crops together, each of which takes ``seconds``."""
    made: list[Unit] = []
    faces = np.array(videos["faces"].to_pylist(), np.int64) + 1
    group = (np.cumsum(faces) - 1) // crops
    starts = np.flatnonzero(np.diff(group, prepend=-1)).tolist()
    for start, stop in itertools.pairwise([*starts, len(group)]):
        rows = videos.slice(start, stop - start)
        key = [identity, rows["video_id"].to_pylist(), rows["content_sha256"].to_pylist()]
        made.append(Unit(hash_json(key)[:16], rows, float(faces[start:stop].sum()) * seconds))
    return made


@dataclass(frozen=True)
class ReadCrops:
    """Videos to the crops that were kept of them."""

    storage: Storage
    config_sha256: str

    def prepare(self) -> None:
        """There is nothing to load."""

    def __call__(self, block: pa.Table, attempt: Attempt) -> dict[str, Any]:
        """``{"unit_id", "videos", "crops"}`` of a unit of ``plan_kept_units``, as by ``ExtractCrops``."""
        runs = [run for text in block[PLACES].to_pylist() for run in json.loads(text)]
        with get_clock().on("read"):
            crops = read_runs(runs, "crops", block["video_id"], self.storage)
        videos = block.select(tables.list_columns("videos"))
        return {
            UNIT_ID: read_unit_id(block),
            "videos": tables.stamp("videos", videos, self.config_sha256),
            "crops": tables.stamp("crops", crops, self.config_sha256),
        }


def read_runs(
    runs: Sequence[Sequence[Any]], table: str, video_ids: pa.ChunkedArray, storage: Storage
) -> pa.Table:
    """The rows of stretches ``(part's URI, row group, first row, rows)``, ordered as their videos are."""
    wanted: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for part, group, first, rows in sorted(map(tuple, runs)):
        wanted[part][group] += range(first, first + rows)
    found = [
        one for part, groups in wanted.items() for _, one in read_rows(part, groups, storage, table=table)
    ]
    joined = pa.concat_tables(found) if found else tables.from_rows(table, [])
    place = pc.index_in(joined["video_id"], video_ids.combine_chunks()).to_numpy()
    return joined.take(np.argsort(place, kind="stable"))


def list_runs(part: str, table: str, storage: Storage) -> Iterator[tuple[str, int, int, int]]:
    """``(video_id, row group, first row, rows)`` of the stretches of one video in a table's file."""
    index = index_rows([part], table, ["video_id"], storage).combine_chunks()
    names = index["video_id"].combine_chunks().dictionary_encode()
    codes, groups = names.indices.to_numpy(zero_copy_only=False), index["row_group"].to_numpy()
    starts = np.flatnonzero((np.diff(codes, prepend=-1) != 0) | (np.diff(groups, prepend=-1) != 0)).tolist()
    for start, stop in itertools.pairwise([*starts, len(codes)]):
        name = names.dictionary[int(codes[start])].as_py()
        yield name, int(groups[start]), index["row"][start].as_py(), stop - start
