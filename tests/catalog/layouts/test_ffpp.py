from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.catalog.layouts import ffpp
from deepfake.errors import UsageError

ROOT = "data/ff++"
clip_ids = st.integers(0, 999).map("{:03d}".format)
actor_ids = st.integers(1, 28).map("{:02d}".format)
scenes = st.from_regex(r"[a-z]+(_[a-z]+)*", fullmatch=True)
codes = st.from_regex(r"[A-Z0-9]{8}", fullmatch=True)
compressions = st.sampled_from(["raw", "c23", "c40"])
youtube_methods = st.sampled_from([m for m in ffpp.METHODS if m != "DeepFakeDetection"])


@given(clip_ids, clip_ids, youtube_methods, compressions)
def test_a_youtube_fake_names_its_target_and_then_its_source(a, b, method, compression):
    clip = ffpp.parse_path(f"{ROOT}/manipulated_sequences/{method}/{compression}/videos/{a}_{b}.mp4")
    assert clip == ffpp.Provenance(
        "youtube", f"youtube/{a}", 1, method, compression, None, source_id=f"youtube/{b}"
    )


@given(clip_ids, compressions)
def test_a_youtube_original_is_real_and_its_own_identity(a, compression):
    clip = ffpp.parse_path(f"{ROOT}/original_sequences/youtube/{compression}/videos/{a}.mp4")
    assert clip == ffpp.Provenance("youtube", f"youtube/{a}", 0, "real", compression)


@given(actor_ids, actor_ids, scenes, codes, compressions)
def test_an_actors_fake_names_two_actors_a_scene_and_a_code(a, b, scene, code, compression):
    folder = f"{ROOT}/manipulated_sequences/DeepFakeDetection/{compression}/videos"
    clip = ffpp.parse_path(f"{folder}/{a}_{b}__{scene}__{code}.mp4")
    assert clip == ffpp.Provenance(
        "actors", f"actors/{a}", 1, "DeepFakeDetection", compression, None, source_id=f"actors/{b}"
    )


@given(actor_ids, scenes, compressions)
def test_all_scenes_of_an_actor_are_one_identity(a, scene, compression):
    clip = ffpp.parse_path(f"original_sequences/actors/{compression}/videos/{a}__{scene}.mp4")
    assert clip == ffpp.Provenance("actors", f"actors/{a}", 0, "real", compression)


@pytest.mark.parametrize(
    "path",
    [
        "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4",
        "manipulated_sequences/Deepfakes/models/000_003/preview.png",
        "original_sequences/notes.mp4",
        "my_manipulated_sequences/Deepfakes/c23/videos/000_003.mp4.txt/x.mp4",
    ],
)
def test_what_stands_beside_the_footage_is_no_clip(path):
    assert ffpp.parse_path(path) is None


def test_c0_is_the_older_name_of_raw():
    assert ffpp.parse_path("original_sequences/youtube/c0/videos/000.mp4").compression == "raw"


def test_masks_and_models_are_not_in_the_catalog(tree, load):
    clip = "manipulated_sequences/FaceSwap/c23/videos/000_003.mp4"
    root = tree(
        clip,
        "manipulated_sequences/FaceSwap/masks/videos/000_003.mp4",
        "manipulated_sequences/Deepfakes/models/000_003/a.png",
    )
    assert load(root)["video_id"].to_pylist() == [clip]


@pytest.mark.parametrize("part", ["manipulated_sequences", "manipulated_sequences/FaceSwap/c40/videos"])
def test_a_part_of_the_tree_tells_as_much_as_the_whole(tree, load, part):
    root = tree("nested/ff/manipulated_sequences/FaceSwap/c40/videos/000_003.mp4")
    row = load(root / "nested/ff" / part).to_pylist()[0]
    assert [row[k] for k in ("method", "compression", "source_id")] == ["FaceSwap", "c40", "youtube/003"]


def test_a_method_folder_copied_out_of_the_tree_is_still_understood(tree, load):
    row = load(tree("Face2Face/c23/videos/000_003.mp4") / "Face2Face").to_pylist()[0]
    assert (row["label"], row["target_id"], row["source_id"]) == (1, "youtube/000", "youtube/003")


def test_a_single_clip_is_known_by_where_it_lies(tree, load):
    root = tree("original_sequences/actors/c23/videos/01__kitchen_still.mp4")
    row = load(root / "original_sequences/actors/c23/videos/01__kitchen_still.mp4").to_pylist()[0]
    assert (row["video_id"], row["target_id"]) == ("01__kitchen_still.mp4", "actors/01")


def test_a_name_of_neither_scheme_keeps_its_label_and_is_warned_about(tree, load, caplog):
    root = tree("manipulated_sequences/FaceSwap/c23/videos/holiday.mp4")
    with caplog.at_level(logging.WARNING):
        row = load(root).to_pylist()[0]
    assert (row["label"], row["target_id"], row["source_id"]) == (1, "youtube/holiday", None)
    assert "holiday.mp4" in caplog.text


def test_footage_beside_the_tree_is_kept_by_its_folders_names(tree, load):
    root = tree("ff/original_sequences/youtube/c23/videos/000.mp4", "other/fake/x.mp4")
    labels = dict(zip(*(load(root)[k].to_pylist() for k in ("video_id", "label")), strict=True))
    assert labels["other/fake/x.mp4"] == 1


def test_extracted_frames_within_the_tree_are_not_taken_for_clips(tree, load):
    clip = "original_sequences/youtube/c23/videos/000.mp4"
    root = tree(clip, "original_sequences/youtube/c23/images/000/0001.png")
    assert load(root)["video_id"].to_pylist() == [clip]


