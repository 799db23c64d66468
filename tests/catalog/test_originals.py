"""Which real video each fake was made from."""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa
import pytest

from deepfake.catalog.originals import attach_originals, match_clips

COLUMNS = ("video_id", "uri", "label", "target_id", "dataset", "compression")
SCHEMA = pa.schema([(name, pa.int8() if name == "label" else pa.string()) for name in COLUMNS])


def clip(
    name: str, label: int | None, target: str | None, compression: str | None = "c23", dataset: str = "a"
) -> dict[str, Any]:
    values = (name, f"/{name}", label, target, dataset, compression)
    return dict(zip(COLUMNS, values, strict=True))


def originals(*clips: dict[str, Any]) -> list[str | None]:
    return attach_originals(pa.Table.from_pylist(list(clips), SCHEMA))["original_uri"].to_pylist()


def test_a_fake_has_the_real_clip_of_its_target_and_nothing_else_has_one() -> None:
    unlabelled = clip("u", None, "1")
    assert originals(
        clip("f2", 1, "2"), clip("r1", 0, "1"), clip("f1", 1, "1"), clip("r2", 0, "2"), unlabelled
    ) == ["/r2", None, "/r1", None, None]


@pytest.mark.parametrize(
    "reals",
    [
        [],
        [clip("r", 0, "1", compression="c40")],
        [clip("r", 0, "1", compression=None)],
        [clip("r", 0, "1", dataset="b")],
        [clip("r", 0, None)],
        [clip("r", 0, "1"), clip("again", 0, "1")],
    ],
    ids=["none", "other compression", "unknown compression", "other data set", "no target", "two"],
)
def test_a_fake_whose_original_is_not_there_once_has_none_and_is_counted(
    reals: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert originals(clip("f", 1, "1"), *reals) == [None] * (1 + len(reals))
    assert "1 fakes have no original" in caplog.text


def test_fakes_without_a_target_are_not_matched_with_reals_without_one() -> None:
    assert originals(clip("f", 1, None), clip("r", 0, None)) == [None, None]


def test_many_rows_of_one_real_video_are_one_original() -> None:
    rows = [clip("r", 0, "1"), clip("r", 0, "1"), clip("f", 1, "1"), clip("alone", 1, "2")]
    of_clip, matched = match_clips(pa.Table.from_pylist(rows, SCHEMA))
    assert matched.tolist() == [True, True, True, False]
    assert of_clip[0] == of_clip[1] == of_clip[2] != of_clip[3]


def test_a_catalog_without_rows_has_the_column() -> None:
    assert originals() == []
