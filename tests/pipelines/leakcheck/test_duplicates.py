"""The same content in two splits or under two labels."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from deepfake.catalog.duplicates import require_no_duplicates
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.pipelines.leakcheck import duplicates
from deepfake.pipelines.leakcheck.findings import Finding
from tests.pipelines.leakcheck.made import face, looked_at
from tests.rows import video_row


def videos(*rows: tuple[Any, ...]) -> pa.Table:
    """Rows of (name, content, split, label, status)."""
    names = ("content_sha256", "split", "label", "status")
    return tables.from_rows(
        "videos", [video_row(row[0], **dict(zip(names, row[1:], strict=False))) for row in rows]
    )


def brief(findings: list[Finding]) -> list[tuple[str, ...]]:
    return sorted((f.kind, f.video_a, f.video_b) for f in findings)


def test_a_file_in_two_splits_is_found_and_named_in_the_order_of_the_splits() -> None:
    table = videos(("z", "aa", "train", 0), ("a", "aa", "val", 0), ("b", "bb", "val", 0))
    (found,) = duplicates.find_duplicate_files(table)
    assert (found.video_a, found.split_a, found.video_b, found.split_b) == ("z", "train", "a", "val")
    assert found.key == "aa"


def test_copies_within_one_split_and_files_without_a_hash_are_no_leak() -> None:
    table = videos(
        ("a", "aa", "val", 0), ("b", "aa", "val", 0), ("c", None, "train", 0), ("d", None, "val", 0)
    )
    assert duplicates.find_duplicate_files(table) == []


def test_every_copy_is_named_without_listing_every_pair() -> None:
    rows = [(f"t{i}", "aa", "train", 0) for i in range(50)] + [(f"v{i}", "aa", "val", 0) for i in range(20)]
    found = duplicates.find_duplicate_files(videos(*rows))
    assert len(found) == 50
    assert {f.video_a for f in found} | {f.video_b for f in found} == {row[0] for row in rows}


def test_content_labelled_real_and_fake_is_a_conflict_even_within_a_split() -> None:
    found = duplicates.find_duplicate_files(videos(("a", "aa", "train", 1), ("b", "aa", "train", 0)))
    assert brief(found) == [("label_conflict", "b", "a")]


def test_copies_that_preprocess_left_out_do_not_count() -> None:
    table = videos(("a", "aa", "train", 0, "ok"), ("b", "aa", "test", 0, "skipped_duplicate"))
    assert duplicates.find_duplicate_files(table) == []
    require_no_duplicates(table, ["train", "test"])


def test_crops_of_equal_pixels_join_their_videos_once_with_the_number_of_pairs() -> None:
    shared = [face(1), face(2)]
    pictures = looked_at(
        [("a", shared[0], 0, "train"), ("a", shared[1], 0, "train"), ("b", shared[0], 0, "test"),
         ("b", shared[1], 0, "test"), ("c", face(3), 0, "test")]
    )  # fmt: skip
    (found,) = duplicates.find_duplicate_crops(pictures)
    assert (found.kind, found.video_a, found.video_b, found.crop_pairs) == ("duplicate_crop", "a", "b", 2)


def test_the_gate_names_the_pairs_and_looks_at_the_given_splits_only() -> None:
    table = videos(("a", "aa", "train", 0), ("b", "aa", "test", 0), ("c", "cc", "val", 0))
    require_no_duplicates(table, ["train", "val"])
    with pytest.raises(UsageError, match=r"train and test.*\n  a \(train\) and b \(test\)"):
        require_no_duplicates(table, ["train", "test"])


def test_the_gate_does_with_the_three_columns_it_needs() -> None:
    table = videos(("a", "aa", "train", 0), ("b", "aa", "val", 0)).select(
        ["video_id", "split", "content_sha256"]
    )
    with pytest.raises(UsageError, match="train and val"):
        require_no_duplicates(table, ["train", "val"])
