"""Where this machine keeps what was downloaded or made once, and how a file gets there."""

import hashlib
import os
import queue
import stat
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from deepfake.errors import UsageError
from deepfake.io.storage import Storage

FETCH_SECONDS = 10.0  # one short try; a name that is not resolved may take longer by itself
RETRY_SECONDS = 3600.0
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class FetchError(Exception):
    """A file that could not be had; says why."""


def find_cache_folder() -> Path:
    """DEEPFAKE_CACHE, else ``deepfake`` in the user's cache folder."""
    if base := os.environ.get("DEEPFAKE_CACHE"):
        return Path(base)
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "deepfake"


def is_private(path: Path) -> bool:
    """Whether it is this user's file or folder, no link, and nobody else may write to it."""
    status = path.lstat()
    return status.st_uid == os.getuid() and not status.st_mode & _OTHERS_WRITE and not path.is_symlink()


def make_private(path: Path) -> None:
    """Let nobody else write to a file or folder of this user's."""
    path.chmod(path.stat().st_mode & ~_OTHERS_WRITE)


def fetch_file(name: str, sha256: str, size: int, addresses: Sequence[str], insist: bool = False) -> Path:
    """Fetch a file into the cache, once for all processes, from the first address that has these very bytes.

    All addresses are asked at once, for ``FETCH_SECONDS``. A failed try is not repeated within
    ``RETRY_SECONDS`` unless ``insist``. Raises ``FetchError``.
    """
    if not addresses:
        raise FetchError("fetching is switched off")
    target = find_cache_folder() / name
    failed = target.with_name(f"{name}.failed")  # what was met, and by which addresses
    if not insist and (earlier := _read_failure(failed, addresses)):
        raise FetchError(earlier)
    storage = Storage()
    try:
        content = _ask_all(sha256, size, addresses)
    except FetchError as error:
        with suppress(OSError, UsageError):  # else the next job tries again
            storage.write_text(str(failed), "\n".join([str(error), *addresses]))
        raise
    try:
        storage.write_bytes(str(target), content)
        failed.unlink(missing_ok=True)
    except (OSError, UsageError) as error:
        raise FetchError(
            f"{target} cannot be written ({error}); DEEPFAKE_CACHE names another folder"
        ) from None
    return target


def _read_failure(failed: Path, addresses: Sequence[str]) -> str | None:
    """What an earlier try met, where it is too early for another."""
    try:
        age = time.time() - failed.stat().st_mtime
        met, *asked = failed.read_text().splitlines()
    except (OSError, ValueError):
        return None
    return (
        f"{met}, {age / 60:.0f} minutes ago" if asked == [*addresses] and 0 <= age < RETRY_SECONDS else None
    )


def _ask_all(sha256: str, size: int, addresses: Sequence[str]) -> bytes:
    answers: queue.Queue[bytes | str] = queue.Queue()
    give_up = time.monotonic() + FETCH_SECONDS
    for address in addresses:  # threads that end with the process: a name may be looked up for minutes
        threading.Thread(target=lambda a=address: answers.put(_ask(a, sha256, size)), daemon=True).start()
    met: list[str] = []
    while len(met) < len(addresses):
        try:
            answer = answers.get(timeout=max(0.0, give_up - time.monotonic()))
        except queue.Empty:
            met.append(f"no answer within {FETCH_SECONDS:.0f} s")
            break
        if isinstance(answer, bytes):
            return answer
        met.append(answer)
    raise FetchError("; ".join(met))


def _ask(address: str, sha256: str, size: int) -> bytes | str:
    """The file, or why not."""
    import http.client  # here, since they take their time and few jobs need them
    import urllib.request

    host = address.split("/")[2] if "://" in address else address
    try:
        with urllib.request.urlopen(address, timeout=FETCH_SECONDS) as response:
            content: bytes = response.read(size + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:  # urllib's own are of OSError
        return f"{host}: {error}"
    if hashlib.sha256(content).hexdigest() != sha256:
        return f"{host}: it sent another file"
    return content
