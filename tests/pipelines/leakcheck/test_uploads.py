"""Clips of one upload in two splits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.leakcheck import uploads
from tests.rows import catalog_row

STORAGE = Storage()
KNOWN = uploads.Uploads({"001": "tube A", "002": "tube A", "003": "b", "004": "c"}, {})


def catalog(*rows: dict[str, Any]) -> pa.Table:
    return tables.from_rows("catalog", [catalog_row(f"{i}.mp4", **row) for i, row in enumerate(rows)])


def test_two_clips_of_one_upload_in_two_splits_are_found_through_target_and_source() -> None:
    table = catalog(
        {"target_id": "youtube/003", "source_id": "youtube/001", "split": "train", "label": 1},
        {"target_id": "youtube/002", "split": "test", "label": 0},
        {"target_id": "youtube/004", "split": "val", "label": 0},
    )
    (found,) = uploads.find_upload_overlaps(table, KNOWN)
    assert (found.key, found.split_a, found.video_a, found.split_b, found.video_b) == (
        "tube A", "train", "0.mp4", "test", "1.mp4",
    )  # fmt: skip


def test_one_clip_in_two_splits_is_no_matter_of_uploads() -> None:
    table = catalog(
        {"target_id": "youtube/001", "split": "train"}, {"target_id": "youtube/001", "split": "test"}
    )
    assert uploads.find_upload_overlaps(table, KNOWN) == []


def test_identities_of_other_data_sets_have_no_uploads() -> None:
    table = catalog({"target_id": "actors/001", "split": "train"}, {"target_id": "002", "split": "test"})
    assert uploads.find_upload_overlaps(table, KNOWN) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [("[]", "expected an object"), ("{", "not valid JSON"), ('{"000": "no-number"}', "clip '000'")],
)
def test_a_file_that_says_no_uploads_is_refused_by_name(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "conversion_dict.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=words) as raised:
        uploads.read_conversion_dict(str(path), STORAGE)
    assert str(path) in str(raised.value)


def test_the_dictionary_beside_the_lists_is_taken_unless_another_is_given(tmp_path: Path) -> None:
    for split, pair in (("train", ["001", "003"]), ("val", ["002", "004"]), ("test", ["005", "006"])):
        (tmp_path / f"{split}.json").write_text(json.dumps([pair]))
    assert uploads.load_uploads(str(tmp_path), None, STORAGE) is None
    (tmp_path / "conversion_dict.json").write_text(json.dumps({"001": "u 0", "002": "u 1"}))
    known = uploads.load_uploads(str(tmp_path), None, STORAGE)
    assert known is not None
    (found,) = uploads.find_official_overlaps(known)
    assert (found.key, found.video_a, found.video_b, found.scope) == ("u", "001", "002", "official_split")
    (tmp_path / "other.json").write_text(json.dumps({"001": "u 0", "002": "v 0"}))
    other = uploads.load_uploads(str(tmp_path), str(tmp_path / "other.json"), STORAGE)
    assert other is not None and uploads.find_official_overlaps(other) == []


@pytest.mark.data
def test_the_seven_uploads_that_straddle_the_official_split_are_found(data: Path) -> None:
    known = uploads.load_uploads(str(data / "ffpp_splits"), None, STORAGE)
    assert known is not None
    assert (len(known.of_clip), known.count) == (1000, 977)
    found = {tuple(sorted((f.video_a, f.video_b))): (f.split_a, f.split_b) for f in
             uploads.find_official_overlaps(known)}  # fmt: skip
    assert found == {
        **dict.fromkeys([("755", "756"), ("954", "955")], ("train", "test")),
        **dict.fromkeys(
            [("605", "606"), ("639", "640"), ("837", "838"), ("875", "876"), ("982", "983")], ("train", "val")
        ),
    }