def test_asking_for_the_layout_where_it_is_not_says_what_is_there(tree, load):
    with pytest.raises(UsageError, match=r"original_sequences/youtube.*found 2 files: \.mp4 \(2\)"):
        load(tree("real/a.mp4", "fake/b.mp4"), layout="ffpp")


# As the copy of c23 on Kaggle has it: kaggle.com/datasets/xdxd003/ff-c23.
KAGGLE = [
    "original/000.mp4", "original/003.mp4", "original/033.mp4",
    "Deepfakes/000_003.mp4", "Face2Face/000_003.mp4", "FaceSwap/003_000.mp4", "FaceShifter/000_003.mp4",
    "NeuralTextures/033_097.mp4", "DeepFakeDetection/01_02__meeting_serious__YVGY8LOK.mp4",
]  # fmt: skip


@pytest.mark.parametrize("above", ["", "FaceForensics++_C23/", "archive/FaceForensics++_C23/"])
def test_a_flat_copy_is_known_by_its_methods_folders_and_names(tree, load, above):
    table = load(tree(*(above + path for path in KAGGLE)))
    found = {row["video_id"].removeprefix(above): row for row in table.to_pylist()}
    told = {path: (row["label"], row["method"]) for path, row in found.items()}
    folders = [path.partition("/")[0] for path in KAGGLE]
    assert told == {
        p: (0, "real") if f == "original" else (1, f) for p, f in zip(KAGGLE, folders, strict=True)
    }
    assert len({row["group_id"] for path, row in found.items() if "000" in path}) == 1
    assert found["NeuralTextures/033_097.mp4"]["group_id"] == found["original/033.mp4"]["group_id"]
    assert found[KAGGLE[-1]]["source_id"] == "actors/02"
    assert {row["compression"] for row in found.values()} == ({"c23"} if above else {None})


def test_the_official_lists_split_a_flat_copy(tree, load, tmp_path):
    for name, pair in {"train": ["000", "003"], "val": ["033", "097"], "test": ["020", "021"]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps([pair]))
    table = load(tree(*KAGGLE[:-1]), splits_dir=str(tmp_path))
    found = dict(zip(table["video_id"].to_pylist(), table["split"].to_pylist(), strict=True))
    assert found == {path: "val" if "033" in path else "train" for path in KAGGLE[:-1]}


@pytest.mark.parametrize("part", ["original", "Face2Face"])
def test_a_part_of_a_flat_copy_tells_as_much(tree, load, part):
    root = tree(*(f"FaceForensics++_C23/{path}" for path in KAGGLE))
    ids = load(root / "FaceForensics++_C23" / part)["target_id"].to_pylist()
    assert ids[0] == "youtube/000"


def test_originals_without_the_levels_between_are_known_beside_the_tree(tree, load):
    table = load(tree("original_sequences/000.mp4", "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"))
    assert table["group_id"].to_pylist() == ["youtube/000"] * 2


def test_folders_named_alike_with_other_clips_are_no_copy(tree, load):
    table = load(tree("original/000.mp4", "Deepfakes/holiday.mp4", "Deepfakes/01.mp4"))
    assert table["target_id"].to_pylist() == ["Deepfakes/01", "Deepfakes/holiday", "original/000"]


def test_a_flat_copy_in_ready_made_splits_or_with_its_fakes_in_one_folder(tree, load):
    root = tree("a/train/real/000.mp4", "a/train/fake/Deepfakes/000_003.mp4", "a/test/real/010.mp4",
                "a/test/FaceSwap/010_011.mp4", "b/original/val/030.mp4", "b/Face2Face/val/030_031.mp4",
                "FF++/real/020.mp4", "FF++/fake/020_021.mp4")  # fmt: skip
    found = {row["video_id"]: row for row in load(root).to_pylist()}
    assert found["a/train/fake/Deepfakes/000_003.mp4"]["split"] == "train"
    assert found["a/test/real/010.mp4"]["split"] == "test"
    assert found["b/Face2Face/val/030_031.mp4"]["split"] == "val"
    assert (
        found["FF++/fake/020_021.mp4"]["group_id"] == found["FF++/real/020.mp4"]["group_id"] == "youtube/020"
    )


@pytest.mark.parametrize(
    ("original", "fake", "method"),
    [
        ("original_videos/000.mp4", "Neural Textures/000_003.mp4", "NeuralTextures"),
        ("Real_c40/000.mp4", "deep_fakes_c40/000_003.mp4", "Deepfakes"),
        ("real/000_12.png", "FaceSwap/000_003_frame12.png", "FaceSwap"),
        ("real/000.mp4", "fake/000_003.mp4", "fake"),
        ("real/003.mp4", "fake_videos/000_003.mp4", "fake"),
    ],
)
def test_a_flat_copy_is_known_however_its_folders_are_written(tree, load, original, fake, method):
    root = tree(original, fake, "DFD/01_02__meeting_serious__YVGY8LOK.mp4")
    found = {row["video_id"]: row for row in load(root).to_pylist()}
    assert (found[original]["label"], found[fake]["label"]) == (0, 1)
    assert found[original]["group_id"] == found[fake]["group_id"]
    assert (found[fake]["method"], found[fake]["target_id"]) == (method, "youtube/000")


def test_pairs_of_numbers_are_no_copy_without_their_originals(tree, load):
    table = load(tree("real/100.mp4", "fake/000_003.mp4"))
    assert not any(target.startswith("youtube/") for target in table["target_id"].to_pylist())


@pytest.mark.data
def test_the_genuine_clips_are_three_originals_and_one_fake_of_each_of_four_methods(data: Path, load):
    methods = load(data / "ffpp")["method"].to_pylist()
    assert sorted(methods) == ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"] + ["real"] * 3
