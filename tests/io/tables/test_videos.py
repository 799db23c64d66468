"""Rows of videos: before anything is read of one, and after its catalog says something else of it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from deepfake.io import tables
from deepfake.io.tables import PROVENANCE_COLUMNS
from deepfake.io.tables.videos import make_video_row, relabel, select_relabelled
from tests.rows import catalog_row, crop_row, video_row


def make_catalog(**told: dict[str, Any]) -> pa.Table:
    return tables.from_rows("catalog", [catalog_row(name, **row) for name, row in told.items()])


def make_videos(**told: dict[str, Any]) -> pa.Table:
    return tables.from_rows("videos", [video_row(name, **row) for name, row in told.items()])


def test_a_row_begins_with_what_the_catalog_says_and_nothing_found() -> None:
    entry = catalog_row("a", label=1, method="Swap", split="val", original_uri="/archive/b")
    row = make_video_row(entry)
    assert {name: row[name] for name in ("video_id", "uri", "label", "method", "split", "target_id")} == {
        "video_id": "a", "uri": "/archive/a", "label": 1, "method": "Swap", "split": "val", "target_id": None,
    }  # fmt: skip
    assert (row["frames_sampled"], row["frames_with_face"], row["faces"]) == (0, 0, 0)
    tables.from_rows("videos", [row | {"status": "ok"}])


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({"label": 0}, {"label": 1}),
        ({"label": None}, {"label": 1}),
        ({"label": 1}, {"label": None}),
        ({"split": "val"}, {"split": "test"}),
        ({"group_id": "a"}, {"group_id": "b"}),
    ],
    ids=str,
)
def test_what_is_said_anew_of_a_video_is_found(was: dict[str, Any], now: dict[str, Any]) -> None:
    rows = make_videos(same={"label": 1, "split": "val"}, other=was, gone={"label": 1})
    listed = make_catalog(new={"label": 0}, other=now, same={"label": 1, "split": "val"})
    found = select_relabelled(rows, listed)
    assert found.column_names == ["video_id", *PROVENANCE_COLUMNS]
    assert found["video_id"].to_pylist() == ["other"]
    (name,) = now
    assert found[name].to_pylist() == [now[name]]


def test_of_no_videos_nothing_is_said_anew() -> None:
    assert select_relabelled(make_videos(), make_catalog(a={"label": 1})).num_rows == 0


def test_a_table_takes_what_is_known_anew_and_keeps_the_rest() -> None:
    crops = tables.from_rows("crops", [crop_row("a", label=0, method="real"), crop_row("b", label=0)])
    known = select_relabelled(make_videos(a={"label": 0}), make_catalog(a={"label": 1, "split": "test"}))
    told = relabel(crops, known)
    assert told.schema.equals(crops.schema, check_metadata=True)
    assert told.select(["label", "method", "split"]).to_pylist() == [
        {"label": 1, "method": None, "split": "test"},
        {"label": 0, "method": crops["method"][1].as_py(), "split": crops["split"][1].as_py()},
    ]
    assert told["crop"].equals(crops["crop"])
    assert relabel(crops, known.slice(0, 0)) is crops
