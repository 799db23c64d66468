"""Tables in memory and in Parquet files: made of rows, written, read and checked against their schemas."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from deepfake import __version__
from deepfake.io.storage import Storage
from deepfake.io.tables import scores, training, videos
from deepfake.io.tables.bounded import BoundedFile, Rows, TableError
from deepfake.io.tables.columns import CREDENTIALS

SCHEMA_VERSION = 8
# Columns by the version that they came with. A file of an earlier one is read, and they are null.
ADDED: dict[int, frozenset[str]] = {
    6: frozenset({"log10_lr", "log10_lr_low", "log10_lr_high", "no_ratio", "groups"}),
    7: frozenset({"bundle_scores"}),
    8: frozenset(column.name for column in CREDENTIALS),
}
_READ_VERSIONS = [str(version) for version in (min(ADDED) - 1, *ADDED)]
LONGEST_NAME = 2**16  # bytes
_FORMULA = r"^('*[=+\-@\t\r\n])"
FEW_ROWS = 10_000  # one thread reads so many in half the time that several take to share them

_FREE_NUMBERS = {"packets", "history", "group_metrics"}  # tables whose numbers may be any

SCHEMAS: dict[str, pa.Schema] = {
    "catalog": videos.CATALOG,
    "crops": videos.CROPS,
    "videos": videos.VIDEOS,
    "face_scores": scores.FACE_SCORES,
    "track_scores": scores.TRACK_SCORES,
    "segments": scores.SEGMENTS,
    "evidence": scores.EVIDENCE,
    "video_scores": scores.VIDEO_SCORES,
    "changes": scores.CHANGES,
    "group_metrics": training.GROUP_METRICS,
    "history": training.HISTORY,
    "validation_scores": training.VALIDATION_SCORES,
    "overlaps": training.OVERLAPS,
    "hashes": videos.HASHES,
    "packets": videos.PACKETS,
    "pieces": videos.PIECES,
    "pictures": videos.PICTURES,
    "watched": videos.WATCHED,
}


def list_columns(name: str) -> list[str]:
    """Column names of a table, in order."""
    return list(SCHEMAS[name].names)


def make_schema(name: str, config_sha256: str | None = None) -> pa.Schema:
    """Schema of table ``name`` with the metadata that its files carry."""
    metadata = {
        "deepfake.table": name,
        "deepfake.schema_version": str(SCHEMA_VERSION),
        "deepfake.version": __version__,
    }
    if config_sha256 is not None:
        metadata["deepfake.config_sha256"] = config_sha256
    return SCHEMAS[name].with_metadata(metadata)


def stamp(name: str, table: pa.Table, config_sha256: str) -> pa.Table:
    """A table ``name`` as made under this configuration."""
    return table.replace_schema_metadata(make_schema(name, config_sha256).metadata)


def from_rows(name: str, rows: Iterable[Mapping[str, Any]], config_sha256: str | None = None) -> pa.Table:
    """Rows as a table; an absent nullable column is null.

    Raises ``TableError`` for a key that is no column, a value of another type, a null that may not be.
    """
    wanted = make_schema(name, config_sha256)
    rows = list(rows)
    known = set(wanted.names)
    for row in rows:
        if unknown := set(row) - known:
            raise TableError(f"table {name}: no such column: {', '.join(sorted(unknown))}")
    try:
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=wanted)
    except pa.ArrowMemoryError:  # no fault of the rows
        raise
    except pa.ArrowException:
        for field in wanted:
            _check_values(name, field, rows)
        raise
    _check_nulls(name, table)
    return table


def check_table(name: str, table: pa.Table) -> pa.Table:
    """A table ``name`` that another process made: the same, once it is certain that it is one.

    Its memory is looked through as well, for offsets that point elsewhere could crash whoever reads it.
    Raises ``TableError`` where anything is not as it must be.
    """
    if not table.schema.equals(SCHEMAS[name]):
        raise TableError(f"table {name}: the columns are others")
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise TableError(f"table {name}: {error}") from None
    _check_nulls(name, table)
    return table


def _check_nulls(name: str, table: pa.Table) -> None:
    for field in SCHEMAS[name]:
        if not field.nullable and table[field.name].null_count:
            raise TableError(f"table {name}: column {field.name} must not be null")


def _check_values(name: str, field: pa.Field, rows: Sequence[Mapping[str, Any]]) -> None:
    try:
        pa.array([row.get(field.name) for row in rows], field.type)
    except pa.ArrowException as error:
        raise TableError(f"table {name}: column {field.name} is {field.type}: {error}") from None


def to_ipc(table: pa.Table) -> pa.Buffer:
    """A table as an Arrow stream, to hand it to another process."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def from_ipc(data: bytes | bytearray) -> pa.Table:
    """The table of an Arrow stream; its columns lie in ``data``. Unchecked: see ``check_table``."""
    with pa.ipc.open_stream(data) as stream:
        return stream.read_all()


