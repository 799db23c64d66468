from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pyarrow.compute as pc
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
        ("not_real", None),
        ("non-fake", None),
        ("deepfake-detection-challenge", None),
        ("RealVideos", 0),
        ("trainFake", 1),
        ("RealTalk", None),
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
        ("real_train", Placement(0, "real", "train")),
        ("fake_test/0001", Placement(1, "fake", "test")),
        ("fake/c23/0001", Placement(1, "fake", None)),
    ],
)
def test_the_innermost_label_folder_counts_and_the_split_stands_above_it(folder, placement):
    assert read_folder(folder)[:3] == placement[:3]


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["fake/real_time_swap/a.mp4", "fake/real-esrgan/b.mp4", "real/fake_background/c.mp4"], [1, 1, 0]),
        (["deepfakes/fake/a.mp4", "deepfakes/real/b.mp4"], [1, 0]),
        (["fake_videos/train/fake/a.mp4", "fake_videos/train/real/b.mp4"], [1, 0]),
        (["x/fake/original_voice/a.mp4", "x/real/b.mp4", "y/fake/real/c.mp4"], [1, 0, 0]),
        (["test/fake/real_x/a.mp4", "train/fake/a/b.mp4", "train/real/c.mp4"], [1, 1, 0]),
        (["fake/fake_a/a.mp4", "fake/real_a/b.mp4", "real/c.mp4"], [1, 1, 0]),
    ],
)
def test_of_words_that_contradict_the_uppermost_beside_its_opposite_decides(
    tree, load, caplog, paths, labels
):
    with caplog.at_level(logging.INFO):
        assert load(tree(*paths))["label"].to_pylist() == labels
    assert "folders name both classes" in caplog.text


def test_of_words_that_contradict_each_decision_is_told_by_an_example(tree, load, caplog):
    root = tree("fake/real_time_swap/a.mp4", "real/b.mp4", "fake/real_time_swap/c.mp4", "x/fake/real/d.mp4")
    with caplog.at_level(logging.INFO):
        load(root)
    told = [line.message for line in caplog.records if "both classes" in line.message]
    assert told == [
        "folders name both classes: fake/real_time_swap is taken for fake, since fake lies beside a folder "
        "of the other class",
        "folders name both classes: x/fake/real is taken for real, since x/fake/real is the innermost that "
        "names a class",
    ]


def test_what_lies_in_one_folder_below_class_or_method_is_a_group(tree, load):
    root = tree(
        "real/anna/1.mp4", "real/anna/deep/2.mp4", "real/bert/1.mp4", "real/3.mp4",
        "fake/roop/anna/1.mp4", "fake/roop/anna/2.mp4", "fake/roop/3.mp4",
        "fake/bert/1.mp4", "fake/bert/2.mp4",
    )  # fmt: skip
    found = {row["video_id"]: (row["group_id"], row["method"]) for row in load(root).to_pylist()}
    assert found == {
        "real/anna/1.mp4": ("real/anna", "real"),
        "real/anna/deep/2.mp4": ("real/anna", "real"),
        "real/bert/1.mp4": ("real/bert", "real"),
        "real/3.mp4": ("real/3", "real"),
        "fake/roop/anna/1.mp4": ("fake/roop/anna", "roop"),
        "fake/roop/anna/2.mp4": ("fake/roop/anna", "roop"),
        "fake/roop/3.mp4": ("fake/roop/3", "roop"),
        "fake/bert/1.mp4": ("fake/bert", "fake"),
        "fake/bert/2.mp4": ("fake/bert", "fake"),
    }


def test_the_default_split_keeps_folders_together(tree, load):
    names = [f"{kind}/p{i}/{j}.mp4" for kind in ("real", "fake/roop") for i in range(9) for j in range(4)]
    table = load(tree(*names))
    where = {}
    for video, split in zip(table["video_id"].to_pylist(), table["split"].to_pylist(), strict=True):
        where.setdefault(video.rpartition("/")[0], set()).add(split)
    assert {len(splits) for splits in where.values()} == {1}
    assert set().union(*where.values()) == {"train", "val", "test"}


