from __future__ import annotations

import os
from pathlib import Path

import pytest

from deepfake.catalog.load import load_catalog, read_notes
from deepfake.config import CatalogConfig
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage


def test_the_catalog_has_the_documented_schema_and_says_what_it_is(tree, load):
    assert load(tree("real/a.mp4")).schema.equals(tables.make_schema("catalog"), check_metadata=True)


def test_only_footage_that_is_not_hidden_is_listed(tree, load):
    root = tree("b.MP4", "_a.mkv", "c.jpg", ".hidden.mp4", ".git/d.mp4", "notes.txt", "e.mp4.part")
    assert load(root)["video_id"].to_pylist() == ["_a.mkv", "b.MP4", "c.jpg"]


def test_file_names_that_are_no_unicode_are_listed_and_stay_distinct(tmp_path: Path, load):
    (tmp_path / "two\nlines é.mp4").touch()
    (tmp_path / r"x\xff.mp4").touch()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/x\xff.mp4")).touch()
    assert load(tmp_path)["video_id"].to_pylist() == ["two\nlines é.mp4", r"x\xff.mp4", r"x\xff~2.mp4"]


def test_one_file_is_a_catalog_of_one_row_without_a_label(tree, load):
    row = load(tree("fake/a.mp4") / "fake/a.mp4").to_pylist()[0]
    assert (row["video_id"], row["label"], row["group_id"]) == ("a.mp4", None, "a")


def test_a_path_that_is_absent_is_a_usage_error(tmp_path, load):
    with pytest.raises(UsageError, match=r"absent.*there is nothing"):
        load(tmp_path / "absent")


def test_a_path_of_windows_that_is_absent_is_answered_with_how_folders_are_separated(load):
    with pytest.raises(UsageError, match=r"there is nothing; folders are separated by /"):
        load(r"C:\data\videos")


def test_a_manifest_that_is_absent_is_a_usage_error(tmp_path, load):
    with pytest.raises(UsageError, match=r"absent\.csv: looked for a manifest"):
        load(tmp_path / "absent.csv")


def test_an_empty_folder_is_a_usage_error(tree, load):
    with pytest.raises(UsageError, match="the folder is empty"):
        load(tree())


def test_a_folder_without_videos_says_how_many_files_of_which_kinds_it_has(tree, load):
    with pytest.raises(
        UsageError, match=r"found 4 files: \.txt \(2\), \.csv \(1\), no extension \(1\); a man"
    ):
        load(tree("a.txt", "b.txt", "list.csv", "README"))


def test_a_file_that_is_no_footage_is_a_usage_error(tree, load):
    with pytest.raises(UsageError, match="neither a video nor an image nor a manifest"):
        load(tree("a.txt") / "a.txt")


CLIPS = [
    "original_sequences/youtube/c23/videos/000.mp4",
    "original_sequences/youtube/c40/videos/000.mp4",
    "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
    "manipulated_sequences/FaceSwap/c40/videos/000_003.mp4",
    "original_sequences/actors/raw/videos/01__talk.mp4",
]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"methods": ["Deepfakes"]}, [0, 1, 2, 4]),
        ({"compressions": ["c23"]}, [0, 2]),
        ({"compressions": ["c0"]}, [4]),
        ({"datasets": ["youtube"], "methods": ["FaceSwap"], "compressions": ["c40"]}, [1, 3]),
    ],
)
def test_filters_keep_what_they_name_and_a_filter_of_methods_keeps_originals(tree, load, options, kept):
    assert load(tree(*CLIPS), **options)["video_id"].to_pylist() == sorted(CLIPS[i] for i in kept)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"methods": ["Deepfake"]},
            r"methods \['Deepfake'\] keeps no video.*Deepfakes \(1\), FaceSwap \(1\)",
        ),
        ({"compressions": ["c15"]}, r"there are: c23 \(2\), c40 \(2\), raw \(1\)"),
        ({"datasets": ["actors"], "compressions": ["c40"]}, "no video passes all"),
    ],
)
def test_a_filter_that_keeps_nothing_says_which_values_there_are(tree, load, options, message):
    with pytest.raises(UsageError, match=message):
        load(tree(*CLIPS), **options)


def test_a_filter_does_not_move_videos_between_splits(tree, load):
    names = [f"{kind}/{i}.mp4" for kind in ("real", "fake/a", "fake/b") for i in range(20)]
    root = tree(*names)
    whole, part = (
        dict(zip(*(table[k].to_pylist() for k in ("video_id", "split")), strict=True))
        for table in (load(root), load(root, methods=["a"]))
    )
    assert part.items() <= whole.items()


def test_a_folder_that_holds_something_is_not_said_to_be_empty(tree, load):
    root = tree(".hidden/a.mp4")
    with pytest.raises(UsageError, match="no files below this folder that may be read and are not hidden"):
        load(root)
    (root / "out").symlink_to(root.parent)
    with pytest.raises(UsageError, match="links that lead out of it: 1, such as out"):
        load(root)


def test_links_that_lead_out_are_counted_in_a_warning_that_names_the_key(tree, load, caplog):
    root = tree("a.mp4")
    (root.parent / "private").mkdir()
    (root.parent / "private/b.mp4").touch()
    (root / "out").symlink_to(root.parent / "private")
    assert load(root)["video_id"].to_pylist() == ["a.mp4"]
    assert "1 links lead out of it, such as out, and are not followed; --catalog.follow_links" in caplog.text
    assert read_notes(load(root)) == {"links_left_out": "1, such as out"}
    assert load(root, follow_links=True)["video_id"].to_pylist() == ["a.mp4", "out/b.mp4"]


def test_pictures_and_videos_of_kinds_that_are_not_read_are_counted(tree, load, caplog):
    unread = ["b.CR2", "c.cr2", "d/e.jxl", "clip", "rest.zip"]
    root = tree("a.mp4", *unread, "notes.txt", ".hidden", "f.m2t", "g.insv", "h.dvr-ms", "i.HIF")
    assert load(root)["video_id"].to_pylist() == ["a.mp4", "f.m2t", "g.insv", "h.dvr-ms", "i.HIF"]
    (said,) = [record.getMessage() for record in caplog.records if "not read" in record.getMessage()]
    kinds = ".cr2 (2), .jxl (1), .zip (1), no extension (1)"
    assert f"5 files that may be or hold pictures or videos are not read: {kinds}" in said
    assert said.endswith("the first is b.CR2")
    assert read_notes(load(root)) == {"not_read": f"5 files: {kinds}"}


def test_nothing_is_invented_of_a_scored_archive(tree) -> None:
    files = ("real/a.mp4", "fake/b.mp4", "real/c/1.png", "test/real/d.mp4")
    root = str(tree(*files))
    dealt, left = (load_catalog(root, CatalogConfig(), Storage(), invent) for invent in (True, False))
    assert dealt["split"].null_count == 0 and dealt["target_id"].null_count == 0
    named = dict(zip(left["video_id"].to_pylist(), left["split"].to_pylist(), strict=True))
    assert {name: split for name, split in named.items() if split} == {"test/real/d.mp4": "test"}
    assert left["target_id"].null_count == len(left)
    assert left["label"].to_pylist() == dealt["label"].to_pylist()
    assert left["group_id"].to_pylist() == dealt["group_id"].to_pylist()
