"""The plan of a job: whole, in order, and the same on every run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.catalog.media import are_images, is_image_name
from deepfake.execution import work_units
from deepfake.execution.work_units import Unit, plan_units
from deepfake.io import tables
from tests.rows import catalog_row

CONFIG = "c" * 64
MODIFIED = datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def catalog(sizes: list[int | None], suffix: str = ".mp4", **values: Any) -> pa.Table:
    rows = [
        catalog_row(f"{i:05d}{suffix}", size_bytes=size, **{"modified": MODIFIED, **values})
        for i, size in enumerate(sizes)
    ]
    return tables.from_rows("catalog", rows)


def ids(units: list[Unit]) -> list[str]:
    return [unit.unit_id for unit in units]


SIZES = st.lists(st.one_of(st.none(), st.integers(0, 10**10)), max_size=80)


@given(SIZES)
def test_units_cover_every_row_once_in_the_catalogs_order(sizes: list[int | None]) -> None:
    listed = catalog(sizes)
    units = plan_units(listed, CONFIG)
    found = [video_id for unit in units for video_id in unit.rows["video_id"].to_pylist()]
    assert found == listed["video_id"].to_pylist()
    assert all(unit.rows.num_rows for unit in units)
    assert len(set(ids(units))) == len(units)


@given(SIZES)
def test_a_plan_made_again_is_the_same(sizes: list[int | None]) -> None:
    chunked = pa.concat_tables([catalog(sizes).slice(i, 1) for i in range(len(sizes))] or [catalog([])])
    assert ids(plan_units(catalog(sizes), CONFIG)) == ids(plan_units(chunked, CONFIG))


@given(SIZES)
def test_no_unit_could_lose_its_last_video_and_still_be_worth_a_task(sizes: list[int | None]) -> None:
    units = plan_units(catalog(sizes), CONFIG)
    target = np.clip(sum(unit.seconds for unit in units) / work_units.UNITS, 1.0, 60.0)
    for unit in units:
        assert unit.seconds == pytest.approx(work_units.estimate_seconds(unit.rows).sum())
        assert work_units.estimate_seconds(unit.rows)[:-1].sum() < target


@pytest.mark.parametrize(
    ("videos", "size", "low", "high"),
    [(3, 2 * 10**6, 2, 3), (7000, 2 * 10**6, 200, 260), (100_000, 10**6, 1600, 1700)],
)
def test_a_small_job_has_a_unit_for_each_core_and_a_huge_one_units_of_a_minute(videos, size, low, high):
    names = pa.array([f"{i:07d}.mp4" for i in range(videos)])
    listed = pa.table({
        "video_id": names, "size_bytes": pa.array(np.full(videos, size)), "modified": pa.nulls(videos)
    })  # fmt: skip
    assert low <= len(plan_units(listed, CONFIG)) <= high


def test_a_large_video_stands_alone_and_images_are_bundled() -> None:
    assert [unit.rows.num_rows for unit in plan_units(catalog([10**9, 10**9, 10**9]), CONFIG)] == [1, 1, 1]
    assert len(plan_units(catalog([50_000] * 20, suffix=".jpg"), CONFIG)) == 1


def test_a_units_id_changes_with_the_configuration_the_name_the_size_and_the_time() -> None:
    (before,) = ids(plan_units(catalog([10]), CONFIG))
    others = [
        plan_units(catalog([10]), "d" * 64),
        plan_units(catalog([11]), CONFIG),
        plan_units(catalog([None]), CONFIG),
        plan_units(catalog([10], suffix=".mkv"), CONFIG),
        plan_units(catalog([10], modified=MODIFIED + timedelta(microseconds=1)), CONFIG),
        plan_units(catalog([10], modified=None), CONFIG),
    ]
    assert before not in {unit_id for units in others for unit_id in ids(units)}


def test_a_units_id_does_not_change_with_what_is_known_of_its_videos_or_where_they_lie() -> None:
    moved = catalog([10], uri="s3://bucket/00000.mp4", label=1, split="train")
    assert ids(plan_units(moved, CONFIG)) == ids(plan_units(catalog([10]), CONFIG))


def test_a_units_id_fits_a_file_name_and_nothing_else() -> None:
    assert all(
        unit_id.isalnum() and len(unit_id) == 16 for unit_id in ids(plan_units(catalog([10] * 9), CONFIG))
    )


def test_the_largest_archive_has_no_more_units_than_can_be_held_and_they_are_alike() -> None:
    sizes = np.random.default_rng(0).lognormal(np.log(4e8), 1.0, 300_000).astype(np.int64)
    names = pa.array([f"{i:07d}.mp4" for i in range(len(sizes))])
    listed = pa.table({
        "video_id": names, "size_bytes": pa.array(sizes), "modified": pa.nulls(len(sizes))
    })  # fmt: skip
    units = plan_units(listed, CONFIG)
    assert 50_000 < len(units) <= work_units.MOST_UNITS
    assert sum(unit.rows.num_rows for unit in units) == len(sizes)


@given(st.lists(st.text(st.sampled_from("ab./ \n~"), max_size=4), max_size=5))
def test_many_names_are_told_from_images_as_one_is(stems: list[str]) -> None:
    names = [stem + end for stem in [*stems, "x"] for end in (".jpg", ".JPEG", ".mp4", ".png ", ".tif\n", "")]
    found = are_images(pa.chunked_array([pa.array(names, pa.string())]))
    assert found.to_pylist() == [is_image_name(name) for name in names]