def check_file(path: str, file_schema: pa.Schema, name: str) -> None:
    """Raise ``TableError`` unless a Parquet file's schema is that of table ``name``."""
    metadata = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (file_schema.metadata or {}).items()
        if key.startswith(b"deepfake.")
    }
    found = metadata.get("deepfake.table")
    if found is not None and found != name:
        raise TableError(f"{path}: this is a {found} table, expected {name}")
    version = metadata.get("deepfake.schema_version")
    if version is not None and version not in _READ_VERSIONS:
        raise TableError(
            f"{path}: schema {version}, this version reads {SCHEMA_VERSION}; write it again with this version"
        )
    later = _list_later(version)
    for field in SCHEMAS[name]:
        index = file_schema.get_field_index(field.name)
        if index < 0 and field.name in later:
            continue
        if index < 0:
            raise TableError(f"{path}: column {field.name!r} is missing; is it a {name} table?")
        kind = file_schema.field(index).type
        if kind != field.type:
            raise TableError(f"{path}: column {field.name!r} is {kind}, expected {field.type}")


def _list_later(version: str | None) -> frozenset[str]:
    """Columns that a file need not have: those that came after it was written, or that others cannot know."""
    return frozenset().union(
        *(names for since, names in ADDED.items() if version is None or since > int(version))
    )


