"""A remote file of which only what is read is fetched; byte ranges.

Nothing here knows what the bytes mean.
"""

import io
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from deepfake.outcome import get_clock

BLOCK_BYTES = 256 * 2**10  # the least that is asked for
MAX_BLOCK_BYTES = 4 * 2**20  # what a sequential read grows to
WINDOW_BYTES = 16 * 2**20  # planned ranges held at a time
CACHE_BYTES = 64 * 2**20  # other blocks kept

Range = tuple[int, int]  # start, stop
Fetch = Callable[[Sequence[Range]], Sequence[bytes]]


class RangedFile(io.RawIOBase):
    """A remote file of which only what is read is fetched.

    ``plan`` tells which ranges will be read, in order: they are fetched a window at a time, in few requests
    at once. Whatever else is read is fetched in blocks, which grow while reading goes straight on.
    """

    def __init__(self, fetch: Fetch, size: int) -> None:
        super().__init__()
        self._fetch = fetch
        self.size = size
        self._position = 0
        self._plan: list[Range] = []
        self._starts: list[int] = []
        self._window: dict[int, bytes] = {}
        self._blocks: OrderedDict[int, bytes] = OrderedDict()  # by start; the least recently used first
        self._block_bytes = BLOCK_BYTES
        self._next_block = -1
        self.requests = 0
        self.bytes_fetched = 0

    def plan(self, ranges: Sequence[Range]) -> None:
        """Sorted ranges that will be read, those close to each other fetched as one."""
        whole = merge_ranges(ranges, gap=BLOCK_BYTES)
        pieces = [
            (start, min(start + MAX_BLOCK_BYTES, stop))
            for first, stop in whole
            for start in range(first, stop, MAX_BLOCK_BYTES)
        ]
        self._plan = [(start, min(stop, self.size)) for start, stop in pieces if start < self.size]
        self._starts = [start for start, _ in self._plan]
        self._window = {}

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As every file's ``seek``; fetches nothing."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the range or block at hand reaches; 0 at the end."""
        view = memoryview(buffer).cast("B")
        part = self._read_part(len(view)) if len(view) else b""
        view[: len(part)] = part
        return len(part)

    def read(self, size: int | None = -1) -> bytes:
        """``size`` bytes, fewer only at the end."""
        wanted = self.size - self._position if size is None or size < 0 else size
        parts: list[bytes] = []
        while wanted > 0 and (part := self._read_part(wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)

    def _read_part(self, most: int) -> bytes:
        """Up to ``most`` bytes, as far as the range or block at hand reaches; none at the end."""
        if self._position >= self.size:
            return b""
        start, data = self._holding(self._position)
        offset = self._position - start
        part = data[offset : offset + most]
        self._position += len(part)
        return part

    def _holding(self, position: int) -> tuple[int, bytes]:
        """``(start, bytes)`` of what holds the byte at ``position``, fetched if need be."""
        number = bisect_right(self._starts, position) - 1
        if number >= 0 and position < self._plan[number][1]:
            if number not in self._window:
                self._load(number)
            return self._starts[number], self._window[number]
        for start, data in reversed(self._blocks.items()):
            if start <= position < start + len(data):
                self._blocks.move_to_end(start)
                return start, data
        return self._load_block(position)

    def _load(self, number: int) -> None:
        """Fetch planned ranges from this one on, as many as a window holds; forget the others."""
        ranges: list[Range] = []
        total = 0
        for start, stop in self._plan[number:]:
            if ranges and total + stop - start > WINDOW_BYTES:
                break
            ranges.append((start, stop))
            total += stop - start
        self._window = dict(enumerate(self._get(ranges), number))

    def _load_block(self, position: int) -> tuple[int, bytes]:
        straight_on = position == self._next_block
        self._block_bytes = min(self._block_bytes * 2, MAX_BLOCK_BYTES) if straight_on else BLOCK_BYTES
        stop = min(position + self._block_bytes, self.size)
        [data] = self._get([(position, stop)])
        self._blocks[position] = data
        self._next_block = stop
        while sum(map(len, self._blocks.values())) > CACHE_BYTES:
            self._blocks.popitem(last=False)
        return position, data

    def _get(self, ranges: Sequence[Range]) -> Sequence[bytes]:
        with get_clock().on("read"):
            found = self._fetch(ranges)
        self.requests += len(ranges)
        for (start, stop), data in zip(ranges, found, strict=True):
            if len(data) != stop - start:
                raise OSError(f"{len(data)} bytes came for {stop - start} asked for; did the file change?")
            self.bytes_fetched += len(data)
            get_clock().count(bytes_read=len(data))
        return found


def merge_ranges(ranges: Sequence[tuple[int, int]], gap: int) -> list[tuple[int, int]]:
    """Sorted ranges, those no further apart than ``gap`` made one."""
    found: list[tuple[int, int]] = []
    for start, stop in ranges:
        if found and start <= found[-1][1] + gap:
            found[-1] = (found[-1][0], max(found[-1][1], stop))
        else:
            found.append((start, stop))
    return found
