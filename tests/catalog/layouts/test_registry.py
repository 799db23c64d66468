"""Celeb-DF, DFDC and DeepFakeDetection, from made trees in their published shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from deepfake.errors import UsageError
from tests.catalog.conftest import Load, MakeTree

CELEB = (
    "Celeb-DF-v2/Celeb-real/id0_0000.mp4",
    "Celeb-DF-v2/Celeb-real/id1_0003.mp4",
    "Celeb-DF-v2/Celeb-synthesis/id0_id1_0000.mp4",
    "Celeb-DF-v2/Celeb-synthesis/id1_id0_0003.mp4",
    "Celeb-DF-v2/YouTube-real/00170.mp4",
    "Celeb-DF-v2/YouTube-real/00171.mp4",
)


def rows(table: pa.Table, *columns: str) -> dict[str, tuple[Any, ...]]:
    """Chosen columns by the file's name."""
    return {
        row["video_id"].rpartition("/")[2]: tuple(row[name] for name in columns) for row in table.to_pylist()
    }


@pytest.fixture
def celeb(tree: MakeTree) -> Path:
    root = tree(*CELEB)
    (root / "Celeb-DF-v2" / "List_of_testing_videos.txt").write_text(
        "1 YouTube-real/00170.mp4\n0 Celeb-synthesis/id1_id0_0003.mp4\n\n1 Celeb-real/id1_0003.mp4\n"
    )
    return root


def test_celeb_df_tells_people_labels_and_its_official_test_split(celeb: Path, load: Load) -> None:
    found = rows(load(celeb), "label", "method", "target_id", "source_id", "split")
    assert found == {
        "id0_0000.mp4": (0, "real", "celeb/id0", None, "train"),
        "id1_0003.mp4": (0, "real", "celeb/id1", None, "test"),
        "id0_id1_0000.mp4": (1, "Celeb-synthesis", "celeb/id0", "celeb/id1", "train"),
        "id1_id0_0003.mp4": (1, "Celeb-synthesis", "celeb/id1", "celeb/id0", "test"),
        "00170.mp4": (0, "real", "celeb/youtube-real/00170", None, "test"),
        "00171.mp4": (0, "real", "celeb/youtube-real/00171", None, "train"),
    }
    assert set(rows(load(celeb), "dataset").values()) == {("Celeb-DF-v2",)}
    assert rows(load(celeb / "Celeb-DF-v2"), "split", "dataset") == rows(load(celeb), "split", "dataset")


def test_without_its_list_celeb_df_is_split_by_people(tree: MakeTree, load: Load) -> None:
    found = rows(load(tree(*CELEB), split_fractions=(0.5, 0.0, 0.5)), "group_id", "split")
    celebrities = {value for name, value in found.items() if name.startswith("id")}
    assert len(celebrities) == 1  # the swaps join them all


def test_a_part_of_celeb_df_is_known_by_the_folders_name(tree: MakeTree, load: Load) -> None:
    root = tree(*CELEB)
    found = rows(load(root / "Celeb-DF-v2" / "Celeb-synthesis"), "label", "source_id")
    assert found["id0_id1_0000.mp4"] == (1, "celeb/id1")


@pytest.mark.parametrize(
    ("line", "words"),
    [("2 YouTube-real/00170.mp4", "line 1 is"), ("0 YouTube-real/00170.mp4", "opposite to its folder's")],
)
def test_a_list_that_is_wrong_is_refused(celeb: Path, load: Load, line: str, words: str) -> None:
    (celeb / "Celeb-DF-v2" / "List_of_testing_videos.txt").write_text(line + "\n")
    with pytest.raises(UsageError, match=words):
        load(celeb)


@pytest.fixture
def dfdc(tree: MakeTree) -> Path:
    root = tree("part_0/aaa.mp4", "part_0/bbb.mp4", "part_1/ccc.mp4", "part_1/ddd.mp4", "part_1/eee.mp4")
    first = {
        "aaa.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"},
        "bbb.mp4": {"label": "REAL", "split": "train", "original": None},
    }
    second = {
        "ccc.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"},
        "ddd.mp4": {"is_fake": 1, "original": "gone.mp4"},
    }
    (root / "part_0" / "metadata.json").write_text(json.dumps(first))
    (root / "part_1" / "metadata.json").write_text(
        json.dumps(second), encoding="utf-8-sig"
    )  # as Windows writes it
    return root