def add_later_columns(name: str, table: pa.Table, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of a file of table ``name`` with columns, all or some, that it is too old to have: null."""
    wanted = [column for column in SCHEMAS[name].names if columns is None or column in columns]
    if all(column in table.column_names for column in wanted):
        return table
    for column in wanted:
        if column not in table.column_names:
            table = table.append_column(
                SCHEMAS[name].field(column), pa.nulls(len(table), SCHEMAS[name].field(column).type)
            )
    metadata = {**(table.schema.metadata or {}), b"deepfake.schema_version": str(SCHEMA_VERSION)}
    return table.select(columns or wanted).replace_schema_metadata(metadata)


def open_writer(sink: Any, table_schema: pa.Schema) -> pq.ParquetWriter:
    """A Parquet writer for one of the tables. Encoded images are not compressed again."""
    compression: Any = "zstd"
    if "crop" in table_schema.names:
        compression = {name: "none" if name == "crop" else "zstd" for name in _list_leaves(table_schema)}
    dictionary = [field.name for field in table_schema if pa.types.is_string(field.type)]
    return pq.ParquetWriter(sink, table_schema, compression=compression, use_dictionary=dictionary)


def _list_leaves(arrow_schema: pa.Schema) -> list[str]:
    names: list[str] = []
    for field in arrow_schema:
        if pa.types.is_struct(field.type):
            names += [f"{field.name}.{child.name}" for child in field.type]
        elif pa.types.is_list(field.type):
            names.append(f"{field.name}.list.element")
        else:
            names.append(field.name)
    return names


def read_table(storage: Storage, uri: str, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """One Parquet file of table ``name``; raises ``TableError`` where it is something else."""
    with open_table(storage, uri, name) as file:
        threads = file.metadata.num_rows > FEW_ROWS
        table = file.read(columns=list(columns) if columns is not None else None, use_threads=threads)
    return add_later_columns(name, table, columns)


def check_rows(path: str, table_name: str, table: Rows) -> Rows:
    """The same rows of a table; ``TableError`` where they hold what it cannot.

    That is text that is none, a name longer than any, a label that is no label, nothing where something must
    be, and a count, index, time or score of a face or video that is negative or no number.
    """
    for name, column in zip(table.column_names, table.columns, strict=True):
        text = pa.types.is_string(column.type)
        if text or pa.types.is_dictionary(column.type):
            try:
                column.validate(full=True)
            except pa.ArrowException:
                raise TableError(f"{path}: column {name!r} holds bytes that are no UTF-8") from None
            named = text and name in ("video_id", "uri")
            if named and (pc.max(pc.binary_length(column)).as_py() or 0) > LONGEST_NAME:
                raise TableError(f"{path}: column {name!r} holds a name of more than {LONGEST_NAME} bytes")
        if name == "label" and (other := set(pc.unique(column).to_pylist()) - {0, 1, None}):
            raise TableError(f"{path}: label {min(other)}, expected 0 (real), 1 (fake) or null")
        if name in SCHEMAS[table_name].names:
            _require_values(path, table_name, name, column)
    return table


def _require_values(path: str, table_name: str, name: str, column: pa.Array | pa.ChunkedArray) -> None:
    if SCHEMAS[table_name].field(name).nullable:
        return
    if column.null_count:
        raise TableError(f"{path}: column {name!r} has rows of nothing")
    number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    if number and table_name not in _FREE_NUMBERS:
        low, high = pc.min_max(column).as_py().values()
        nan = pa.types.is_floating(column.type) and pc.any(pc.is_nan(column)).as_py()
        if low is not None and (nan or low < 0 or high == math.inf):
            found = "what is no number" if nan else low if low < 0 else high
            raise TableError(f"{path}: column {name!r} holds {found}, expected a number from 0 on")


def write_table(storage: Storage, uri: str, table: pa.Table, row_group_rows: int = 65536) -> None:
    """Write one Parquet file whole or not at all."""
    with storage.writing(uri) as path, open_writer(path, table.schema) as file:
        file.write_table(table, row_group_size=row_group_rows)


def write_csv(storage: Storage, uri: str, table: pa.Table) -> None:
    """Write a table for spreadsheets, whole or not at all."""
    with storage.writing(uri) as path:
        pyarrow.csv.write_csv(quote_formulas(table), path)


def quote_formulas(table: pa.Table) -> pa.Table:
    """The table with ``'`` before each text that a spreadsheet would run as a formula (docs/formats.md)."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            quoted = pc.replace_substring_regex(table[field.name], _FORMULA, r"'\1")
            table = table.set_column(place, field, quoted)
    return table


def unquote_formulas(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Texts as they were before ``quote_formulas``, or its like on a page."""
    return pc.replace_substring_regex(column, r"^'('*[=+\-@\t\r\n])", r"\1")


def read_encoded(storage: Storage, uri: str, name: str) -> pa.Table:
    """One Parquet file of table ``name`` with its strings as dictionaries, for tables whose values repeat.

    Half the memory of ``read_table`` for a table of scores; ``decode_strings`` makes its rows what they were.
    Raises ``TableError`` as ``read_table`` does.
    """
    strings = [field.name for field in SCHEMAS[name] if pa.types.is_string(field.type)]
    with (
        storage.open(uri) as source,
        open_parquet(source, name, uri, storage) as file,
        pq.ParquetFile(source, metadata=file.metadata, read_dictionary=strings) as encoded,
    ):
        file.require_bounded(range(file.num_row_groups), repeated=False)
        return add_later_columns(name, check_rows(uri, name, encoded.read()))


def decode_strings(name: str, rows: pa.Table) -> pa.Table:
    """Rows of some columns of a table ``name`` from ``read_encoded``, with the types of its schema."""
    fields = [SCHEMAS[name].field(column) for column in rows.column_names]
    return rows.cast(pa.schema(fields, rows.schema.metadata))


def read_rows_of_videos(
    storage: Storage, uri: str, name: str, video_ids: pa.Array, columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """The rows of some videos in one Parquet file of table ``name``, in its order, some at a time.

    Row groups without any of them are read no further than their column ``video_id``; of the others one at a
    time is in memory. Raises ``TableError`` as ``read_table`` does.
    """
    wanted = list(columns) if columns is not None else None
    with open_table(storage, uri, name) as file:
        for number in range(file.num_row_groups):
            names = file.read_row_group(number, columns=["video_id"])["video_id"]
            theirs = pc.is_in(names, video_ids)
            if pc.any(theirs).as_py():
                rows = file.read_row_group(number, columns=wanted).filter(theirs)
                yield add_later_columns(name, rows, wanted)


@contextmanager
def open_table(storage: Storage, uri: str, name: str | None) -> Iterator[BoundedFile]:
    """A Parquet file of table ``name``, or of any; raises ``TableError`` where it is something else."""
    with storage.open(uri) as source, open_parquet(source, name, uri, storage) as file:
        yield file


@contextmanager
def open_parquet(source: Any, name: str | None, where: str, storage: Storage) -> Iterator[BoundedFile]:
    """A Parquet file that is open, as table ``name`` if that is said; ``TableError`` where it is none."""
    try:
        check = partial(check_rows, where, name) if name is not None else lambda rows: rows
        with BoundedFile(source, where, storage.config.max_table_mb, check) as file:
            if name is not None:
                check_file(where, file.schema_arrow, name)
            yield file
    except (pa.ArrowException, UnicodeDecodeError) as error:  # the latter of a column's name
        raise TableError(f"{where}: not a whole Parquet file: {_read_first_line(error)}") from None
    except OSError as error:
        if (
            type(error) is not OSError or error.errno is not None
        ):  # Arrow's own, of damaged pages, has no number
            raise
        raise TableError(f"{where}: not a whole Parquet file: {_read_first_line(error)}") from None


def _read_first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
