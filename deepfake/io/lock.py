"""One job at a time for an output folder: a lock file with a heartbeat.

A job that has died leaves its lock but beats no more, so the next job takes it over; nobody has to remove
anything by hand. No clocks are compared: a waiting job only watches whether the heartbeat changes.

A lock is only ever written in place of what was read of it, in one step: on a file system by a moment of
``flock``, on S3 by a conditional write. Of two jobs that start, or that take a dead job's lock over, at once,
one gets it.
"""

from __future__ import annotations

import errno
import fcntl
import io
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from deepfake.errors import JobError, UsageError
from deepfake.io.cache import find_cache_folder
from deepfake.io.storage import ConditionsUnknown, Storage, make_folder, open_regular
from deepfake.io.temporary import remove_leftovers
from deepfake.io.uri import join, split_uri
from deepfake.progress import repeat

log = logging.getLogger(__name__)

FILE = "_lock.json"
BEAT_SECONDS = 5.0
LOOK_SECONDS = 1.0  # a waiting job looks so often whether it has beaten
MOST_BYTES = 2**16  # of a lock file, which has some hundred
SILENCE_SECONDS = 20.0  # a lock that does not beat for so long belongs to nobody
# Where the storage cannot refuse a second writer: longer than another job takes from reading to writing.
SETTLE_SECONDS = 2.0

_current: ContextVar[Lock | None] = ContextVar("current", default=None)
_kept: ContextVar[tuple[ExitStack, str] | None] = ContextVar("kept", default=None)  # and the job's name


@dataclass(frozen=True)
class LockContent:
    """A lock file as it was read."""

    data: bytes
    etag: str = ""  # on S3

    @property
    def content(self) -> dict[str, Any]:
        """What it says; nothing where it is being written, or damaged."""
        try:
            found = json.loads(self.data)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


class LockStore(Protocol):
    """Where a lock file lies."""

    def read(self) -> LockContent | None:
        """The lock file; None where there is none."""

    def write(self, data: bytes, before: LockContent | None) -> bool:
        """Write it if there is still what was read ``before``; whether that was so."""

    def remove(self, before: LockContent) -> None:
        """Remove it if it is still what was read ``before``."""


