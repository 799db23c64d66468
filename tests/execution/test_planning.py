"""What is left to do beside an earlier run: what is new, has changed, or failed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from deepfake.execution import planning
from deepfake.io import tables
from tests.rows import catalog_row

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def catalog(**sizes: int | None) -> pa.Table:
    return tables.from_rows("catalog", [catalog_row(name, size_bytes=size) for name, size in sizes.items()])


def run_of(*rows: Mapping[str, Any]) -> pa.Table:
    """The manifest of a run that found a face in each of these videos."""
    usual = {
        "uri": "",
        "size_bytes": 1,
        "status": "ok",
        "frames_sampled": 1,
        "frames_with_face": 1,
        "faces": 1,
    }
    return tables.from_rows("videos", [{**usual, **row} for row in rows])


def earlier(**sizes: int | None) -> pa.Table:
    return run_of(*({"video_id": name, "size_bytes": size} for name, size in sizes.items()))


def test_without_an_earlier_run_everything_is_left() -> None:
    assert planning.select_missing(catalog(a=1, b=2), None)["video_id"].to_pylist() == ["a", "b"]


def test_only_new_videos_are_left_in_their_order() -> None:
    assert planning.select_missing(catalog(c=3, a=1, b=2), earlier(a=1))["video_id"].to_pylist() == ["c", "b"]


def test_a_size_that_was_or_is_not_known_is_no_change() -> None:
    left = planning.select_missing(catalog(a=None, b=2, c=3), earlier(a=1, b=None))
    assert left["video_id"].to_pylist() == ["c"]


def test_a_file_of_another_size_or_time_is_left_and_so_is_its_copy() -> None:
    before = run_of(
        {"video_id": "a", "modified": NOON}, {"video_id": "b"}, {"video_id": "c", "modified": NOON},
        {"video_id": "copy", "status": "skipped_duplicate", "duplicate_of": "c"},
    )  # fmt: skip
    rows = [
        catalog_row("a", size_bytes=1, modified=NOON),
        catalog_row("b", size_bytes=2),
        catalog_row("c", size_bytes=1, modified=NOON + timedelta(seconds=1)),
        catalog_row("copy", size_bytes=1),
    ]
    listed = tables.from_rows("catalog", rows)
    assert planning.select_missing(listed, before)["video_id"].to_pylist() == ["b", "c", "copy"]
    assert planning.list_changed(listed, before).to_pylist() == ["b", "c"]


def test_a_file_that_is_gone_is_not_left_and_has_not_changed() -> None:
    assert planning.select_missing(catalog(a=1), earlier(a=1, b=2)).num_rows == 0
    assert len(planning.list_changed(catalog(a=1), earlier(a=1, b=2))) == 0


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
    left = planning.select_missing(catalog(**dict.fromkeys(FAILED, 1)), run_with_failures())
    assert left["video_id"].to_pylist() == ["away", "slow"]


def test_all_that_failed_is_done_again_where_that_is_asked_for() -> None:
    left = planning.select_missing(
        catalog(**dict.fromkeys(FAILED, 1)), run_with_failures(), retry_failed=True
    )
    assert left["video_id"].to_pylist() == ["broken", "away", "slow"]


def test_a_failed_video_may_have_changed_since() -> None:
    left = planning.select_missing(catalog(away=2), run_with_failures(size=1))
    assert left["video_id"].to_pylist() == ["away"]
