"""A Parquet file of which nothing is unpacked before its footer and its pages have said to how much.

A kilobyte may stand for gigabytes: compressed zeros, one long text said once and named in each row, rows of
nulls. What a footer says is held against its pages, one by one.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from deepfake.io.tables import pages

MOST_CHUNKS = 2**20  # columns times row groups
MOST_PACKED = {"UNCOMPRESSED": 1, "SNAPPY": 64, "LZ4": 256, "GZIP": 1032, "ZSTD": 2**15}  # bytes in one
BATCH_BYTES = 2**26  # of a text that is measured by unpacking it
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 8}  # bytes

Rows: TypeAlias = pa.Table | pa.RecordBatch


class TableError(ValueError):
    """A Parquet file is not the table that was asked for."""


class BoundedFile(pq.ParquetFile):
    """A Parquet file; ``TableError`` where what is asked of it unpacks to more than it may.

    That is its size and so many MiB. ``check`` raises where rows that were read are not as they must be.
    """

    def __init__(self, source: Any, where: str, megabytes: int, check: Callable[[Rows], Rows]) -> None:
        super().__init__(source)
        self._bytes = source
        self._where, self._megabytes, self._check = where, megabytes, check
        if self.metadata.num_row_groups * self.metadata.num_columns > MOST_CHUNKS:
            raise TableError(f"{where}: {self.metadata.num_row_groups} row groups, which is no table of ours")

    def read(self, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
        """As ``pq.ParquetFile.read``."""
        self.require_bounded(range(self.num_row_groups), columns)
        return self._check(super().read(columns=columns, **options))

    def read_row_group(self, i: int, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
        """As ``pq.ParquetFile.read_row_group``."""
        self.require_bounded([i], columns)
        return self._check(super().read_row_group(i, columns=columns, **options))

    def iter_batches(
        self, batch_size: int = 65536, row_groups: Sequence[int] | None = None,
        columns: Sequence[str] | None = None, **options: Any,
    ) -> Iterator[pa.RecordBatch]:  # fmt: skip
        """As ``pq.ParquetFile.iter_batches``."""
        self.require_bounded(range(self.num_row_groups) if row_groups is None else row_groups, columns)
        return map(self._check, super().iter_batches(batch_size, row_groups, columns, **options))

    def require_bounded(
        self, groups: Iterable[int], columns: Sequence[str] | None = None, repeated: bool = True
    ) -> None:
        """``repeated`` false: text that stands in a dictionary stays in it."""
        most = self._bytes.seek(0, io.SEEK_END) + self._megabytes * 2**20
        known, groups = 0, list(groups)
        share = most // max(1, len(groups) * self.metadata.num_columns)
        longest = 0  # if each text were the longest that its column has room for
        texts: dict[str, int] = {}  # the columns of such text: bytes of those whose values build on the last
        for group in map(self.metadata.row_group, groups):
            for number in range(group.num_columns):
                chunk = group.column(number)
                name = chunk.path_in_schema
                if columns is not None and name.partition(".")[0] not in columns:
                    continue
                sizes = [chunk.total_uncompressed_size, chunk.total_compressed_size, chunk.num_values]
                if min(*sizes, group.num_rows) < 0:
                    raise TableError(f"{self._where}: not a whole Parquet file: {name} has {sizes[0]} bytes")
                flat = not self.schema.column(number).max_repetition_level
                found = self._measure_pages(chunk, group.num_rows, share if flat else 0)
                size = max(chunk.total_uncompressed_size, found.size)
                values = max(group.num_rows, chunk.num_values, found.values)
                if chunk.physical_type != "BYTE_ARRAY":
                    width = _WIDTHS.get(chunk.physical_type) or self.schema.column(number).length
                    known += max(size, values * width)
                    continue
                known += size + 8 * values
                delta = pages.DELTA in found.encodings
                if delta or (repeated and found.encodings & pages.DICTIONARY):
                    longest += values * size
                    texts[name] = max(texts.get(name, 0), size * delta)
        if known <= most < known + longest:
            known += self._measure_texts(groups, texts, most)
        if known > most:
            raise TableError(
                f"{self._where}: unpacks to {known / 2**20:.0f} MiB, more than its size and "
                f"storage.max_table_mb {self._megabytes}; raise it if you trust its maker"
            )

    def _measure_pages(self, chunk: pq.ColumnChunkMetaData, rows: int, share: int) -> pages.Pages:
        """What a chunk's pages say; nothing where its bytes can unpack to less than a share in any case."""
        packed = chunk.total_compressed_size
        repeats = rows if chunk.physical_type == "BYTE_ARRAY" else 1
        if packed * MOST_PACKED.get(chunk.compression, share) * repeats < share:
            return pages.Pages()
        start = min(filter(None, (chunk.dictionary_page_offset, chunk.data_page_offset)), default=0)
        try:
            return pages.measure_pages(self._bytes, start, packed)
        except ValueError as error:
            raise TableError(
                f"{self._where}: not a whole Parquet file: {chunk.path_in_schema}: {error}"
            ) from None

    def _measure_texts(self, groups: Sequence[int], texts: Mapping[str, int], most: int) -> int:
        """Bytes of some columns in all their rows, without unpacking them to that; ``most`` may be least."""
        total = 0
        for name, size in texts.items():
            if "." in name:  # nested
                return most
            if size:
                rows = max(1, BATCH_BYTES // size)
                for batch in super().iter_batches(rows, groups, [name], use_threads=False):
                    total += batch.nbytes
                    if total > most:
                        return total
        names = [name for name, size in texts.items() if not size]
        with pq.ParquetFile(self._bytes, metadata=self.metadata, read_dictionary=names) as file:
            for group in groups:
                for name in names:
                    for part in file.read_row_group(group, columns=[name]).column(0).chunks:
                        lengths = pc.binary_length(part.dictionary)
                        total += pc.sum(pc.take(lengths, part.indices).cast(pa.int64())).as_py() or 0
        return total
