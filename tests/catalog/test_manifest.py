from __future__ import annotations

import gzip
import json
import logging
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.errors import UsageError


@pytest.fixture
def csv(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "list.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_paths_are_relative_to_the_manifest_or_whole(csv, load):
    path = csv("path\na/x.mp4\n./b/../b/y.mp4\n/mnt/z.mp4\ns3://bucket/w.mp4\n")
    ids = dict(zip(*(load(path)[k].to_pylist() for k in ("video_id", "uri")), strict=True))
    assert ids == {
        "a/x.mp4": f"{path.parent}/a/x.mp4",
        "b/y.mp4": f"{path.parent}/b/y.mp4",
        "/mnt/z.mp4": "/mnt/z.mp4",
        "s3://bucket/w.mp4": "s3://bucket/w.mp4",
    }


def test_an_absolute_path_below_the_manifest_has_the_same_id_as_the_relative_one(csv, load, tmp_path):
    assert load(csv(f"path\n{tmp_path}/a/x.mp4\n"))["video_id"].to_pylist() == ["a/x.mp4"]


@pytest.mark.parametrize("mark", ["list.parquet", "list"])
def test_a_folder_of_parquet_as_spark_writes_it_is_one_manifest(load, tmp_path, mark):
    folder = tmp_path / mark
    for label, names in ((0, ["a.mp4"]), (1, ["b.mp4", "c.mp4"])):
        (folder / f"label={label}").mkdir(parents=True)
        part = folder / f"label={label}" / "part-00000-c000.snappy.parquet"
        pq.write_table(pa.table({"path": names, "subject": [*"xyz"][: len(names)]}), part)
        (folder / f"label={label}" / f".{part.name}.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()
    table = load(folder)
    assert table.select(["video_id", "uri", "label", "target_id"]).to_pylist() == [
        {"video_id": "a.mp4", "uri": f"{tmp_path}/a.mp4", "label": 0, "target_id": "x"},
        {"video_id": "b.mp4", "uri": f"{tmp_path}/b.mp4", "label": 1, "target_id": "x"},
        {"video_id": "c.mp4", "uri": f"{tmp_path}/c.mp4", "label": 1, "target_id": "y"},
    ]
    (folder / "_SUCCESS").unlink()
    assert load(folder, layout="manifest").num_rows == 3


def test_a_folder_of_videos_named_like_a_manifest_is_listed(tree, load):
    root = tree("list.parquet/a.mp4", "list.parquet/_SUCCESS")
    assert load(root / "list.parquet")["video_id"].to_pylist() == ["a.mp4"]


def test_paths_as_windows_writes_them_are_read(csv, load):
    path = csv("path\nreal\\ann\\x.mp4\n..\\y.mp4\nz\\xff.mp4\nodd\\name/w.mp4\n")
    found = dict(zip(*(load(path)[name].to_pylist() for name in ("video_id", "uri")), strict=True))
    assert found == {
        "real/ann/x.mp4": f"{path.parent}/real/ann/x.mp4",
        "../y.mp4": f"{path.parent}/../y.mp4",
        r"z\xff.mp4": rf"{path.parent}/z\xff.mp4",
        r"odd\name/w.mp4": rf"{path.parent}/odd\name/w.mp4",
    }
    assert load(csv("video_id\nreal\\x.mp4\n"))["video_id"].to_pylist() == ["real/x.mp4"]


@pytest.mark.parametrize("path", [r"C:\data\x.mp4", "d:/x.mp4", r"\\server\share\x.mp4"])
def test_a_path_on_a_windows_machine_is_named_with_the_remedy(csv, load, path):
    with pytest.raises(UsageError, match=r"row 2: .*is a path of a Windows machine; write paths"):
        load(csv(f"path\na.mp4\n{path}\n"))


def test_names_in_another_unicode_form_are_found(csv, load, tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    (tmp_path / apart).mkdir()
    (tmp_path / apart / f"{composed}.mp4").touch()
    table = load(csv(f"path\n{composed}/{apart}.mp4\nn\u00f6.mp4\nx.mp4\n"))
    assert table["uri"].to_pylist() == [
        f"{tmp_path}/{apart}/{composed}.mp4", f"{tmp_path}/n\u00f6.mp4", f"{tmp_path}/x.mp4",
    ]  # fmt: skip
    assert load(tmp_path / composed)["video_id"].to_pylist() == [f"{composed}.mp4"]
    options = {"assign_splits": {f"{apart}*": "test"}}
    assert load(tmp_path / composed, **options)["split"].to_pylist() == ["test"]


def test_labels_are_understood_in_words_and_numbers(csv, load):
    words = ["0", "1", "real", "FAKE", "True", "false", "", "unknown", "1.0"]
    rows = "".join(f"{index}.mp4,{word}\n" for index, word in enumerate(words))
    assert load(csv("path,label\n" + rows))["label"].to_pylist() == [0, 1, 0, 1, 1, 0, None, None, 1]


def test_boolean_and_numeric_labels_of_a_parquet_file_mean_the_same_as_words(load, tmp_path):
    for labels in ([False, True, None], [0, 1, None], [0.0, 1.0, None]):
        pq.write_table(pa.table({"filename": ["a", "b", "c"], "label": labels}), tmp_path / "list.parquet")
        assert load(tmp_path / "list.parquet")["label"].to_pylist() == [0, 1, None]


def test_originals_have_the_method_real_whatever_made_them(csv, load):
    table = load(csv("path,label,generator\na,real,studio\nb,fake,roop\nc,fake,\nd,,roop\n"))
    assert table["method"].to_pylist() == ["real", "roop", "fake", "roop"]


def test_a_method_column_is_preferred_to_a_generator_column(csv, load):
    assert load(csv("generator,method,path,label\nx,y,a,1\n"))["method"].to_pylist() == ["y"]


def test_one_subject_is_one_group_and_an_empty_subject_is_the_file_itself(csv, load):
    table = load(csv("path,label,subject\na.mp4,real,ann\nb.mp4,fake,ann\nc.v2.mp4,real,\n"))
    assert table["group_id"].to_pylist() == ["ann", "ann", "c.v2"]


def test_a_split_column_wins_and_its_identities_are_followed(csv, load):
    table = load(csv("path,label,subject,split\na,real,ann,validation\nb,fake,ann,\nc,,,test\n"))
    assert table["split"].to_pylist() == ["val", "val", "test"]


def test_columns_that_mean_nothing_here_are_ignored(csv, load):
    assert load(csv("sha256,path,weather\n0,a.mp4,fine\n")).num_rows == 1


def test_odd_file_names_come_through(csv, load):
    names = ["a b.mp4", "naïve.mp4", "two\nlines.mp4", "comma, quoted.mp4", "50%.mp4", "#1.mp4"]
    text = "path\n" + "".join(f'"{name}"\n' for name in names)
    assert load(csv(text))["video_id"].to_pylist() == sorted(names)


def test_a_catalog_written_as_parquet_reads_back_the_same(csv, load, tmp_path):
    first = load(csv("path,label,subject,source_id\na,0,x,\nb,1,x,y\nc,0,y,\nd,1,z,\n"))
    pq.write_table(first, tmp_path / "catalog.parquet")
    assert load(tmp_path / "catalog.parquet").equals(first)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,label\na,0\n", r"no column says where.*looked for uri, path.*found clip, label"),
        ("path,label\na,0\nb,perhaps\n", r"row 2: label is 'perhaps'"),
        ("path,split\na,train\nb,trian\n", r"row 2: split is 'trian'"),
        ("path\na\nb\n./a\n", r"a is listed more than once"),
        ("video_id,path\n1,a\n2,a\n", r"/a is listed more than once"),
        ("path,label\na,0\n,1\n", r"row 2: no path"),
        ("path\nftp://host/a.mp4\n", r"scheme ftp"),
        ("path,size_bytes\na,big\n", r"size_bytes must be whole numbers"),
        ("path,label\n", r"no rows"),
        ("", r"cannot be read as a manifest"),
        ("path,label\na,0,extra\n", r"cannot be read as a manifest"),
    ],
)
def test_a_faulty_manifest_is_refused_with_the_place_of_the_fault(csv, load, text, message):
    with pytest.raises(UsageError, match=message):
        load(csv(text))


def test_a_file_that_is_no_parquet_is_refused(load, tmp_path):
    (tmp_path / "list.parquet").write_bytes(b"path\na.mp4\n")
    with pytest.raises(UsageError, match="cannot be read as a manifest"):
        load(tmp_path / "list.parquet")


@pytest.mark.data
def test_the_clips_own_manifest_lists_them_all_with_their_subjects(data: Path, load):
    table = load(data / "videos" / "videos.csv")
    assert Counter(table["label"].to_pylist()) == {0: 40, 1: 27, None: 2}
    assert "ff519" in table["group_id"].to_pylist()


def test_blanks_are_no_part_of_what_stands_in_a_cell(csv, load):
    table = load(csv("path, label, target_id, source_id\na b.mp4, real, 519, \nb.mp4, fake, 519 , 515\n"))
    assert table["video_id"].to_pylist() == ["a b.mp4", "b.mp4"]
    assert table["label"].to_pylist() == [0, 1]
    assert table["target_id"].to_pylist() == ["519", "519"]
    assert table["source_id"].to_pylist() == [None, "515"]


def test_a_blank_at_the_end_of_a_path_is_a_part_of_it_where_its_column_has_none(csv, load):
    assert load(csv("path,label\na.mp4 ,real\n"))["video_id"].to_pylist() == ["a.mp4 "]
    assert load(csv("label, path\nreal, a.mp4\n"))["video_id"].to_pylist() == ["a.mp4"]


def test_an_id_that_pandas_made_a_float_is_the_whole_number(csv, load, tmp_path):
    text = "path,label,target_id,source_id\na.mp4,real,515,\nb.mp4,fake,519,515.0\nc.mp4,real,1.5,x.0\n"
    expected = [None, "515", "x.0"]
    table = load(csv(text))
    assert table["source_id"].to_pylist() == expected
    assert table["target_id"].to_pylist() == ["515", "519", "1.5"]
    ids = pa.table({"path": ["a", "b", "c"], "source_id": pa.array([float("nan"), 515.0, None])})
    pq.write_table(ids, tmp_path / "list.parquet")
    assert load(tmp_path / "list.parquet")["source_id"].to_pylist() == [None, "515", None]


@pytest.mark.parametrize("column", ["is_fake", "class"])
def test_labels_are_found_under_other_names(csv, load, column):
    assert load(csv(f"path,{column}\na.mp4,1\nb.mp4,real\n"))["label"].to_pylist() == [1, 0]


def test_a_table_in_another_encoding_is_refused_with_what_to_do(csv, load, tmp_path):
    path = tmp_path / "list.csv"
    path.write_bytes("path,label\na.mp4,real\n".encode("utf-16"))
    with pytest.raises(UsageError, match=r'is in UTF-16 .* save it as "CSV UTF-8"'):
        load(path)
    path.write_bytes("path,label\nm\u00fcller.mp4,real\n".encode("latin-1"))
    with pytest.raises(UsageError, match="save it as UTF-8"):
        load(path)
    path.write_bytes("path,label\na.mp4,real\n".encode("utf-16-le"))
    with pytest.raises(UsageError, match="is in UTF-16"):
        load(path)
    path.write_bytes(gzip.compress(b"path,label\na.mp4,real\n"))
    with pytest.raises(UsageError, match="is packed, or an Excel workbook"):
        load(path)


@pytest.mark.parametrize("separator", [";", "\t"])
def test_columns_may_be_separated_as_excel_does_it_elsewhere(csv, load, separator):
    table = load(csv(f"path{separator}label\na,b.mp4{separator}fake\n"))
    assert table.select(["video_id", "label"]).to_pylist() == [{"video_id": "a,b.mp4", "label": 1}]


def test_words_for_no_value_are_no_person_and_no_split(csv, load, caplog):
    words = ["nan", "NaN", "None", "<NA>", "NULL", "n/a", "#N/A", "-", "unknown"]
    rows = [f"{i}.mp4,fake,{word},{word},{word},{word},x" for i, word in enumerate(words)]
    with caplog.at_level(logging.INFO):
        table = load(csv("path,label,target_id,source_id,split,method,is_real\n" + "\n".join(rows)))
    assert table["group_id"].to_pylist() == [str(i) for i in range(len(words))]
    assert set(table["source_id"].to_pylist()) == {None}
    assert set(table["method"].to_pylist()) == {"fake"}
    assert "columns that are not used: is_real" in caplog.text


def test_an_id_that_lost_its_zeros_in_one_column_is_the_same_person(csv, load, caplog):
    table = load(
        csv("path,label,target_id,source_id\na,real,071,\nb,real,x,\nc,fake,0054,71.0\nd,real,54,\n")
    )
    assert table["target_id"].to_pylist() == ["071", "x", "0054", "0054"]
    assert table["source_id"].to_pylist() == [None, None, "071", None]
    assert "2 ids are also written with zeros before them" in caplog.text


def test_columns_that_are_asked_for_go_through_as_stated(csv, load):
    path = csv('path,Camera,age,label\na.mp4, GoPro ,34,0\nb.mp4,"a ""b"", c",,1\nc.mp4,n/a,,1\n')
    assert load(path)["groups"].to_pylist() == [None] * 3
    found = load(path, groups=["camera", "age"])["groups"].to_pylist()
    assert found[2] is None
    assert [json.loads(text) for text in found[:2]] == [
        {"camera": "GoPro", "age": "34"}, {"camera": 'a "b", c'},
    ]  # fmt: skip
    with pytest.raises(UsageError, match=r"catalog\.groups model: no such column; found path, Camera, age"):
        load(path, groups=["model"])
    with pytest.raises(UsageError, match="a value of 201 letters"):
        load(csv(f"path,camera\na.mp4,{'x' * 201}\n"), groups=["camera"])


def test_groups_come_from_parquet_as_well(load, tmp_path):
    pq.write_table(pa.table({"path": ["a.mp4", "b.mp4"], "age": [3.0, None]}), tmp_path / "list.parquet")
    assert load(tmp_path / "list.parquet", groups=["age"])["groups"].to_pylist() == ['{"age": "3"}', None]
