"""Tables: what a file says of itself, and what is refused, by name of file and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake import __version__
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import SCHEMAS, TableError
from tests.pipelines.score.score_tables import video_row as score_row
from tests.rows import catalog_row, crop_row, video_row


def _write(table: pa.Table, path: Path, row_group_rows: int = 65536) -> None:
    tables.write_table(Storage(), str(path), table, row_group_rows)


def _read(path: Path, name: str, columns: list[str] | None = None) -> pa.Table:
    return tables.read_table(Storage(), str(path), name, columns)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_column_is_documented_and_survives_a_file(name: str, tmp_path: Path) -> None:
    assert all(field.metadata and field.metadata[b"doc"] for field in SCHEMAS[name])
    path = tmp_path / f"{name}.parquet"
    _write(tables.from_rows(name, []), path)
    assert _read(path, name).schema.equals(SCHEMAS[name])


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_file_carries_its_table_versions_and_configuration(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.parquet"
    _write(tables.from_rows(name, [], config_sha256="c0ffee"), path)
    metadata = {k: v for k, v in pq.read_schema(path).metadata.items() if k.startswith(b"deepfake.")}
    assert metadata == {
        b"deepfake.table": name.encode(),
        b"deepfake.schema_version": str(tables.SCHEMA_VERSION).encode(),
        b"deepfake.version": __version__.encode(),
        b"deepfake.config_sha256": b"c0ffee",
    }


def test_rows_come_back_as_they_were_and_absent_columns_are_null(tmp_path: Path) -> None:
    rows = [crop_row("a", label=1, landmarks=[1.0] * 10), crop_row("ü\n", 3)]
    _write(tables.from_rows("crops", rows), tmp_path / "t.parquet")
    found = _read(tmp_path / "t.parquet", "crops").to_pylist()
    assert [{k: v for k, v in row.items() if v is not None} for row in found] == rows


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (catalog_row("a", lable=1), "table catalog: no such column: lable"),
        (catalog_row("a", uri=None), "table catalog: column uri must not be null"),
        ({"uri": "b"}, "table catalog: column video_id must not be null"),
        (catalog_row("a", label="fake"), "table catalog: column label is int8: "),
        (catalog_row("a", label=300), "table catalog: column label is int8: "),
        (catalog_row(3), "table catalog: column video_id is string: "),  # type: ignore[arg-type]
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_table_and_column(row: dict[str, Any], message: str) -> None:
    with pytest.raises(TableError) as caught:
        tables.from_rows("catalog", [catalog_row("good"), row])
    assert str(caught.value).startswith(message)


def changed(table: pa.Table, change: str) -> pa.Table:
    place = table.schema.get_field_index("label")
    if change == "missing":
        return table.remove_column(place)
    if change == "type":
        return table.set_column(place, "label", table["label"].cast(pa.int64()))
    metadata = {**table.schema.metadata, b"deepfake.schema_version": b"999"}
    return table.replace_schema_metadata(metadata)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "t.parquet: column 'label' is missing; is it a catalog table?"),
        ("type", "t.parquet: column 'label' is int64, expected int8"),
        ("version", f"t.parquet: schema 999, this version reads {tables.SCHEMA_VERSION}"),
    ],
)
def test_a_file_of_another_shape_is_refused_by_file_and_column(
    tmp_path: Path, change: str, message: str
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(changed(tables.from_rows("catalog", [catalog_row("a", label=1)]), change), path)
    with pytest.raises(TableError) as caught:
        _read(path, "catalog")
    assert message in str(caught.value)


def test_what_an_earlier_version_wrote_is_read_and_its_later_columns_are_null(tmp_path: Path) -> None:
    rows = tables.from_rows("video_scores", [score_row("a", 0.9), score_row("b", 0.1)])
    later = frozenset().union(*tables.ADDED.values())
    earlier = rows.select([name for name in rows.column_names if name not in later])
    metadata = {**rows.schema.metadata, b"deepfake.schema_version": b"5"}
    path = tmp_path / "t.parquet"
    _write(earlier.replace_schema_metadata(metadata), path)
    assert _read(path, "video_scores").equals(rows)
    asked = ["video_id", "log10_lr"]
    assert _read(path, "video_scores", asked).column_names == asked
    (found,) = tables.read_rows_of_videos(Storage(), str(path), "video_scores", pa.array(["b"]))
    assert found.equals(rows.slice(1))
    _write(earlier, path)  # as of this version
    with pytest.raises(TableError, match=r"column 'log10_lr' is missing"):
        _read(path, "video_scores")


def test_a_file_of_another_table_is_refused(tmp_path: Path) -> None:
    _write(tables.from_rows("videos", [video_row("a")]), tmp_path / "t.parquet")
    with pytest.raises(TableError, match=r"t\.parquet: this is a videos table, expected crops"):
        _read(tmp_path / "t.parquet", "crops")


def test_a_table_that_other_software_wrote_is_read_if_its_columns_fit(tmp_path: Path) -> None:
    table = tables.from_rows("catalog", [catalog_row("a")]).replace_schema_metadata(None)
    extra = table.append_column("comment", pa.array(["x"]))
    pq.write_table(extra, tmp_path / "t.parquet")
    assert _read(tmp_path / "t.parquet", "catalog", ["video_id"]).to_pylist() == [{"video_id": "a"}]
    pq.write_table(table.drop_columns(["groups"]), tmp_path / "t.parquet")
    assert (
        _read(tmp_path / "t.parquet", "catalog")
        .drop_columns(["groups"])
        .equals(table.drop_columns(["groups"]))
    )


@pytest.mark.parametrize("content", [b"", b"not parquet at all", None])
def test_a_file_that_is_no_whole_parquet_file_is_refused_by_name(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "t.parquet"
    if content is None:  # cut off in the middle
        _write(tables.from_rows("crops", [crop_row("a")]), path)
        content = path.read_bytes()[:-100]
    path.write_bytes(content)
    with pytest.raises(TableError, match=r"t\.parquet: not a whole Parquet file"):
        _read(path, "crops")


def test_encoded_images_are_stored_as_they_are_and_all_else_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    _write(tables.from_rows("crops", [crop_row(f"v{i}", landmarks=[1.0] * 10) for i in range(9)]), path)
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    assert {c.compression for c in chunks if c.path_in_schema == "crop"} == {"UNCOMPRESSED"}
    assert {c.compression for c in chunks if c.path_in_schema != "crop"} == {"ZSTD"}


def test_a_file_opens_in_pandas_and_in_duckdb(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = [crop_row("a", 0, label=0), crop_row("b", 1, label=1), crop_row("b", 2, label=1)]
    _write(tables.from_rows("crops", rows), path)
    frame = pd.read_parquet(path)
    assert frame.groupby("video_id")["label"].agg(["count", "max"]).values.tolist() == [[1, 0], [2, 1]]
    assert frame["crop"][0] == rows[0]["crop"]
    found = duckdb.sql(
        f"select video_id, box.w, octet_length(crop) from '{path}' order by frame_index"
    ).fetchall()
    assert found == [(row["video_id"], 30.0, len(row["crop"])) for row in rows]


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    rows = [crop_row(f"v{i}", i, grey=int(g)) for i, g in enumerate(np.arange(0, 250, 50))]
    for name in ("one", "two"):
        _write(tables.from_rows("crops", rows), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
