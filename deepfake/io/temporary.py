"""Folders for what is soon thrown away; the next job removes those of a job that was killed."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "deepfake-temporary-"  # no folder of a user's has this name
STALE_SECONDS = 86400.0  # nothing is written to the cache for so long


@contextmanager
def make_temporary_folder() -> Iterator[Path]:
    """A folder that is there while the block runs. Its lock ends with this process, however that ends."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with suppress(OSError):  # some network file systems have no locks, and nothing is removed there
            fcntl.flock(held, fcntl.LOCK_EX)
        if path.exists():  # another job may have found it before it was locked
            break
        os.close(held)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def remove_leftovers(cache: Path) -> int:
    """Remove this user's temporary folders whose process is gone, and half files in the cache; how many."""
    found = 0
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}????????"):
        with suppress(OSError):
            held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(held).st_uid == os.getuid():
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(path)
                    found += 1
            finally:
                os.close(held)
    for path in cache.glob("**/.*.tmp"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
                found += 1
    return found
