"""What is left to do beside an earlier run: what is new or failed, and never what has changed."""

from __future__ import annotations

import pyarrow as pa
import pytest

from deepfake.errors import UsageError
from deepfake.execution import planning
from deepfake.io import tables
from tests.rows import catalog_row


def catalog(**sizes: int | None) -> pa.Table:
    return tables.from_rows("catalog", [catalog_row(name, size_bytes=size) for name, size in sizes.items()])


def earlier(**sizes: int | None) -> pa.Table:
    counts = {"status": "ok", "frames_sampled": 1, "frames_with_face": 1, "faces": 1}
    rows = [{"video_id": name, "uri": name, "size_bytes": size} | counts for name, size in sizes.items()]
    return tables.from_rows("videos", rows)


def test_without_an_earlier_run_everything_is_left() -> None:
    assert planning.missing(catalog(a=1, b=2), None)["video_id"].to_pylist() == ["a", "b"]


def test_only_new_videos_are_left_in_their_order() -> None:
    assert planning.missing(catalog(c=3, a=1, b=2), earlier(a=1))["video_id"].to_pylist() == ["c", "b"]


def test_a_size_that_was_or_is_not_known_is_no_change() -> None:
    left = planning.missing(catalog(a=None, b=2, c=3), earlier(a=1, b=None))
    assert left["video_id"].to_pylist() == ["c"]


def test_changed_videos_are_counted_and_the_first_is_named() -> None:
    with pytest.raises(UsageError, match=r"2 videos have changed .* the first is b; write to another"):
        planning.missing(catalog(a=1, b=3, c=4, d=5), earlier(a=1, b=2, c=3))


FAILED = {
    "ok": ("ok", None),
    "broken": ("decode_error", False),
    "away": ("unreadable", True),
    "slow": ("timeout", True),
    "copy": ("skipped_duplicate", None),
}


def run_with_failures(size: int = 1) -> pa.Table:
    counts = {"size_bytes": size, "frames_sampled": 0, "frames_with_face": 0, "faces": 0}
    rows = [
        {"video_id": name, "uri": name, "status": status, "retry": retry, **counts}
        for name, (status, retry) in FAILED.items()
    ]
    return tables.from_rows("videos", rows)


def test_what_may_have_been_the_machines_fault_is_done_again() -> None:
    left = planning.missing(catalog(**dict.fromkeys(FAILED, 1)), run_with_failures())
    assert left["video_id"].to_pylist() == ["away", "slow"]


def test_all_that_failed_is_done_again_where_that_is_asked_for() -> None:
    left = planning.missing(catalog(**dict.fromkeys(FAILED, 1)), run_with_failures(), retry_failed=True)
    assert left["video_id"].to_pylist() == ["broken", "away", "slow"]


def test_a_failed_video_may_have_changed_since() -> None:
    left = planning.missing(catalog(away=2), run_with_failures(size=1))
    assert left["video_id"].to_pylist() == ["away"]
