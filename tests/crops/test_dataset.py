"""The index of a crops folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from deepfake.catalog.identity_overlap import list_identities
from deepfake.crops.dataset import open_crops, select_rows
from deepfake.crops.reader import read_crops
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.evaluate.inputs import load_faces


def test_the_index_finds_each_crop_where_it_lies(make_crops) -> None:
    folder = make_crops(rows_per_file=11, row_group_rows=3)
    storage = Storage()
    crops = open_crops(str(folder), storage)
    assert len(crops.table) == 58
    rows = crops.table.to_pylist()
    places = [(crops.files[row["file"]], row["row_group"], row["row"]) for row in rows]
    stored = read_crops(places, storage)
    assert [stored[place].sample_id for place in places] == [
        f"{row['video_id']}#{row['frame_index']}#0" for row in rows
    ]


def test_rows_of_a_split_carry_their_labels_and_methods(small_crops: Path) -> None:
    rows = select_rows(open_crops(str(small_crops), Storage()), "train")
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
    hashes = {open_crops(str(folder), storage).hash_crops() for folder in layouts}
    changed = make_crops(name="c", sharpness=1.5)
    assert len(hashes) == 1
    assert open_crops(str(changed), storage).hash_crops() not in hashes


def test_a_limit_keeps_the_first_videos(small_crops: Path) -> None:
    crops = open_crops(str(small_crops), Storage(), limit=2)
    assert len(set(crops.table["video_id"].to_pylist())) == 2


def test_crops_without_a_label_are_left_out_and_counted(make_crops, caplog) -> None:
    folder = make_crops((("train", None, 1, 4), ("train", 1, 1, 3)))
    rows = select_rows(open_crops(str(folder), Storage()), "train")
    assert len(rows) == 3
    assert "4 crops of split train have no label" in caplog.text


def test_identities_are_targets_and_sources_of_the_split(make_crops) -> None:
    folder = make_crops((("train", 1, 2, 1), ("val", 1, 1, 1)), source_id="someone")
    table = open_crops(str(folder), Storage()).table
    assert list_identities(table, "train") == ["someone", "train-fake-0", "train-fake-1"]


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


@pytest.mark.parametrize("name", ["label", "split", "target_id", "groups"])
def test_faces_that_say_different_things_of_their_video_are_refused(make_crops, name: str) -> None:
    folder = make_crops(rows_per_file=100)
    (path,) = folder.glob("part-*.parquet")
    table = tables.read_table(Storage(), str(path), "crops")
    place = table.schema.get_field_index(name)
    told = table[name].to_pylist()
    told[7] = 1 if name == "label" else "another"
    changed = table.set_column(place, table.field(place), pa.array(told, table.field(place).type))
    tables.write_table(Storage(), str(path), changed)
    read = load_faces if name == "groups" else open_crops  # no training reads groups
    with pytest.raises(UsageError, match=rf"train/real/001.mp4 disagree on {name}"):
        read(str(folder), Storage())
