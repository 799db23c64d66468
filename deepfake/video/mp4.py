"""Files of which only a part is read: a container's index without its media data, an object by ranges.

Knows nothing of video but where an MP4 file keeps its media data.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from deepfake.video.packets import joined

# Boxes that an MP4 or QuickTime file may begin with.
_FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
MAX_BOXES = 100_000  # of a hostile file; a fragmented one of ten hours has about 10,000
REMOTE_BOXES = 256  # of a remote file, each may cost a request; one cut up more finely is read whole

BLANK = b"\xff"  # no codec takes it for a start code, a length that fits, or a key frame

BLOCK_BYTES = 256 * 2**10  # the least that is asked for
MAX_BLOCK_BYTES = 4 * 2**20  # what a sequential read grows to
WINDOW_BYTES = 16 * 2**20  # planned ranges held at a time
CACHE_BYTES = 64 * 2**20  # other blocks kept

Range = tuple[int, int]  # start, stop
Fetch = Callable[[Sequence[Range]], Sequence[bytes]]


def media_ranges(file: BinaryIO, max_boxes: int = MAX_BOXES) -> list[Range] | None:
    """Where an MP4 or QuickTime file keeps its media data; None where it is none, or is cut up too finely.

    Reads the head of each of the outermost boxes and nothing else.
    """
    size = file.seek(0, io.SEEK_END)
    position = 0
    found: list[Range] = []
    for number in range(max_boxes):
        file.seek(position)
        head = file.read(16)
        if len(head) < 8:
            return found if number else None
        length, kind = struct.unpack(">I4s", head[:8])
        if number == 0 and kind not in _FIRST_BOXES:
            return None
        body = position + 8
        if length == 1 and len(head) == 16:
            (length,) = struct.unpack(">Q", head[8:])
            body += 8
        stop = size if length == 0 else position + length
        if stop < body:
            return found  # FFmpeg stops here too
        if kind == b"mdat":
            found.append((body, min(stop, size)))
        position = stop
    return None


def without(ranges: Sequence[Range], holes: Sequence[Range]) -> list[Range]:
    """Sorted ranges less other sorted ranges."""
    found: list[Range] = []
    for start, stop in ranges:
        for first, last in holes[max(0, bisect_right(holes, (start,)) - 1) :]:
            if first >= stop:
                break
            if last <= start:
                continue
            if first > start:
                found.append((start, first))
            start = max(start, last)
        if start < stop:
            found.append((start, stop))
    return found


class MediaFile:
    """A file for a demuxer. ``hide`` blanks its media data, which then is not read at all."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._position = 0
        self._hidden: list[Range] = []
        self._starts: list[int] = []

    def hide(self, ranges: Sequence[Range]) -> None:
        """From now on, have these sorted ranges read as blanks."""
        self._hidden = list(ranges)
        self._starts = [start for start, _ in ranges]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As every file's ``seek``; only the end is looked up."""
        if whence == io.SEEK_END:
            self._position = self.file.seek(offset, whence)
        else:
            self._position = offset + (self._position if whence == io.SEEK_CUR else 0)
        return self._position

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to ``size`` bytes, all blank or all real."""
        stop = None
        if self._hidden:
            number = bisect_right(self._starts, self._position) - 1
            if number >= 0 and self._position < self._hidden[number][1] and size >= 0:
                length = min(size, self._hidden[number][1] - self._position)
                self._position += length
                return BLANK * length
            if number + 1 < len(self._starts):
                stop = self._starts[number + 1]
        if stop is not None and (size < 0 or self._position + size > stop):
            size = stop - self._position
        self.file.seek(self._position)
        data = self.file.read(size)
        self._position += len(data)
        return data


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
        whole = joined(ranges, gap=BLOCK_BYTES)
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
        if self._position >= self.size or not len(view):
            return 0
        start, data = self._holding(self._position)
        offset = self._position - start
        part = data[offset : offset + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def read(self, size: int | None = -1) -> bytes:
        """``size`` bytes, fewer only at the end."""
        wanted = self.size - self._position if size is None or size < 0 else size
        parts: list[bytes] = []
        while wanted > 0 and self._position < self.size:
            start, data = self._holding(self._position)
            offset = self._position - start
            part = data[offset : offset + wanted]
            parts.append(part)
            self._position += len(part)
            wanted -= len(part)
        return b"".join(parts)

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
        found = self._fetch(ranges)
        self.requests += len(ranges)
        for (start, stop), data in zip(ranges, found, strict=True):
            if len(data) != stop - start:
                raise OSError(f"{len(data)} bytes came for {stop - start} asked for; did the file change?")
            self.bytes_fetched += len(data)
        return found
