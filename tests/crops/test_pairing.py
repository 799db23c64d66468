"""Which real crop belongs beside a fake: the same footage, the same frame, the same face."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from deepfake.crops.pairing import find_originals
from deepfake.io import tables
from tests.rows import crop_row


def row(
    video: str, frame: int, label: int, target: str | None, x: float = 10.0, **values: Any
) -> dict[str, Any]:
    named = {"label": label, "target_id": target, "dataset": "youtube", "compression": "c23"}
    return crop_row(video, frame, **{**named, "box": {"x": x, "y": 20.0, "w": 30.0, "h": 40.0}, **values})


def found(*rows: dict[str, Any]) -> list[int]:
    return find_originals(tables.from_rows("crops", list(rows))).tolist()


def test_a_fake_is_beside_the_same_frame_of_its_target() -> None:
    rows = (
        row("fake/000_003", 30, 1, "000"),
        row("real/000", 0, 0, "000"),
        row("real/000", 30, 0, "000"),
        row("real/003", 30, 0, "003"),
        row("fake/003_000", 0, 1, "003"),
        row("fake/003_000", 30, 1, "003"),
    )
    assert found(*rows) == [2, -1, -1, -1, -1, 3]


def test_compression_must_be_the_same_and_a_fake_without_target_has_no_original() -> None:
    rows = (
        row("real/c40", 0, 0, "000", compression="c40"),
        row("real/c23", 0, 0, "000"),
        row("fake/c40", 0, 1, "000", compression="c40"),
        row("fake/unknown", 0, 1, None),
        row("real/unknown", 0, 0, None),
    )
    assert found(*rows) == [-1, -1, 0, -1, -1]


def test_of_several_faces_the_nearest_is_the_original() -> None:
    rows = (
        row("real/a", 0, 0, "a", x=10.0),
        row("real/a", 0, 0, "a", x=200.0, face_index=1),
        row("fake/a_b", 0, 1, "a", x=190.0),
        row("fake/a_b", 0, 1, "a", x=14.0, face_index=1),
    )
    assert found(*rows) == [-1, -1, 1, 0]


def test_an_identity_with_several_real_videos_names_no_original() -> None:
    rows = (row("real/1", 0, 0, "id0"), row("real/2", 0, 0, "id0"), row("fake/1", 0, 1, "id0"))
    assert found(*rows) == [-1, -1, -1]


def test_tables_without_reals_or_without_rows_have_no_originals() -> None:
    assert found(row("fake/a_b", 0, 1, "a")) == [-1]
    empty = tables.from_rows("crops", [])
    assert find_originals(empty).dtype == np.int64 and isinstance(empty, pa.Table)
