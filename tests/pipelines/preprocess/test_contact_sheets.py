"""Which crops are shown together, and that they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.preprocess import contact_sheets
from deepfake.report import images
from tests.rows import crop_row


def write(folder: Path, *rows: dict[str, object]) -> list[contact_sheets.Sheet]:
    tables.write_table(Storage(), f"{folder}/part-00000.parquet", tables.from_rows("crops", rows), 8)
    return contact_sheets.plan_sheets(str(folder), Storage())


def test_a_sheet_is_named_by_split_and_method_in_letters_that_a_file_may_have(tmp_path: Path) -> None:
    found = write(
        tmp_path,
        crop_row("a", split="train", method="Face2Face", label=1),
        crop_row("b", split="train", method="../x y", label=1),
        crop_row("c", split="val", label=0),
        crop_row("d"),
    )
    names = [Path(sheet.uri).relative_to(tmp_path).as_posix() for sheet in found]
    assert names == [
        f"_contact_sheets/{name}.jpg"
        for name in ("all-unlabelled", "train-_x_y", "train-Face2Face", "val-real")
    ]


def test_of_many_crops_the_first_the_last_and_those_evenly_between_are_shown(tmp_path: Path) -> None:
    [sheet] = write(tmp_path, *(crop_row("a", frame_index=i) for i in range(63)))
    rows = [8 * group + row for _, group, row in sheet.crops]
    assert rows == list(range(0, 63, 2))  # 32 of 63


def test_the_crops_of_a_sheet_are_drawn_on_it(tmp_path: Path) -> None:
    several = write(
        tmp_path, crop_row("a", 0, 250, split="train", label=0), crop_row("b", 0, 5, split="train", label=1)
    )
    written = contact_sheets.draw_sheets(several, Storage())
    assert [Path(uri).name for uri in written] == ["train-fake.jpg", "train-real.jpg"]
    dark, light = (images.decode_file(Path(uri).read_bytes()) for uri in written)
    middle = tuple(side // 3 for side in dark.shape[:2])
    assert abs(int(dark[middle].mean()) - 5) < 8 and abs(int(light[middle].mean()) - 250) < 8
    assert np.shape(dark) == np.shape(light)
