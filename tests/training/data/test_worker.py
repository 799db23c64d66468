"""What Ray's tasks and actors do for the loader, as plain functions: no Ray."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from deepfake.config import AugmentConfig, CropConfig
from deepfake.crops import dataset
from deepfake.crops.dataset import Rows
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError
from deepfake.training import faults
from deepfake.training.data.epoch_plan import EpochPlan, plan_validation
from deepfake.training.data.pixel_cache import PixelCache
from deepfake.training.data.worker import CropDecoder, WindowReader, list_crops
from tests.stored_crops import encoded, picture

AS_STORED = CropDecoder(None, seed=0, epoch=0, cut=None)


def opened(folder: Path) -> tuple[WindowReader, Rows, EpochPlan]:
    crops = dataset.open_crops(str(folder), Storage())
    rows = dataset.select_rows(crops, "train")
    return WindowReader(crops.files, Storage()), rows, plan_validation(rows)


def test_a_window_comes_in_the_order_in_which_it_is_asked_for(make_crops) -> None:
    reader, rows, plan = opened(make_crops((("train", 0, 5, 10), ("train", 1, 5, 10))))
    asked = np.random.default_rng(0).permutation(len(plan))[:70]
    found = [AS_STORED.decode(table) for table in reader.read_tables(list_crops(rows, plan, asked))]
    assert [len(part.positions) for part in found] == [64, 6]
    np.testing.assert_array_equal(np.concatenate([part.positions for part in found]), asked)
    assert all(part.crops.shape[1:] == (224, 224, 3) and part.crops.dtype == np.uint8 for part in found)


@pytest.mark.parametrize("framed", [False, True])
def test_a_crop_whose_kept_pixels_are_gone_once_its_window_was_read_is_read_from_its_table(
    make_crops, tmp_path: Path, framed: bool
) -> None:
    folder = make_crops(surround=encoded(picture(0, 1, 300)))
    _, rows, plan = opened(folder)
    files, window = dataset.open_crops(str(folder), Storage()).files, list_crops(rows, plan, np.arange(6))
    changes, cut = (AugmentConfig(), CropConfig()) if framed else (None, None)
    (tmp_path / "kept").mkdir()

    def read(cache: PixelCache | None) -> tuple[CropDecoder, pa.Table]:
        decoder = CropDecoder(changes, 0, 0, cut, cache, Storage())
        return decoder, next(WindowReader(files, Storage(), framed, cache).read_tables(window))

    decoder, stored = read(None)
    expected = decoder.decode(stored).crops
    for _ in range(2):  # the second reads no picture
        decoder, stored = read(PixelCache(tmp_path / "kept", "train", len(rows), 400, 10**9))
        (file,) = (tmp_path / "kept").iterdir()
        np.testing.assert_array_equal(decoder.decode(stored).crops, expected)
    assert {crop["encoded"] for unit in stored["unit"].to_pylist() for crop in unit} == {b""}
    file.unlink()
    emptied = PixelCache(tmp_path / "kept", "train", len(rows), 400, 10**9)
    decoder = CropDecoder(changes, 0, 0, cut, emptied, Storage())
    np.testing.assert_array_equal(decoder.decode(stored).crops, expected)


def test_a_turned_copy_is_the_stored_crop_turned(small_crops: Path) -> None:
    reader, rows, plan = opened(small_crops)
    turned = replace(rows, turned=np.arange(len(rows)) == plan.rows[1])
    (table,) = reader.read_tables(list_crops(turned, plan, np.array([0, 1])))
    (plain,) = reader.read_tables(list_crops(rows, plan, np.array([0, 1])))
    first, second = AS_STORED.decode(plain).crops
    np.testing.assert_array_equal(AS_STORED.decode(table).crops, [first, faults.turn_crop(second)])


def test_a_crop_that_is_no_picture_is_named(small_crops: Path) -> None:
    reader, rows, plan = opened(small_crops)
    (table,) = reader.read_tables(list_crops(rows, plan, np.array([0])))
    units = table["unit"].to_pylist()
    units[0][0]["encoded"] = b"no picture"
    with pytest.raises(TableError, match=r"part-\d+\.parquet: "):
        AS_STORED.decode(pa.table({"unit": pa.array(units, table["unit"].type)}))
