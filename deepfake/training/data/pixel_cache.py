"""Decoded crops on a node's disk: an epoch after the first need neither read nor unpack them again.

Most of what a crop costs before it is augmented is unpacking its PNG. Slots of one size lie in one sparse
file, which all processes of a training on a node share. Files of another run, or of a node that went down,
are never looked at: their folder has another name. A picture is written before its size, which makes it
count.

Not mapped into memory: where a disk is full, a process that writes to a map is killed instead of told.
"""

import errno
import logging
import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.io.cache import find_cache_folder
from deepfake.io.temporary import share_temporary_folder

log = logging.getLogger(__name__)

_HEADER = 4  # bytes of a slot before its pixels: the side of the picture, 0 where there is none
_FREE_SHARE = 0.5  # of the disk's free bytes, at most
_full: set[str] = set()  # paths that this process has found no files, or on disks that are full


class PixelCache:
    """Pictures ``(s, s, 3) uint8 RGB`` by the numbers of their rows: of the first that there is room for."""

    def __init__(self, folder: Path, name: str, rows: int, side: int, limit: int) -> None:
        """``side``: pixels, no picture has more; ``limit``: bytes. Files lie in ``folder`` under ``name``."""
        self.slot = _HEADER + 3 * side * side
        self.rows = max(0, min(rows, limit // self.slot))
        # of this node alone: a folder for caches may be shared by several
        self._path, self._side = str(folder / f"{name}-{socket.gethostname()}"), side

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_file"}

    @cached_property
    def _file(self) -> FileIO | None:
        """Open for reading and writing as long as this object is there; None where it is no file."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            file = FileIO(os.open(self._path, flags, 0o600), "r+")
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
        except OSError as error:
            self._give_up(error)
            return None
        return file

    def read(self, row: int) -> np.ndarray | None:
        """The picture of a row, or None where it is not kept."""
        if row >= self.rows or self._file is None:
            return None
        slot = np.empty(self.slot, np.uint8)
        there = 0
        with suppress(OSError):
            there = os.preadv(self._file.fileno(), [slot.data], row * self.slot)
        side = int(slot[:_HEADER].view(np.uint32)[0]) if there > _HEADER else 0
        stop = _HEADER + 3 * side * side
        return slot[_HEADER:stop].reshape(side, side, 3) if side and stop <= there else None

    def has(self, row: int) -> bool:
        """Whether ``read`` gives a picture of a row."""
        if row >= self.rows or self._file is None:
            return False
        file, start = self._file.fileno(), row * self.slot
        side = int.from_bytes(os.pread(file, _HEADER, start), sys.byteorder)
        return 0 < side <= self._side and start + _HEADER + 3 * side * side <= os.fstat(file).st_size

    def write(self, row: int, picture: np.ndarray) -> None:
        """Keep the picture of a row; a full disk ends keeping, with a warning."""
        if row >= self.rows or len(picture) > self._side or self._path in _full or self._file is None:
            return
        file, start = self._file.fileno(), row * self.slot
        try:
            pixels = np.ascontiguousarray(picture).data.cast("B")
            if os.pwrite(file, pixels, start + _HEADER) == len(pixels):
                os.pwrite(file, np.uint32(len(picture)).tobytes(), start)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if self._path not in _full:
            log.warning("decoded crops are not kept any more: %s: %s", self._path, error.strerror)
        _full.add(self._path)


@contextmanager
def keep_pixels(cache_gb: float, name: str) -> Iterator[Path | None]:
    """A folder for the decoded crops of the run of that name within the block; None where none are kept."""
    with ExitStack() as stack:
        folder = None
        if cache_gb:
            try:
                folder = stack.enter_context(share_temporary_folder(find_cache_folder(), name))
            except OSError as error:
                log.warning("decoded crops are not kept: %s", error)
        yield folder


def plan_caches(folder: Path, cache_gb: float, sides: Mapping[str, tuple[int, int]]) -> dict[str, PixelCache]:
    """Caches by name, of so many rows and such a side; the first of them takes its room first.

    That is ``training.cache_gb`` and no more than half of what the disk has free.
    """
    limit = int(min(cache_gb * 1e9, _FREE_SHARE * shutil.disk_usage(folder).free))
    found = {}
    for name, (rows, side) in sides.items():
        found[name] = cache = PixelCache(folder, name, rows, side, limit)
        limit -= cache.rows * cache.slot
    words = ", ".join(f"{cache.rows} of {sides[name][0]} of {name}" for name, cache in found.items())
    size = sum(cache.rows * cache.slot for cache in found.values())
    log.info("decoded crops are kept in %s until the end: %s, %.1f GB", folder, words, size / 1e9)
    return found
