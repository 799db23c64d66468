"""Folders of frames, one a video, by their names; and what is no such folder."""

from __future__ import annotations

import logging

import pytest


def frames(*folders: str, name: str = "{:04d}.png", count: int = 3, step: int = 1) -> list[str]:
    return [f"{folder}/{name.format(i * step)}" for folder in folders for i in range(1, count + 1)]


# DeepfakeBench's README and DF40's preprocessing/rearrange.py: .../c23/frames/000/000.png.
BENCH = [
    "FaceForensics++/original_sequences/youtube/c23/frames/000",
    "FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003",
    "Celeb-DF-v2/Celeb-real/frames/id0_0000",
    "Celeb-DF-v2/Celeb-synthesis/frames/id0_id1_0000",
]


@pytest.mark.parametrize(
    ("folders", "name"),
    [
        (["real/VIDEO", "real/other", "fake/VIDEO"], "{:04d}.png"),
        (["train/real/wudkmejywf", "train/fake/aaagqkcdis"], "frame_{:05d}.jpg"),
        (["real/a_b", "fake/roop/a_b"], "a_b_{}.png"),
        (["real_train/0/3", "fake_train/1/12"], "{}.png"),
        (["RealVideo-RealAudio/African/men/id00076/00109"], "{:04d}.png"),
        (["real/a", "fake/b"], "fr{:03d}_subj0.jpg"),
        (["clips/one", "clips/two"], "frame{:03d}.jpg"),
        (["clips/one"], "clip one frame {:06d}.png"),
        (["x/frames/one"], "{}.jpg"),
        (BENCH, "{:03d}.png"),
    ],
)
def test_a_folder_of_numbered_frames_is_one_video(tree, load, folders, name):
    table = load(tree(*frames(*folders, name=name)))
    assert table["video_id"].to_pylist() == sorted(folders)
    assert all(uri.endswith("/") for uri in table["uri"].to_pylist())


@pytest.mark.parametrize(
    "paths",
    [
        frames("real", "fake"),
        frames("train/real", "test/fake_images"),
        frames("real", "fake/stylegan", "fake/stylegan2"),
        frames("holiday/day1", "holiday/day2", name="IMG_{:04d}.jpg"),
        frames("real/anna", "real/bert", name="DSC{:05d}.JPG"),
        frames("anna", "clips/bert", count=40),  # unlabelled: as often pictures that were collected
        frames("fake/stylegan2", "real/ffhq", count=3001),
        [f"real/{n // 100:05d}/{n:05d}.png" for n in range(300)],  # FFHQ
        ["a/one.jpg", "a/two.jpg", "b/1.jpg", "b/two.jpg"],
        ["clips/one/1.png", "clips/one/a.mp4"],
    ],
)
def test_other_folders_of_pictures_are_pictures(tree, load, paths):
    assert load(tree(*paths))["video_id"].to_pylist() == sorted(paths)


def test_frames_named_after_their_video_are_no_pictures_numbered_throughout(tree, load):
    names = [f"real/{video}/{video}_{i:04d}.png" for video in ("000", "001") for i in range(60)]
    assert load(tree(*names))["video_id"].to_pylist() == ["real/000", "real/001"]


def test_a_guess_is_logged_with_the_key_that_changes_it(tree, load, caplog):
    root = tree(*frames("real", "fake/stylegan"))
    with caplog.at_level(logging.INFO):
        load(root)
    assert "1 folders of numbered pictures are taken for pictures, each by itself" in caplog.text
    assert "--catalog.frame_folders always" in caplog.text
    assert load(root, frame_folders="always")["video_id"].to_pylist() == [
        "fake/stylegan", "real/0001.png", "real/0002.png", "real/0003.png",
    ]  # fmt: skip
    assert len(load(tree(*frames("real/v")), frame_folders="never")) == 9


def test_a_folder_of_frames_is_no_method_and_has_label_split_and_people(tree, load):
    found = {row["video_id"]: row for row in load(tree(*frames(*BENCH))).to_pylist()}
    told = {
        name: (row["label"], row["method"], row["target_id"], row["source_id"]) for name, row in found.items()
    }
    assert told == {
        BENCH[0]: (0, "real", "youtube/000", None),
        BENCH[1]: (1, "Deepfakes", "youtube/000", "youtube/003"),
        BENCH[2]: (0, "real", "celeb/id0", None),
        BENCH[3]: (1, "Celeb-synthesis", "celeb/id0", "celeb/id1"),
    }
    root = tree(*frames("w/real_train/0/v1.0", "w/fake_test/20-1/2"))
    wild = {row["video_id"]: row for row in load(root, frame_folders="always").to_pylist()}
    assert wild["w/fake_test/20-1/2"]["method"] == "fake" and wild["w/fake_test/20-1/2"]["split"] == "test"
    assert wild["w/real_train/0/v1.0"]["target_id"] == "w/real_train/0/v1.0"
    assert wild["w/real_train/0/v1.0"]["split"] == "train"


def test_celebdf_frames_are_in_the_official_list_by_their_clip(tree, load):
    root = tree(*frames(*BENCH[2:]))
    (root / "Celeb-DF-v2" / "List_of_testing_videos.txt").write_text("0 Celeb-synthesis/id0_id1_0000.mp4\n")
    assert load(root)["split"].to_pylist() == ["train", "test"]


def test_frames_of_a_video_that_is_there_too_are_left_out(tree, load, caplog):
    clip = "original_sequences/youtube/c23/videos/000.mp4"
    root = tree(clip, *frames("original_sequences/youtube/c23/frames/000", "real/frames/a"), "real/a.mp4")
    with caplog.at_level(logging.INFO):
        assert load(root)["video_id"].to_pylist() == [clip, "real/a.mp4"]
    assert "2 folders of frames are left out" in caplog.text


def test_unlabelled_frames_of_a_video_that_is_there_too_are_left_out_but_not_photographs(tree, load):
    photos = frames("party", name="IMG_{:04d}.jpg")
    root = tree("a/clip.mp4", *frames("a/clip", name="{:05d}.jpg"), "party.mov", *photos)
    assert load(root)["video_id"].to_pylist() == ["a/clip.mp4", "party.mov", *photos]


def test_a_link_among_frames_makes_them_pictures(tree, load):
    root = tree(*frames("real/v"))
    (root / "real/v/0004.png").symlink_to(root / "real/v/0001.png")
    assert len(load(root)) == 4
