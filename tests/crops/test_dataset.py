"""The index of a crops folder, and the one place where stored bytes become RGB."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepfake.crops.dataset import decode, identities, open_crops, read_stored, split_rows
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage


def test_a_stored_crop_decodes_to_rgb() -> None:
    golden = np.zeros((224, 224, 3), np.uint8)
    golden[0, 0] = (250, 130, 10)  # red, green, blue
    golden[5, 7] = (1, 2, 3)
    as_bgr = np.ascontiguousarray(golden[:, :, ::-1])
    for extension in (".png", ".webp"):
        options = [cv2.IMWRITE_WEBP_QUALITY, 101] if extension == ".webp" else []
        found = decode(cv2.imencode(extension, as_bgr, options)[1].tobytes())
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, golden)


def test_a_crop_of_another_size_is_an_error_that_says_what_to_do() -> None:
    small = cv2.imencode(".png", np.zeros((100, 100, 3), np.uint8))[1].tobytes()
    with pytest.raises(tables.TableError, match=r"part-1: .*100x100, expected 224x224.*--crop.size 224"):
        decode(small, "part-1")


def test_bytes_that_are_no_image_are_an_error() -> None:
    with pytest.raises(tables.TableError, match="not an image"):
        decode(b"not an image")


def test_the_index_finds_each_crop_where_it_lies(make_crops) -> None:
    folder = make_crops(rows_per_file=11, row_group_rows=3)
    storage = Storage()
    crops = open_crops(str(folder), storage)
    assert len(crops.table) == 58
    names = crops.table["video_id"].to_pylist()
    frames = crops.table["frame_index"].to_pylist()
    for i in range(0, len(crops.table), 5):
        place = {name: crops.table[name][i].as_py() for name in ("file", "row_group", "row")}
        stored = read_stored(
            str(folder), crops.files[place["file"]], {place["row_group"]: [place["row"]]}, storage
        )
        found = stored[place["row_group"], place["row"]]
        assert found.sample_id == f"{names[i]}#{frames[i]}#0"


def test_crops_that_are_there_twice_are_refused(make_crops) -> None:
    folder = make_crops()
    shutil.copy(folder / "part-00000.parquet", folder / "part-00001.parquet")
    with pytest.raises(UsageError, match=r"crops: 40 faces are there twice.*into another folder"):
        open_crops(str(folder), Storage(), limit=1)


def test_rows_of_a_split_carry_their_labels_and_methods(small_crops: Path) -> None:
    rows = split_rows(open_crops(str(small_crops), Storage()), "train")
    assert rows.methods == ("Deepfakes", "FaceSwap", "real")
    assert np.bincount(rows.label).tolist() == [18, 24]
    assert np.bincount(rows.method).tolist() == [12, 12, 18]
    np.testing.assert_array_equal(rows.method == 2, rows.label == 0)


def test_the_data_hash_follows_the_crops_and_not_the_files(make_crops) -> None:
    storage = Storage()
    layouts = [
        make_crops(name=name, rows_per_file=rows, row_group_rows=group)
        for name, rows, group in (("a", 40, 8), ("b", 7, 2))
    ]
    hashes = {open_crops(str(folder), storage).sha256() for folder in layouts}
    changed = make_crops(name="c", sharpness=1.5)
    assert len(hashes) == 1
    assert open_crops(str(changed), storage).sha256() not in hashes


def test_a_limit_keeps_the_first_videos(small_crops: Path) -> None:
    crops = open_crops(str(small_crops), Storage(), limit=2)
    assert len(set(crops.table["video_id"].to_pylist())) == 2


def test_crops_without_a_label_are_left_out_and_counted(make_crops, caplog) -> None:
    folder = make_crops((("train", None, 1, 4), ("train", 1, 1, 3)))
    rows = split_rows(open_crops(str(folder), Storage()), "train")
    assert len(rows) == 3
    assert "4 crops of split train have no label" in caplog.text


def test_identities_are_targets_and_sources_of_the_split(make_crops) -> None:
    folder = make_crops((("train", 1, 2, 1), ("val", 1, 1, 1)), source_id="someone")
    table = open_crops(str(folder), Storage()).table
    assert identities(table, "train") == ["someone", "train-fake-0", "train-fake-1"]


@pytest.mark.parametrize("what", ["absent", "file", "empty"])
def test_what_is_no_crops_folder_is_an_error_that_names_it(tmp_path: Path, what: str) -> None:
    path = tmp_path / "crops"
    if what == "file":
        path.write_text("")
    elif what == "empty":
        path.mkdir()
        (path / "_manifest.parquet").write_bytes(b"")
    with pytest.raises(UsageError, match=str(path)):
        open_crops(str(path), Storage())


def test_without_a_configuration_file_there_is_a_warning(make_crops, caplog) -> None:
    folder = make_crops()
    (folder / "_config.json").unlink()
    assert open_crops(str(folder), Storage()).config == {}
    assert "_config.json is absent" in caplog.text