class LocalFile:
    """A lock file on a file system, written in place, under its ``flock``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._warned = False

    def read(self) -> LockContent | None:
        """See ``LockStore``."""
        try:
            with open_regular(self.path) as file:
                data, names = file.read(MOST_BYTES + 1), os.fstat(file.fileno()).st_nlink
            if names > 1:  # what is written here would be written there
                raise OSError(errno.EMLINK, "it has another name elsewhere")
            if len(data) > MOST_BYTES:
                raise OSError(errno.EFBIG, "it has more bytes than any")
            return LockContent(data)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(
                f"{self.path}: is no lock file ({error.strerror}); remove it if no job writes this output"
            ) from error

    def write(self, data: bytes, before: LockContent | None) -> bool:
        """See ``LockStore``."""
        if before is None:
            return self._create(data)
        try:
            with self._alone(before) as file:
                if file is None:
                    return False
                file.write(data)
                file.truncate()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._refuse(error) from error
        return True

    def _create(self, data: bytes) -> bool:
        make_folder(self.path.parent)
        try:
            with self.path.open("xb", buffering=0) as file:
                file.write(data)
        except FileExistsError:
            return False
        except OSError as error:
            refusal = self._refuse(error)
            if isinstance(refusal, JobError):
                self.path.unlink(missing_ok=True)
            raise refusal from error
        return True

    def _refuse(self, error: OSError) -> UsageError | JobError:
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return UsageError(f"{self.path.parent}: may not be written ({error.strerror})")
        return JobError(f"{self.path}: cannot be written ({error.strerror})")

    def remove(self, before: LockContent) -> None:
        """See ``LockStore``."""
        with self._alone(before) as file:
            if file is not None:
                self.path.unlink()

    @contextmanager
    def _alone(self, before: LockContent) -> Iterator[io.FileIO | None]:
        """The file, open at its start, while nobody else writes it; None where it is another than before."""
        with ExitStack() as stack:
            try:
                file = stack.enter_context(io.FileIO(self.path, "r+"))
                self._lock(file)
                same = os.path.samestat(self.path.stat(), os.fstat(file.fileno()))
            except FileNotFoundError:
                yield None
                return
            same = same and file.read() == before.data
            file.seek(0)
            yield file if same else None

    def _lock(self, file: io.FileIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
                raise
            if not self._warned:
                self._warned = True
                log.warning(
                    "%s: this file system has no flock: two jobs that take over what a dead one left in the "
                    "same millisecond are not told apart",
                    self.path,
                )


class S3Object:
    """A lock file as an S3 object, written under a condition.

    Whether the server heeds conditions is tried out by the first write. Where it does not, a job that begins
    waits a moment and looks whether another has written meanwhile.
    """

    def __init__(self, uri: str, storage: Storage, pause: Callable[[float], None]) -> None:
        self.uri, self._storage, self._pause = uri, storage, pause
        self._heeds: bool | None = None  # None: not known yet

    def read(self) -> LockContent | None:
        """See ``LockStore``."""
        try:
            return LockContent(*self._storage.read_versioned(self.uri))
        except FileNotFoundError:
            return None

    def write(self, data: bytes, before: LockContent | None) -> bool:
        """See ``LockStore``."""
        etag = before.etag if before is not None else None
        try:
            if self._heeds is False:
                raise ConditionsUnknown
            self._storage.write_if(self.uri, data, etag)
            if self._heeds is None:
                # To be refused: the first has changed what is there.
                self._storage.write_if(self.uri, data, etag)
                raise ConditionsUnknown
        except FileExistsError:
            self._heeds = True
            return self._holds(data)  # the first may have been repeated, its answer lost: it meets itself
        except ConditionsUnknown:
            return self._write_and_look(data, before)
        return True

    def _write_and_look(self, data: bytes, before: LockContent | None) -> bool:
        if self._heeds is None:
            self._heeds = False
            log.warning(
                "%s: this S3 server heeds no conditions of a write (If-None-Match, If-Match): of two jobs "
                "that start on one output in the same moment both may go on for %g seconds",
                self.uri,
                BEAT_SECONDS,
            )
            self._storage.write_bytes(self.uri, data)
            self._pause(SETTLE_SECONDS)
            return self._holds(data)
        found = self.read()
        if (found and found.data) != (before and before.data):
            return False
        self._storage.write_bytes(self.uri, data)
        return True

    def _holds(self, data: bytes) -> bool:
        found = self.read()
        return found is not None and found.data == data

    def remove(self, before: LockContent) -> None:
        """See ``LockStore``."""
        if self._holds(before.data):
            self._storage.remove(self.uri)


def locate_lock(uri: str, storage: Storage, pause: Callable[[float], None] = time.sleep) -> LockStore:
    """The lock file at a URI."""
    scheme, path = split_uri(uri)
    return LocalFile(Path(path)) if scheme == "file" else S3Object(uri, storage, pause)


@dataclass
class Lock:
    """The lock of an output; this process's between ``take`` and ``release``."""

    uri: str
    place: LockStore
    storage: Storage
    owner: str = field(default_factory=lambda: secrets.token_hex(8))
    since: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))
    job: str = "a program"  # what it is called, for people
    beats: int = 0
    lost: JobError | None = None  # what its heartbeat has found

    def take(self, before: LockContent | None) -> None:
        """Write the lock in place of what was read; ``UsageError`` where another job was faster."""
        if not self.place.write(self._data(), before):
            raise UsageError(_word_refusal(self.uri, self.place.read()))

    def check(self) -> None:
        """Raise ``JobError`` where another job has taken the output over."""
        self._mine()

    def beat(self) -> None:
        """Write the lock again, with the next number."""
        found = self._mine()
        self.beats += 1
        if not self.place.write(self._data(), found):
            raise self._taken_over()

    def release(self) -> None:
        """Remove the lock, if it is still this process's."""
        try:
            found = self.place.read()
            if found is not None and found.content.get("owner") == self.owner:
                self.place.remove(found)
        except OSError as error:  # a read-only disk, say; without beats it holds nobody up
            log.warning("%s: stays: %s", self.uri, error)

    def _mine(self) -> LockContent:
        found = self.place.read()
        if found is None or found.content.get("owner") != self.owner:
            raise self._taken_over()
        return found

    def _taken_over(self) -> JobError:
        self.lost = JobError(
            f"{self.uri}: another job has taken this output over, as if this one had died; what was "
            "finished is kept, and that job goes on from there"
        )
        return self.lost

    def _data(self) -> bytes:
        content = {
            "owner": self.owner,
            "job": self.job,
            "host": name_host(),
            "pid": os.getpid(),
            "started": _read_start(os.getpid()),
            "since": self.since,  # for people, by this machine's clock
            "beats": self.beats,
        }
        return json.dumps(content).encode() + b"\n"


