"""Data sets by paths as their own pages give them, and neighbours that are none of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from deepfake.errors import UsageError
from tests.catalog.conftest import Load, MakeTree

COLUMNS = ("label", "method", "target_id", "source_id", "split")


def tell(load: Load, root: Path, *columns: str, **options: Any) -> dict[str, tuple[Any, ...]]:
    """Chosen columns by video_id."""
    rows = load(root, **options).to_pylist()
    return {row["video_id"]: tuple(row[name] for name in columns or COLUMNS[:-1]) for row in rows}


# FakeAVCeleb v1.2: folders of arXiv 2108.05080, table 2; names as its meta_data.csv has them.
FAKEAV = (
    "FakeAVCeleb_v1.2/RealVideo-RealAudio/African/men/id00076/00109.mp4",
    "FakeAVCeleb_v1.2/RealVideo-FakeAudio/African/men/id00076/00109_fake.mp4",
    "FakeAVCeleb_v1.2/FakeVideo-RealAudio/African/men/id00076/00109_3.mp4",
    "FakeAVCeleb_v1.2/FakeVideo-FakeAudio/African/men/id00076/00109_2_id01236_wavtolip.mp4",
    "FakeAVCeleb_v1.2/FakeVideo-FakeAudio/Caucasian (American)/women/id03781/00113_id00431_wavtolip.mp4",
)
FAKEAV_TABLE = """source,target1,target2,method,category,type,race,gender,path,
id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,FakeAVCeleb/RealVideo-RealAudio/African/men/id00076
id00076,id00166,3,faceswap,C,FakeVideo-RealAudio,African,men,00109_3.mp4,FakeAVCeleb/FakeVideo-RealAudio/African/men
"""


def test_fakeavceleb_is_labelled_by_its_pictures_and_grouped_by_person(tree: MakeTree, load: Load) -> None:
    root = tree(*FAKEAV)
    right = [
        (0, "real", "fakeavceleb/id00076", None),
        (0, "real", "fakeavceleb/id00076", None),
        (1, "FakeAVCeleb", "fakeavceleb/id00076", None),
        (1, "wav2lip", "fakeavceleb/id00076", "fakeavceleb/id01236"),
        (1, "wav2lip", "fakeavceleb/id03781", "fakeavceleb/id00431"),
    ]
    assert tell(load, root) == dict(zip(FAKEAV, right, strict=True))
    (root / "FakeAVCeleb_v1.2/meta_data.csv").write_text(FAKEAV_TABLE)
    right[2] = (1, "faceswap", "fakeavceleb/id00076", "fakeavceleb/id00166")
    assert tell(load, root) == dict(zip(FAKEAV, right, strict=True))
    stated = [json.loads(text) for text in load(root, groups=["gender", "race"])["groups"].to_pylist()]
    assert {(row["race"], row["gender"]) for row in stated} >= {("African", "men")}
    only = [json.loads(text) for text in load(root, groups=["gender"])["groups"].to_pylist()]
    assert {tuple(row) for row in only} == {("gender",)}
    with pytest.raises(UsageError, match=r"catalog\.groups age: its layout states gender, race; a manifest"):
        load(root, groups=["race", "age"])
    frames = "FakeVideo-RealAudio/African/men/id00076/00109_3"
    table = tell(load, tree(*(f"frames/{frames}/{i:04d}.png" for i in (1, 2))))
    assert table[f"frames/{frames}"] == right[2]
    part = root / "FakeAVCeleb_v1.2/FakeVideo-FakeAudio/African"
    assert list(tell(load, part).values()) == [right[3]]


# dataset/README.md of github.com/EndlessSora/DeeperForensics-1.0; FaceForensics++'s clips are its real part.
DEEPER = (
    "DeeperForensics-1.0/manipulated_videos/end_to_end/000_M101.mp4",
    "DeeperForensics-1.0/manipulated_videos/end_to_end_mix_2_distortions/103_W018.mp4",
    "DeeperForensics-1.0/manipulated_videos/reenact_postprocess/980_W010.mp4",
    "DeeperForensics-1.0/source_videos/W136/light_up/surprise/camera_down/W136_light_up_surprise_camera_down.mp4",
    "DeeperForensics-1.0/source_videos/M004/BlendShape/camera_front/M004_BlendShape_camera_front.mp4",
    "FaceForensics++/original_sequences/youtube/c23/videos/000.mp4",
    "FaceForensics++/original_sequences/youtube/c23/videos/103.mp4",
)


def test_deeperforensics_joins_its_targets_and_its_actors(tree: MakeTree, load: Load) -> None:
    root = tree(*DEEPER)
    right = [
        (1, "end_to_end", "youtube/000", "deeperforensics/M101"),
        (1, "end_to_end_mix_2_distortions", "youtube/103", "deeperforensics/W018"),
        (1, "reenact_postprocess", "youtube/980", "deeperforensics/W010"),
        (0, "real", "deeperforensics/W136", None),
        (0, "real", "deeperforensics/M004", None),
        (0, "real", "youtube/000", None),
        (0, "real", "youtube/103", None),
    ]
    assert tell(load, root) == dict(zip(DEEPER, right, strict=True))
    lists = root / "DeeperForensics-1.0/lists/splits"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("000_M101.mp4\n")
    (lists / "val.txt").write_text("980_W010.mp4\n")
    (lists / "test.txt").write_text("103_W018.mp4\n")
    found = tell(load, root, "split")
    assert [found[DEEPER[i]][0] for i in (0, 1, 2, 5, 6)] == ["train", "test", "val", "train", "test"]


# README.md and DeepfakeBench_DF40/preprocessing/rearrange.py of github.com/YZY-stack/DF40.
DF40 = {
    "DF40_train/blendface/frames/000_003": (1, "blendface", "youtube/000", "youtube/003"),
    "DF40_train/faceswap/frames/001_870": (1, "faceswap", "youtube/001", "youtube/870"),
    "DF40/simswap/ff/frames/000_003": (1, "simswap", "youtube/000", "youtube/003"),
    "DF40/simswap/cdf/frames/id0_id1_0000": (1, "simswap", "celeb/id0", "celeb/id1"),
    "DF40/wav2lip/cdf/frames/00170": (1, "wav2lip", "celeb/youtube-real/00170", None),
    "DF40/Face-swapping/UniFace/ff/frames/001_870": (1, "UniFace", "youtube/001", "youtube/870"),
    "DF40/heygen/fake/frames/clip_1": (1, "heygen", "DF40/heygen/fake/frames/clip_1", None),
    "DF40/heygen/real/frames/clip_1": (0, "real", "DF40/heygen/real/frames/clip_1", None),
}


def test_a_numbered_picture_of_df40_is_no_clip_of_faceforensics(tree: MakeTree, load: Load) -> None:
    paths = ("DF40/midjourney/fake/001.png", "DF40/DiT/ff/000/001.jpg", "DF40/DiT/ff/000/a.jpg")
    assert list(tell(load, tree(*paths), "target_id").values()) == [
        ("youtube/000",), ("youtube/000",), ("DF40/midjourney/fake/001",),
    ]  # fmt: skip


def test_df40_tells_methods_and_people_of_the_data_sets_it_is_made_from(tree: MakeTree, load: Load) -> None:
    root = tree(*(f"{folder}/{i:03d}.png" for folder in DF40 for i in (0, 12, 24)))
    assert tell(load, root) == DF40
    assert tell(load, root / "DF40/simswap", "method", "source_id") == {
        "cdf/frames/id0_id1_0000": ("simswap", "celeb/id1"),
        "ff/frames/000_003": ("simswap", "youtube/003"),
    }


# arXiv 1910.08854; keys of its dataset.json.
PREVIEW = (
    "dfdc_preview_set/original_videos/643049/643049_A_001.mp4",
    "dfdc_preview_set/method_B/1260311/1260311_C/1255229_1260311_C_001.mp4",
)


def test_the_dfdc_preview_is_told_by_its_names_and_its_table(tree: MakeTree, load: Load) -> None:
    frames = "dfdc_preview_set/method_A/1003254/1003254_A/frames/1030459_1003254_A_001"
    assert tell(load, tree(f"{frames}/000.png"), "target_id", "source_id") == {
        frames: ("dfdc-preview/1003254", "dfdc-preview/1030459")
    }
    shutil.rmtree(tree(), ignore_errors=True)
    root = tree(*PREVIEW)
    right = [
        (0, "real", "dfdc-preview/643049", None),
        (1, "method_B", "dfdc-preview/1260311", "dfdc-preview/1255229"),
    ]
    assert tell(load, root) == dict(zip(PREVIEW, right, strict=True))
    entries = {
        "original_videos/643049/643049_A_001.mp4": {
            "label": "real", "set": "train", "target_id": 643049, "swapped_id": None, "augmentations": [],
        },
        "method_B/1260311/1260311_C/1255229_1260311_C_001.mp4": {
            "label": "fake", "set": "test", "target_id": 1260311, "swapped_id": 1255229, "augmentations": [],
        },
    }  # fmt: skip
    table = root / "dfdc_preview_set/dataset.json"
    table.write_text(json.dumps(entries))
    found = tell(load, root, *COLUMNS)
    assert found == {PREVIEW[0]: (*right[0], "train"), PREVIEW[1]: (*right[1], "test")}
    entries["original_videos/643049/643049_A_001.mp4"]["label"] = "maybe"
    table.write_text(json.dumps(entries))
    with pytest.raises(UsageError, match=r"dataset\.json: original_videos.* has label 'maybe'"):
        load(root)


# huggingface.co/datasets/xingjunm/WildDeepfake: deepfake_in_the_wild/fake_train/0.tar.gz and so on, unpacked.
WILD = {
    f"deepfake_in_the_wild/{folder}": (label, method, f"wilddeepfake/{video}", None, split)
    for folder, label, method, video, split in (
        ("fake_train/0/fake/3", 1, "WildDeepfake", "fake_train/0", "train"),
        ("fake_train/0/fake/4", 1, "WildDeepfake", "fake_train/0", "train"),
        ("real_test/0/real/7", 0, "real", "real_test/0", "test"),
        ("real_train/9/1", 0, "real", "real_train/9", "train"),
    )
}


def test_wilddeepfakes_sequences_are_videos_grouped_by_the_video_they_are_of(
    tree: MakeTree, load: Load
) -> None:
    root = tree(*(f"{folder}/{i}.png" for folder in WILD for i in (1, 2, 10)))
    assert tell(load, root, *COLUMNS) == WILD


@pytest.mark.parametrize("layout", ["fakeavceleb", "deeperforensics", "df40", "dfdc_preview", "wilddeepfake"])
@pytest.mark.parametrize(
    "path",
    [
        "FakeVideo-FakeAudio/clip.mp4",
        "RealVideo-RealAudio/id1/00109.mp4",
        "manipulated_videos/000_M101.mp4",
        "end_to_end/000_003.mp4",
        "source_videos/M004/holiday.mp4",
        "faceswap/frames/000_003.mp4",
        "my_method/ff/frames/000_003.mp4",
        "original_videos/643049/holiday.mp4",
        "method_A/1.mp4",
        "real_train/anna/3/1.png",
        "train/real/0/1.png",
    ],
)
def test_a_neighbours_tree_is_not_taken_for_one(tree: MakeTree, load: Load, layout: str, path: str) -> None:
    with pytest.raises(UsageError, match=f"not laid out as {layout}"):
        load(tree(path), layout=layout)