def test_a_class_that_lies_in_one_folder_is_split_all_the_same(tree, load):
    names = [f"{folder}/{i}.mp4" for folder in ("real/youtube", "fake/roop") for i in range(20)]
    table = load(tree(*names))
    assert set(table.filter(pc.equal(table["label"], 0))["split"].to_pylist()) == {"train", "val", "test"}


def test_a_file_name_is_no_label(tree, load):
    assert load(tree("clips/real_madrid.mp4"))["label"].to_pylist() == [None]


def test_the_root_gives_the_label_only_where_no_folder_inside_does(tree, load):
    root = tree("fake/a.mp4", "fake/unsorted/b.mp4")
    assert load(root / "fake")["label"].to_pylist() == [1, 1]
    tree("fake/real/c.mp4")
    assert load(root / "fake")["label"].to_pylist() == [None, 0, None]


def test_the_roots_name_is_no_label_of_what_a_data_set_does_not_know(tree, load):
    root = tree("deepfakes/train/a.mp4", "deepfakes/test_videos/b.mp4") / "deepfakes"
    (root / "train/metadata.json").write_text('{"a.mp4": {"label": "REAL", "split": "train"}}')
    assert load(root)["label"].to_pylist() == [None, 0]


def test_people_are_known_by_names_of_pairs_whatever_the_folders_are_called(tree, load):
    root = tree("real/id0_0003.mp4", "fake/id0_id16_0003.mp4", "fake/id0_id16_0003_12.jpg", "real/id7.mp4")
    found = {row["video_id"]: (row["target_id"], row["source_id"]) for row in load(root).to_pylist()}
    assert found.pop("real/id7.mp4") == ("real/id7", None)
    assert set(found.values()) == {("celeb/id0", None), ("celeb/id0", "celeb/id16")}


def test_pictures_that_are_frames_of_many_videos_stay_together(tree, load, caplog):
    names = [f"{k}/{k[0]}{i}_x_{n}.png" for k in ("real", "fake") for i in range(30) for n in range(3)]
    root = tree(*names, *(f"photos/real/IMG_{n:04d}.jpg" for n in range(60)))
    with caplog.at_level(logging.INFO):
        table = load(root)
    assert "frames of 60 videos, which the split keeps together, such as fake/f0_x" in caplog.text
    splits = {}
    for row in table.to_pylist():
        splits.setdefault(row["group_id"], set()).add(row["split"])
    assert len(splits) == 60 + 60
    assert {len(found) for found in splits.values()} == {1}
    assert len(set(load(root, frame_folders="never")["group_id"].to_pylist())) == len(table)


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        ("real/anna{}/{}.mp4", "fake/roop/anna{}/{}.mp4"),
        ("x/real/{}{}.mp4", "x/fake/{}{}.avi"),
        ("real/{}{}.mp4", "fake/{}{}_fake.mp4"),
        ("original/clip{}{}/0001.png", "fake/clip{}{}/0001.png"),
    ],
)
def test_what_has_one_name_below_real_and_below_fake_is_in_one_split(tree, load, caplog, real, fake):
    pairs = [(path.format(i, 0), path.format(i, 1)) for i in range(12) for path in (real, fake)]
    root = tree(*(path for pair in pairs for path in pair), "other/real/x0.mp4", "other/fake/x1.mp4")
    with caplog.at_level(logging.INFO):
        table = load(root)
    assert "names are below real and below fake, such as" in caplog.text
    labels, splits = {}, {}
    for row in table.to_pylist():
        labels.setdefault(row["group_id"], set()).add(row["label"])
        splits.setdefault(row["group_id"], set()).add(row["split"])
    assert sum(found == {0, 1} for found in labels.values()) == len(labels) - 2
    assert {len(found) for found in splits.values()} == {1}


def test_a_few_names_that_are_alike_join_nothing(tree, load):
    root = tree(*(f"{kind}/{i}.mp4" for kind in ("real", "fake") for i in range(4)))
    assert len(set(load(root)["group_id"].to_pylist())) == 8
    root = tree(*(f"test/{kind}/{i}.mp4" for kind in ("real", "fake") for i in range(9)))
    assert len(set(load(root / "test")["group_id"].to_pylist())) == 9
    assert len(set(load(root)["group_id"].to_pylist())) == 8 + 18  # a split that is given stands


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