@contextmanager
def hold(
    root: str,
    storage: Storage,
    beat_seconds: float = BEAT_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Lock]:
    """Hold the output ``root`` for this process while the block runs; within ``keep_locks``, to its end.

    Raises ``UsageError`` where another job is at work on it.
    """
    uri = join(root, FILE)
    if words := storage.find_odd_entry(root):
        raise UsageError(words)
    with ExitStack() as own:
        stack, job = _kept.get() or (own, Lock.job)
        lock = Lock(uri, locate_lock(uri, storage, pause), storage, job=job)
        left = _wait_for_silence(lock.place, uri, pause)
        lock.take(left)
        if left is not None and (count := storage.remove_temporaries(root)):
            log.info("%s: %d files that a killed job was writing are removed", root, count)
        remove_leftovers(find_cache_folder())
        stack.enter_context(_keep_beating(lock, beat_seconds))
        token = _current.set(lock)
        try:
            yield lock
        finally:
            _current.reset(token)


def get_held_lock() -> Lock | None:
    """The lock that this process holds, the innermost of several."""
    return _current.get()


@contextmanager
def keep_locks(job: str) -> Iterator[None]:
    """Every lock that is taken in this block is held to its end: what is written last is written under it.

    ``job`` is what other jobs are told of who holds them.
    """
    with ExitStack() as stack:
        token = _kept.set((stack, job))
        try:
            yield
        finally:
            _kept.reset(token)


@contextmanager
def _keep_beating(lock: Lock, beat_seconds: float) -> Iterator[None]:
    """Beat while the block runs, then release the lock."""

    def beat() -> None:
        try:
            if lock.lost is None:
                lock.beat()
        except JobError as error:
            log.error("%s", error)
        except (OSError, UsageError) as error:  # a storage that is away for a while
            log.warning("%s: no heartbeat: %s", lock.uri, error)

    try:
        with repeat(beat_seconds, beat):
            yield
    finally:
        lock.release()


def _wait_for_silence(place: LockStore, uri: str, pause: Callable[[float], None]) -> LockContent | None:
    """What is there once nobody holds the lock: nothing, or what a dead job left; refuse where one lives."""
    first = place.read()
    if first is None:
        return None
    waited = 0.0
    while (alive := _is_alive(first.content)) is None and waited < SILENCE_SECONDS:
        if waited == 0.0:
            log.info("%s: waiting to see whether the job that holds this output is alive", uri)
        pause(LOOK_SECONDS)
        waited += LOOK_SECONDS
        now = place.read()
        if now is None:
            return None
        if now.data != first.data:
            raise UsageError(_word_refusal(uri, now))
    if alive:
        raise UsageError(_word_refusal(uri, first))
    log.warning("%s: left by a job that has died; taken over", uri)
    return first


def _is_alive(holder: dict[str, Any]) -> bool | None:
    """Whether the holder's process is there; None where that cannot be seen from this machine."""
    pid = holder.get("pid")
    if holder.get("host") != name_host() or type(pid) is not int or not 0 < pid < 2**31:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    known, now = holder.get("started"), _read_start(pid)
    return None if known is None or now is None else known == now  # a number may be another process's by now


def _read_start(pid: int) -> int | None:
    """When a process of this machine was started, in ticks since the machine was; None where unknown.

    -1 for one that has ended, though nobody has asked how.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def name_host() -> str:
    """This machine and, in a container, this space of process numbers."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{socket.gethostname()} {space}".strip()


def _word_refusal(uri: str, found: LockContent | None) -> str:
    told = found.content if found is not None else {}
    holder = {name: str(told.get(name))[:100] for name in ("job", "pid", "host", "since")} if told else {}
    holder = {name: "".join(filter(str.isprintable, value)) for name, value in holder.items()}
    if holder:
        holder["host"] = holder["host"].partition(" ")[0]
    words = (
        "{job}, process {pid} on {host}, since {since}".format(**holder)
        if holder
        else "it has begun in this moment"
    )
    return (
        f"{uri.removesuffix('/' + FILE)}: another job is writing this output ({words}); wait until it has "
        "finished, or give another --output"
    )
