"""Contact sheets of a crops folder: one picture for each split and method, to look at before training."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from deepfake.faces.cropping import decode
from deepfake.io.parts import part_files
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.report import contact_sheet

FOLDER = "_contact_sheets"
THREADS = 4
CROPS_A_SHEET = 32  # four rows: all of a sheet is seen on a screen at once

Place = tuple[str, int]  # URI of a crops file, and row in it


@dataclass(frozen=True)
class Sheet:
    """A contact sheet to be drawn."""

    uri: str  # where it goes
    crops: tuple[Place, ...]


def sheets(root: str, storage: Storage) -> list[Sheet]:
    """A contact sheet for each split and method of the crops below ``root``."""
    places: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for uri in part_files(root, storage):
        with storage.open(uri) as file:
            groups = pq.read_table(file, columns=["split", "method", "label"]).to_pylist()
        for row, crop in enumerate(groups):
            method = crop["method"] or {0: "real", 1: "fake"}.get(crop["label"], "unlabelled")
            places[crop["split"] or "all", method].append((uri, row))
    found = []
    for (split, method), crops in sorted(places.items()):
        count = min(CROPS_A_SHEET, len(crops))
        chosen = tuple(crops[int(i)] for i in np.linspace(0, len(crops) - 1, count).round())
        found.append(Sheet(join(root, FOLDER, f"{_file_name(split)}-{_file_name(method)}.jpg"), chosen))
    return found


def write_sheets(several: Sequence[Sheet], storage: Storage) -> list[str]:
    """Draw sheets and write them; their URIs. A row group is read once, whatever sheets it has crops of."""
    pictures = _pictures({crop for sheet in several for crop in sheet.crops}, storage)

    def write(sheet: Sheet) -> str:
        shown = [pictures[crop] for crop in sheet.crops]
        storage.write_bytes(sheet.uri, contact_sheet.build(shown, kind="jpeg"))
        return sheet.uri

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(write, several))


def _pictures(chosen: Iterable[Place], storage: Storage) -> dict[Place, tuple[str, np.ndarray]]:
    """Captions and images of rows, reading only the row groups that hold them."""
    by_file: dict[str, list[int]] = defaultdict(list)
    for uri, row in chosen:
        by_file[uri].append(row)
    pictures = {}
    for uri, rows in by_file.items():
        with storage.open(uri) as source, pq.ParquetFile(source) as file:
            starts = np.cumsum(
                [0, *(file.metadata.row_group(i).num_rows for i in range(file.num_row_groups))]
            )
            by_group: dict[int, list[int]] = defaultdict(list)
            for row in rows:
                by_group[int(np.searchsorted(starts, row, side="right")) - 1].append(row)
            for group, inside in sorted(by_group.items()):
                table = file.read_row_group(group, columns=["video_id", "frame_index", "crop"])
                crops = table.take([row - starts[group] for row in inside]).to_pylist()
                for row, crop in zip(inside, crops, strict=True):
                    caption = f"{crop['video_id']}\nframe {crop['frame_index']}"
                    pictures[uri, row] = caption, decode(crop["crop"])
    return pictures


def _file_name(words: str) -> str:
    return re.sub(r"[^\w-]+", "_", words) or "_"