def test_dfdc_tells_labels_splits_and_originals_across_parts(dfdc: Path, load: Load) -> None:
    found = rows(load(dfdc), "label", "method", "dataset", "target_id", "group_id")
    assert found["aaa.mp4"] == (1, "DFDC", "DFDC", "dfdc/bbb", "dfdc/bbb")
    assert found["bbb.mp4"] == (0, "real", "DFDC", "dfdc/bbb", "dfdc/bbb")
    assert found["ccc.mp4"] == (1, "DFDC", "DFDC", "dfdc/bbb", "dfdc/bbb")
    assert found["ddd.mp4"][3] == "dfdc/gone"
    assert found["eee.mp4"][0] is None  # no metadata names it
    assert rows(load(dfdc), "split")["aaa.mp4"] == ("train",)


def test_frames_of_dfdcs_clips_are_known_by_their_folders(tree: MakeTree, load: Load) -> None:
    part = "dfdc_train_part_3"
    frames = [f"{part}/{folder}/{i}.png" for folder in ("aaa", "frames/bbb") for i in range(3)]
    told = {
        "aaa.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"},
        "bbb.mp4": {"label": "REAL"},
    }
    (tree(*frames, f"{part}/ccc.avi") / part / "metadata.json").write_text(
        json.dumps(told | {"ccc.mp4": {"label": "REAL"}})
    )
    found = rows(load(tree()), "label", "group_id")
    assert found == {"aaa": (1, "dfdc/bbb"), "bbb": (0, "dfdc/bbb"), "ccc.avi": (0, "dfdc/ccc")}


def test_a_label_that_dfdc_does_not_have_is_named(dfdc: Path, load: Load) -> None:
    (dfdc / "part_0" / "metadata.json").write_text('{"aaa.mp4": {"label": "MAYBE"}}')
    with pytest.raises(UsageError, match=r"metadata\.json: aaa\.mp4 has label 'MAYBE'"):
        load(dfdc)


def test_another_metadata_file_is_no_dfdc(tree: MakeTree, load: Load) -> None:
    root = tree("real/a.mp4", "fake/b.mp4")
    (root / "real" / "metadata.json").write_text('{"camera": "x", "a.mp4": {"width": 3}}')
    assert rows(load(root), "label") == {"a.mp4": (0,), "b.mp4": (1,)}


def test_actors_outside_the_ffpp_tree_are_known_by_their_names(tree: MakeTree, load: Load) -> None:
    root = tree(
        "DFD_original sequences/01__meeting_serious.mp4",
        "DFD_manipulated_sequences/c40/01_02__meeting_serious__YVGY8LOK.mp4",
        "other/holiday.mp4",
    )
    found = rows(load(root), "label", "method", "target_id", "source_id", "compression")
    assert found["01__meeting_serious.mp4"] == (0, "real", "actors/01", None, None)
    assert found["01_02__meeting_serious__YVGY8LOK.mp4"] == (
        1, "DeepFakeDetection", "actors/01", "actors/02", "c40",
    )  # fmt: skip
    assert found["holiday.mp4"][0] is None


def test_a_name_that_looks_like_an_actors_is_not_enough(tree: MakeTree, load: Load) -> None:
    assert rows(load(tree("clips/01__holiday.mp4")), "label") == {"01__holiday.mp4": (None,)}


@pytest.mark.parametrize("layout", ["celeb_df", "dfdc", "dfd"])
def test_a_layout_that_is_not_there_is_answered_with_what_was_looked_for(
    tree: MakeTree, load: Load, layout: str
) -> None:
    with pytest.raises(UsageError, match=rf"not laid out as {layout}: looked for .*found 1 files"):
        load(tree("a.mp4"), layout=layout)
