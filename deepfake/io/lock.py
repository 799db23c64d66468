"""One job at a time for an output folder: a lock file with a heartbeat.

A job that has died leaves its lock but beats no more, so the next job takes it over; nobody has to remove
anything by hand. No clocks are compared: a waiting job only watches whether the heartbeat changes.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepfake.errors import JobError, UsageError
from deepfake.io.storage import Storage, join, split_uri

log = logging.getLogger(__name__)

FILE = "_lock.json"
BEAT_SECONDS = 5.0
SILENCE_SECONDS = 20.0  # a lock that does not beat for so long belongs to nobody


@dataclass
class Lock:
    """A lock that this process holds."""

    uri: str
    storage: Storage
    owner: str = field(default_factory=lambda: secrets.token_hex(8))
    beats: int = 0

    def check(self) -> None:
        """Raise ``JobError`` where another job has taken the output over."""
        found = _read(self.uri, self.storage)
        if found is None or found.get("owner") != self.owner:
            raise JobError(
                f"{self.uri}: another job has taken this output over, as if this one had died; what was "
                "finished is kept, and that job goes on from there"
            )

    def beat(self) -> None:
        """Write the lock again, with the next number."""
        self.check()
        self.beats += 1
        self.write()

    def write(self) -> None:
        """Write the lock file."""
        self.storage.write_text(self.uri, json.dumps(self._content()) + "\n")

    def create(self) -> None:
        """Write the lock file where there is none; raises ``UsageError`` where another job is faster."""
        scheme, path = split_uri(self.uri)
        if scheme == "file":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            try:
                with open(path, "x", encoding="utf-8") as file:
                    file.write(json.dumps(self._content()) + "\n")
            except FileExistsError:
                raise UsageError(_refusal(self.uri, _read(self.uri, self.storage) or {})) from None
            return
        self.write()
        found = _read(self.uri, self.storage)  # of two that write at once, one sees the other's
        if found is None or found.get("owner") != self.owner:
            raise UsageError(_refusal(self.uri, found or {}))

    def release(self) -> None:
        """Remove the lock, if it is still this process's."""
        found = _read(self.uri, self.storage)
        if found is not None and found.get("owner") == self.owner:
            self.storage.remove(self.uri)

    def _content(self) -> dict[str, Any]:
        return {"owner": self.owner, "host": _host(), "pid": os.getpid(), "beats": self.beats}


@contextmanager
def held(
    root: str,
    storage: Storage,
    beat_seconds: float = BEAT_SECONDS,
    silence_seconds: float = SILENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Lock]:
    """Hold the output ``root`` for this process while the block runs.

    Raises ``UsageError`` where another job is at work on it.
    """
    lock = Lock(join(root, FILE), storage)
    _outwait(lock.uri, storage, beat_seconds, silence_seconds, pause)
    lock.create()
    done = threading.Event()

    def keep_beating() -> None:
        while not done.wait(beat_seconds):
            try:
                lock.beat()
            except JobError as error:
                log.error("%s", error)
                return
            except (OSError, UsageError) as error:  # a storage that is away for a while
                log.warning("%s: no heartbeat: %s", lock.uri, error)

    beating = threading.Thread(target=keep_beating, name="lock", daemon=True)
    beating.start()
    try:
        yield lock
    finally:
        done.set()
        beating.join()
        lock.release()


def _outwait(
    uri: str, storage: Storage, beat_seconds: float, silence_seconds: float, pause: Callable[[float], None]
) -> None:
    """Return once nobody holds the lock; refuse where somebody does."""
    first = _read(uri, storage)
    if first is None:
        return
    waited = 0.0
    while not _surely_dead(first) and waited < silence_seconds:
        if waited == 0.0:
            log.info("%s: waiting to see whether the job that holds this output is alive", uri)
        pause(beat_seconds)
        waited += beat_seconds
        now = _read(uri, storage)
        if now is None:
            return
        if now != first:
            raise UsageError(_refusal(uri, now))
    log.warning("%s: left by a job that has died; taken over", uri)
    storage.remove(uri)


def _surely_dead(found: dict[str, Any]) -> bool:
    """Whether the holder ran on this very machine and is gone."""
    if found.get("host") != _host() or not isinstance(found.get("pid"), int):
        return False
    try:
        os.kill(found["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _host() -> str:
    """This machine and, in a container, this space of process numbers."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{socket.gethostname()} {space}".strip()


def _read(uri: str, storage: Storage) -> dict[str, Any] | None:
    try:
        found = json.loads(storage.read_text(uri))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}  # being written, or damaged: a beat will show
    return found if isinstance(found, dict) else {}


def _refusal(uri: str, found: dict[str, Any]) -> str:
    return (
        f"{uri.removesuffix('/' + FILE)}: another job is writing this output (process {found.get('pid')} on "
        f"{found.get('host')}); wait until it has finished, or give another --output"
    )
