"""Where an MP4 or QuickTime file keeps its media data, and a file for demuxers that leaves it unread."""

import io
import struct
from bisect import bisect_right
from collections.abc import Sequence
from typing import BinaryIO

from deepfake.io.ranged_file import Range

# Boxes that an MP4 or QuickTime file may begin with.
_FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
MAX_BOXES = 100_000  # of a hostile file; a fragmented one of ten hours has about 10,000
REMOTE_BOXES = 256  # of a remote file, each may cost a request; one cut up more finely is read whole

BLANK = b"\xff"  # no codec takes it for a start code, a length that fits, or a key frame


def find_media_ranges(file: BinaryIO, max_boxes: int = MAX_BOXES) -> list[Range] | None:
    """Where an MP4 or QuickTime file keeps its media data; None where it is none, or is cut up too finely.

    Reads the head of each of the outermost boxes and nothing else.
    """
    size = file.seek(0, io.SEEK_END)
    position = 0
    found: list[Range] = []
    for number in range(max_boxes):
        if size - position < 8:  # a hostile length leads further than a file can be long
            return found if number else None
        file.seek(position)
        head = file.read(16)
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


def subtract_ranges(ranges: Sequence[Range], holes: Sequence[Range]) -> list[Range]:
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
