"""Folders for what is soon thrown away; the next job removes those of a job that was killed."""

import errno
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deepfake.errors import JobError

_PREFIX = "deepfake-temporary-"  # no folder of a user's has this name
STALE_SECONDS = 86400.0  # nothing is written to the cache for so long


@contextmanager
def make_temporary_folder() -> Iterator[Path]:
    """A folder that is there while the block runs. Its lock ends with this process, however that ends.

    A full disk in the block is a ``JobError`` that names the disk of temporary files.
    """
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
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise JobError(
            f"{path.parent}: no space is left there for temporary files; free some, or let TMPDIR name "
            "another folder, and run the same command again to go on"
        ) from error
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def is_disk_full(error: BaseException) -> bool:
    """Whether something was not written for want of space."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def share_temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """One folder for all processes of a machine that give its name, of eight letters; the last removes it."""
    path = parent / f"{_PREFIX}{name}"
    while True:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        if os.fstat(held).st_uid != os.getuid():
            os.close(held)
            raise PermissionError(errno.EPERM, "is another user's", str(path))
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_SH)
        if path.exists() and os.path.samestat(os.fstat(held), path.stat()):
            break
        os.close(held)  # the last of others has just removed it
    try:
        yield path
    finally:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
        os.close(held)


def remove_leftovers(cache: Path) -> int:
    """Remove this user's temporary folders whose process is gone, and half files in the cache; how many."""
    found = 0
    pattern = f"{_PREFIX}????????"
    for path in (*Path(tempfile.gettempdir()).glob(pattern), *cache.glob(pattern)):
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
