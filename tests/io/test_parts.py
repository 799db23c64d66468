"""Which files of an output count."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.errors import UsageError
from deepfake.io.parts import PARTS_KEY, list_part_files, read_part_names
from deepfake.io.run_record import RECORD_FILE
from deepfake.io.storage import Storage


def output(folder: Path, *names: str, listed: dict[str, list[str]] | None = None) -> Path:
    """A folder of files with these names, and a manifest that lists some."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if listed is not None:
        schema = pa.schema([], {PARTS_KEY: json.dumps(listed).encode()})
        pq.write_table(schema.empty_table(), folder / "_manifest.parquet")
    return folder


def found(folder: Path, table: str = "") -> list[str]:
    return [
        Path(uri).relative_to(folder / table).as_posix()
        for uri in list_part_files(str(folder), Storage(), table)
    ]


def test_of_a_finished_output_the_listed_files_count_and_no_later_ones(tmp_path: Path) -> None:
    names = ("part-1.parquet", "part-0.parquet", "part-2.parquet")
    folder = output(tmp_path, *names, listed={"crops": ["part-0.parquet", "part-1.parquet"]})
    assert found(folder) == ["part-0.parquet", "part-1.parquet"]


def test_each_table_has_a_list_of_its_own(tmp_path: Path) -> None:
    names = ("scores/part-0.parquet", "evidence/part-0.parquet")
    folder = output(tmp_path, *names, listed={"scores": ["part-0.parquet"], "evidence": []})
    assert found(folder, "scores") == ["part-0.parquet"]
    with pytest.raises(UsageError, match="evidence: no Parquet files there"):
        found(folder, "evidence")


def test_without_a_list_every_table_counts_that_is_neither_hidden_nor_of_the_jobs_own(tmp_path: Path) -> None:
    names = ("b.parquet", "more/a.parquet", "_work/u.parquet", ".old/u.parquet", "_m.parquet", "a.csv")
    assert found(output(tmp_path, *names)) == ["b.parquet", "more/a.parquet"]
    assert read_part_names(str(tmp_path), Storage()) == {}


def test_an_output_that_is_still_being_written_is_refused(tmp_path: Path) -> None:
    folder = output(tmp_path, "part-0.parquet", RECORD_FILE, "_work/u.parquet")
    with pytest.raises(UsageError, match="has not finished; run it again to go on"):
        found(folder)


def test_files_of_a_finished_run_count_while_another_goes_on(tmp_path: Path) -> None:
    names = ("part-0.parquet", "part-1.parquet", RECORD_FILE, "_work/u.parquet")
    assert found(output(tmp_path, *names, listed={"crops": ["part-0.parquet"]})) == ["part-0.parquet"]
