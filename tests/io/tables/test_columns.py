"""Columns that several tables have, and counts of their values."""

from __future__ import annotations

import pyarrow as pa

from deepfake.io.tables import FAILURES, PROGRAM_FAULT, Status
from deepfake.io.tables.columns import column, count_program_faults, count_values


def test_faults_of_this_program_are_told_from_those_of_files() -> None:
    details = [f"{PROGRAM_FAULT}: KeyError", None, "", "no frame could be decoded", f"not {PROGRAM_FAULT}"]
    assert count_program_faults(details) == 1


def test_values_are_counted_nulls_too() -> None:
    assert count_values(pa.chunked_array([["a", None], ["a", "b"]])) == {"a": 2, "b": 1, None: 1}


def test_a_column_carries_its_meaning_into_the_schema() -> None:
    field = column("label", pa.int8(), "0 real, 1 fake", nullable=False)
    assert (field.metadata[b"doc"], field.nullable) == (b"0 real, 1 fake", False)


def test_a_video_that_was_worked_through_is_no_failure() -> None:
    assert {Status.OK, Status.NO_FACE, Status.SKIPPED_DUPLICATE, Status.TOO_SHORT} & set(FAILURES) == set()
    assert {Status.UNREADABLE, Status.DECODE_ERROR} <= set(FAILURES)
