"""Contact sheets of a crops folder: one picture for each split and method, to look at before training."""

import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deepfake.crops.dataset import index_rows
from deepfake.crops.reader import Place, decode_crop, read_crops
from deepfake.io.parts import list_part_files
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.report import contact_sheet
from deepfake.video.sampling import spread_evenly

FOLDER = "_contact_sheets"
THREADS = 4
CROPS_A_SHEET = 32  # four rows: all of a sheet is seen on a screen at once


@dataclass(frozen=True)
class Sheet:
    """A contact sheet to be drawn."""

    uri: str  # where it goes
    crops: tuple[Place, ...]


def plan_sheets(root: str, storage: Storage) -> list[Sheet]:
    """A contact sheet for each split and method of the crops below ``root``."""
    places: dict[tuple[str, str], list[Place]] = defaultdict(list)
    files = list_part_files(root, storage)
    for crop in index_rows(files, "crops", ["split", "method", "label"], storage).to_pylist():
        method = crop["method"] or {0: "real", 1: "fake"}.get(crop["label"], "unlabelled")
        place = (files[crop["file"]], crop["row_group"], crop["row"])
        places[crop["split"] or "all", method].append(place)
    found = []
    for (split, method), crops in sorted(places.items()):
        chosen = tuple(crops[i] for i in spread_evenly(len(crops), CROPS_A_SHEET))
        found.append(Sheet(join(root, FOLDER, f"{_file_name(split)}-{_file_name(method)}.jpg"), chosen))
    return found


def draw_sheets(several: Sequence[Sheet], storage: Storage) -> list[str]:
    """Draw sheets and write them; their URIs. A row group is read once, whatever sheets it has crops of."""
    stored = read_crops((crop for sheet in several for crop in sheet.crops), storage)

    def write(sheet: Sheet) -> str:
        crops = [stored[place] for place in sheet.crops]
        shown = [
            (f"{crop.video_id}\nframe {crop.frame_index}", decode_crop(crop.encoded, None, sheet.uri))
            for crop in crops
        ]
        storage.write_bytes(sheet.uri, contact_sheet.build_sheet(shown, kind="jpeg"))
        return sheet.uri

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(write, several))


def _file_name(words: str) -> str:
    return re.sub(r"[^\w-]+", "_", words) or "_"
