from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from deepfake.catalog.layouts.folders import Placement, read_folder, read_label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("real", 0),
        ("Celeb-real", 0),
        ("YouTube-real", 0),
        ("original_sequences", 0),
        ("REAL2", 0),
        ("Celeb-synthesis", 1),
        ("01_fakes", 1),
        ("manipulated", 1),
        ("unreal", None),
        ("realtime", None),
        ("noface", None),
        ("real_vs_fake", None),
    ],
)
def test_a_folder_name_is_read_word_by_word(name, label):
    assert read_label(name) == label


@pytest.mark.parametrize(
    ("folder", "placement"),
    [
        ("train/real", Placement(0, "real", "train")),
        ("Validation/fake/roop", Placement(1, "roop", "val")),
        ("real_vs_fake/test/fake", Placement(1, "fake", "test")),
        ("fake/videos", Placement(1, "fake", None)),
        ("Celeb-synthesis", Placement(1, "Celeb-synthesis", None)),
        ("fake/real", Placement(0, "real", None)),
        ("real/test", Placement(0, "real", None)),
        ("train/misc", Placement(None, None, None)),
    ],
)
def test_the_innermost_label_folder_counts_and_the_split_stands_above_it(folder, placement):
    assert read_folder(folder) == placement


def test_a_file_name_is_no_label(tree, load):
    assert load(tree("clips/real_madrid.mp4"))["label"].to_pylist() == [None]


def test_the_root_gives_the_label_only_where_no_folder_inside_does(tree, load):
    root = tree("fake/a.mp4", "fake/unsorted/b.mp4")
    assert load(root / "fake")["label"].to_pylist() == [1, 1]
    tree("fake/real/c.mp4")
    assert load(root / "fake")["label"].to_pylist() == [None, 0, None]


def test_celeb_df_names_tell_who_is_seen_and_whose_face_it_is(tree, load):
    root = tree("Celeb-real/id0_0003.mp4", "Celeb-synthesis/id0_id16_0003.mp4")
    table = load(root)
    assert table["source_id"].to_pylist() == [None, "celeb/id16"]
    assert set(table["group_id"].to_pylist()) == {"celeb/id0"}


def test_an_unlabelled_archive_has_neither_labels_nor_splits_and_each_file_is_its_own_group(tree, load):
    table = load(tree("2021/a.mp4", "2021/b.mkv"))
    assert table.select(["label", "split", "group_id"]).to_pylist() == [
        {"label": None, "split": None, "group_id": "2021/a"},
        {"label": None, "split": None, "group_id": "2021/b"},
    ]


def test_one_clip_in_two_formats_is_one_identity(tree, load):
    assert set(load(tree("real/a.mp4", "real/a.mkv"))["group_id"].to_pylist()) == {"real/a"}


@pytest.mark.data
def test_the_face_images_keep_the_splits_that_their_folders_give(data: Path, load):
    table = load(data / "faces")
    counts = Counter(zip(table["split"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert counts == {("train", 0): 2500, ("train", 1): 2500, ("val", 0): 500, ("val", 1): 500}


@pytest.mark.data
def test_the_labelled_clips_are_found_in_all_their_containers(data: Path, load):
    assert Counter(load(data / "videos")["label"].to_pylist()) == {0: 40, 1: 27, None: 2}
