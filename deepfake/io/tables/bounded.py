"""A Parquet file of which nothing is unpacked before its footer has said to how much.

A kilobyte may stand for gigabytes: compressed zeros, one long text said once and named in each row, rows of
nulls. The footer's sizes are believed; a page may still unpack to more than it says, 2 GiB at the most.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MOST_CHUNKS = 2**20  # columns times row groups
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}  # bytes


class TableError(ValueError):
    """A Parquet file is not the table that was asked for."""


class BoundedFile(pq.ParquetFile):
    """A Parquet file; ``TableError`` where what is asked of it unpacks to more than it may.

    That is its size and so many MiB.
    """

    def __init__(self, source: Any, where: str, megabytes: int) -> None:
        super().__init__(source)
        self._bytes = source
        self._where, self._megabytes = where, megabytes
        if self.metadata.num_row_groups * self.metadata.num_columns > MOST_CHUNKS:
            raise TableError(f"{where}: {self.metadata.num_row_groups} row groups, which is no table of ours")

    def read(self, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
        """As ``pq.ParquetFile.read``."""
        self.require_bounded(range(self.num_row_groups), columns)
        return super().read(columns=columns, **options)

    def read_row_group(self, i: int, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
        """As ``pq.ParquetFile.read_row_group``."""
        self.require_bounded([i], columns)
        return super().read_row_group(i, columns=columns, **options)

    def iter_batches(
        self, batch_size: int = 65536, row_groups: Sequence[int] | None = None,
        columns: Sequence[str] | None = None, **options: Any,
    ) -> Iterator[pa.RecordBatch]:  # fmt: skip
        """As ``pq.ParquetFile.iter_batches``."""
        self.require_bounded(range(self.num_row_groups) if row_groups is None else row_groups, columns)
        return super().iter_batches(batch_size, row_groups, columns, **options)

    def require_bounded(
        self, groups: Iterable[int], columns: Sequence[str] | None = None, repeated: bool = True
    ) -> None:
        """``repeated`` false: text that stands in a dictionary stays in it."""
        most = self._bytes.seek(0, io.SEEK_END) + self._megabytes * 2**20
        known, groups, texts = 0, list(groups), set()
        longest = 0  # if each text were the longest that its column has room for
        for group in map(self.metadata.row_group, groups):
            for number in range(group.num_columns):
                chunk = group.column(number)
                name = chunk.path_in_schema
                if columns is not None and name.partition(".")[0] not in columns:
                    continue
                size, values = chunk.total_uncompressed_size, max(group.num_rows, chunk.num_values)
                if min(size, group.num_rows, chunk.num_values) < 0:
                    raise TableError(f"{self._where}: not a whole Parquet file: {name} has {size} bytes")
                if chunk.physical_type != "BYTE_ARRAY":
                    width = _WIDTHS.get(chunk.physical_type) or self.schema.column(number).length
                    known += max(size, values * width)
                    continue
                known += size + 8 * values
                if repeated and any("DICTIONARY" in encoding for encoding in chunk.encodings):
                    longest += values * size
                    texts.add(name)
        if known <= most < known + longest:
            known += self._measure_texts(groups, sorted(texts))
        if known > most:
            raise TableError(
                f"{self._where}: unpacks to {known / 2**20:.0f} MiB, more than its size and "
                f"storage.max_table_mb {self._megabytes}; raise it if you trust its maker"
            )

    def _measure_texts(self, groups: Sequence[int], names: Sequence[str]) -> int:
        """Bytes of some columns in all their rows, without unpacking them to that."""
        total = 0
        with pq.ParquetFile(self._bytes, metadata=self.metadata, read_dictionary=names) as file:
            for group in groups:
                for name in names:
                    for part in file.read_row_group(group, columns=[name]).column(0).chunks:
                        if not pa.types.is_dictionary(part.type):  # nested
                            return self._megabytes * 2**20 + total
                        lengths = pc.binary_length(part.dictionary)
                        total += pc.sum(pc.take(lengths, part.indices).cast(pa.int64())).as_py() or 0
        return total
