"""Work on one video in a process of its own, so that a hostile file can cost a video but never a job.

A worker starts a server (``sandbox_server``), which imports everything, sees no video, and forks for each. A
decoder that crashes takes the fork with it, one that hangs is killed at its time limit, and memory is
bounded. An exception of our own code is told as such: it is no fault of the file. A fork answers with Arrow
tables, never with pickles, so that whoever took it over through a video could not run code in the worker;
what it answers must fit what was asked (``answers``). A fork is replaced after an answer that does not, and
once it has worked for 1.7 s: the video after one of some length meets a fork that never saw another.
"""

import atexit
import contextlib
import functools
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import pyarrow as pa

from deepfake.catalog.media import is_image_name
from deepfake.config import StorageConfig
from deepfake.crops.answers import read_account, read_answer, require_fit
from deepfake.crops.extraction import ExtractConfig, ExtractionResult, describe_failure
from deepfake.crops.sandbox_messages import (
    END,
    ENDED,
    FORK,
    REMOTE,
    Channel,
    ProgramFault,
    make_printable,
    require_no_complaint,
)
from deepfake.crops.tasks import ANSWERS, TASKS
from deepfake.errors import JobError, NodeFault
from deepfake.faces.detectors.factory import make_detector
from deepfake.imports import list_import_path
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.io.tables.videos import make_video_row
from deepfake.outcome import get_clock

log = logging.getLogger(__name__)

# The server runs the code of its parent, whatever package of that name lies in the working directory (-P).
PROGRAM = (sys.executable, "-P", "-m", "deepfake.crops.sandbox_server")
# Decoders take and leave their buffers frame after frame. Left alone, glibc gives them back to the system,
# and a fork spends 1 % of its time on fresh pages: so it keeps this much (mallopt(3)).
KEPT_BYTES = 64 * 2**20
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # where the kernel lets it: 3,300 page faults, not 13,000
    "OPENBLAS_NUM_THREADS": "1",  # a process with threads does not fork well
}
GRACE_SECONDS = 10.0  # beyond the video's own limit, before the fork is killed
START_SECONDS = 120.0  # for imports on a busy machine
END_SECONDS = 10.0  # for the server to say how a fork ended
CANNOT_START = "extraction cannot start on this machine"
ATTEMPTS = 2  # a crash may be the machine's fault once; twice it is the file's
# What a fork costs, in processor time on two virtual cores: 30.6 % of extracting clips of 0.16 s of work, by
# tests/benchmarks/fork_cost.py; of a file on S3, to which each fork connects anew, 0.25 s more.
FORK_SECONDS, CONNECT_SECONDS = 0.05, 0.25
SHARE = 0.03  # of what a fork works, which its cost stays below: it serves as long as that takes
# Or for so many files, if that is less: whoever takes a fork over answers at once.
VIDEOS_A_FORK, STILLS_A_FORK, REMOTE_A_FORK = 8, 32, 32


class ChildDied(Exception):
    """The child ended, or was killed, before it answered, or what it answered makes no sense."""


class CannotReach(ChildDied):
    """The child says that it cannot reach the file, which this process can."""


class StartFailed(ChildDied):
    """The server did not come up: no video's fault."""


class Extractor(ABC):
    """What is asked of one video; whatever is wrong with it becomes a status, never an exception."""

    def extract(self, entry: Mapping[str, Any]) -> ExtractionResult:
        """Crops of one catalog row."""
        return self._do("extract", entry, {})

    def survey(self, entry: Mapping[str, Any], piece_seconds: float) -> ExtractionResult:
        """Packets of a long video, and where it is cut."""
        return self._do("survey", entry, {"piece_seconds": piece_seconds})

    def look(self, entry: Mapping[str, Any], bounds: tuple[int, int], packets: pa.Table) -> ExtractionResult:
        """Faces of one piece of it."""
        return self._do("look", entry, {"bounds": bounds}, packets)

    def show(
        self, entry: Mapping[str, Any], faces: Sequence[Mapping[str, Any]] | None = None,
        side: int | None = None,
    ) -> ExtractionResult:  # fmt: skip
        """Pictures of some faces and their frames, or of the sampled frames: see ``pictures``."""
        names = ("frame_index", "box", "landmarks")
        told = None if faces is None else [{name: face.get(name) for name in names} for face in faces]
        return self._do("show", entry, {"faces": told, "side": side})

    def recompress(self, entry: Mapping[str, Any], crf: int, folder: str) -> ExtractionResult:
        """Crops of the video after it was compressed again; ``folder`` has room for the copy."""
        return self._do("recompress", entry, {"crf": crf, "folder": folder})

    def watch(self, entry: Mapping[str, Any], asked: Mapping[str, Any]) -> ExtractionResult:
        """The newest frame of a source that plays, with its faces: see ``watching``."""
        return self._do("watch", entry, asked)

    @abstractmethod
    def _do(
        self, task: str, entry: Mapping[str, Any], asked: Mapping[str, Any], table: pa.Table | None = None
    ) -> ExtractionResult: ...


class PlainExtractor(Extractor):
    """Does it in this process."""

    def __init__(self, config: ExtractConfig, storage: Storage) -> None:
        self._with = (config, make_detector(config.detector, storage), storage)

    def _do(
        self, task: str, entry: Mapping[str, Any], asked: Mapping[str, Any], table: pa.Table | None = None
    ) -> ExtractionResult:
        return TASKS[task](entry, asked, table, *self._with)


@functools.lru_cache(maxsize=2)  # a first look has an extractor of its own
def keep_extractor(config: ExtractConfig, storage: StorageConfig) -> Extractor:
    """This process's extractor of a configuration, made at the first call."""
    cv2.setNumThreads(0)  # there is a process for each core; OpenCV's own threads would fight over them
    if not config.sampling.isolate:
        try:
            return PlainExtractor(config, Storage(storage))
        except OSError as error:
            raise NodeFault(f"{CANNOT_START}: {error}") from error
    isolated = IsolatedExtractor(config, Storage(storage))
    isolated.start()
    return isolated


def get_extractor(config: ExtractConfig, storage: Storage) -> Extractor:
    """What works on videos for this process, with its detector loaded once."""
    return keep_extractor(config, storage.config)


class IsolatedExtractor(Extractor):
    """Does it in forks of a server of its own, which is started again when it dies."""

    def __init__(
        self, config: ExtractConfig, storage: Storage, program: Sequence[str] = PROGRAM, tell: bool = True
    ) -> None:
        """``tell`` false: what goes wrong is not logged, only in the rows."""
        self._config, self._storage, self._tell = config, storage, tell
        self._settings = {
            "sampling": config.sampling.model_dump(mode="json"),
            "detector": config.detector.model_dump(mode="json"),
            "crop": config.crop.model_dump(mode="json"),
            "crops_kept": config.crops_kept,
            "trust_list": config.trust_list,
            "storage": storage.config.model_dump(mode="json"),
        }
        self._program = tuple(program)
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._fork: Channel | None = None
        self._files, self._seconds = 0, 0.0  # that this fork has looked at, and that it took
        self._closed = False  # on purpose, perhaps while it was waited for
        self._told: set[str] = set()  # places whose traceback was logged
        atexit.register(self.close)

    def start(self) -> None:
        """Start the server ahead of the first video. What goes wrong is told with that video."""
        with contextlib.suppress(ChildDied, ProgramFault, JobError):
            self._require_server()

    def _do(
        self, task: str, entry: Mapping[str, Any], asked: Mapping[str, Any], table: pa.Table | None = None
    ) -> ExtractionResult:
        last, answer = ChildDied(), ANSWERS[task]
        for _ in range(1 if task == "watch" else ATTEMPTS):  # a source does not play again
            try:
                with get_clock().on("isolate"):
                    return self._ask(entry, {"task": task, **asked}, table, answer)
            except TimeoutError:
                limit = self._config.sampling.timeout_seconds
                words = f"took longer than timeout_seconds, {limit:g}; stopped"
                return _failed(entry, Status.TIMEOUT, words, answer)
            except ProgramFault as fault:  # another attempt would end alike
                if self._tell:
                    log.warning("%s: %s", entry["video_id"], fault)
                if self._tell and fault.place not in self._told:
                    self._told.add(fault.place)
                    log.error("%s", fault.trace)
                return _failed(entry, Status.DECODE_ERROR, str(fault), answer)
            except ChildDied as death:
                last = death
                if not self._closed:
                    log.warning("%s: %s", entry["video_id"], death)
        if isinstance(last, StartFailed):
            raise NodeFault(str(last))
        status = Status.UNREADABLE if isinstance(last, CannotReach) else Status.DECODE_ERROR
        return _failed(entry, status, str(last), answer)

    def stop(self) -> None:
        """End it for good, from another thread than the one that waits for it, if need be."""
        self._closed = True
        self.close()

    def close(self) -> None:
        """End the server, its fork, and what that may have started."""
        self._end_fork()
        server, control = self._server, self._control
        self._server = self._control = None
        if server is not None:
            server.kill()
            server.wait()
        if control is not None:
            control.close()

    def _ask(
        self, entry: Mapping[str, Any], request: Mapping[str, Any], table: pa.Table | None, name: str
    ) -> ExtractionResult:
        fork = self._require_fork(_is_remote(entry["uri"]))
        asked_at = time.monotonic()
        deadline = asked_at + self._config.sampling.timeout_seconds + GRACE_SECONDS
        most = self._config.sampling.max_memory_mb * 2**20  # the fork has no room for more
        try:
            asked = {**request, "entry": {**entry, "modified": None}}  # of which the fork has no use
            fork.send(json.dumps(asked).encode(), deadline)
            if table is not None:
                fork.send(tables.to_ipc(table), deadline)
            answer = require_no_complaint(fork.receive(deadline, most))
            videos = read_answer(answer, "videos")
            found = read_answer(fork.receive(deadline, most), name)
            video = require_fit(entry, videos, found, name, request, self._config)
            seconds, counts = read_account(videos)
        except JobError as error:
            self._end_fork()
            self._require_storage(entry)
            raise CannotReach(f"the decoder cannot reach the file ({error})") from error
        except (EOFError, ConnectionError) as error:
            raise ChildDied(f"the decoder crashed ({self._end_fork()})") from error
        except (pa.ArrowException, ValueError) as error:
            self._end_fork()
            words = make_printable(str(error)[:300])
            raise ChildDied(f"the decoder gave no sensible answer ({words})") from error
        except BaseException:
            self._end_fork()
            raise
        spent = time.monotonic() - asked_at
        get_clock().divide(seconds, most=spent)
        get_clock().count(**counts)
        self._files, self._seconds = self._files + 1, self._seconds + spent
        if request["task"] != "watch" and has_served(entry["uri"], self._files, self._seconds):
            self._end_fork()
        return ExtractionResult({**video, "modified": entry.get("modified")}, found)

    def _require_storage(self, entry: Mapping[str, Any]) -> None:
        """Raise what ends the job where this process cannot reach a file either; a fork's word does not."""
        for uri in filter(None, (entry["uri"], entry.get("original_uri"))):
            with contextlib.suppress(OSError):
                if uri.endswith("/"):  # frames
                    self._storage.exists(uri)
                else:
                    with self._storage.open(uri) as file:
                        file.read(1)

    def _require_fork(self, remote: bool) -> Channel:
        """What looks at the next video."""
        if self._fork is None:
            self._require_server()
            assert self._control is not None
            mine, theirs = socket.socketpair()
            with theirs:
                self._control.settimeout(END_SECONDS)
                try:
                    socket.send_fds(self._control, [REMOTE if remote else FORK], [theirs.fileno()])
                except (OSError, TimeoutError) as error:
                    mine.close()
                    self.close()
                    raise ChildDied(f"the decoder crashed ({error})") from error
            self._fork, self._files, self._seconds = Channel(mine), 0, 0.0
        return self._fork

    def _end_fork(self) -> str:
        """Have the fork end, and with it whatever it has started; how it did, in words."""
        fork, self._fork = self._fork, None
        if fork is None or self._control is None or self._server is None:
            return "no sensible answer"
        fork.close()
        try:
            self._control.settimeout(END_SECONDS)
            self._control.sendall(END)
            told = self._control.recv(ENDED.size, socket.MSG_WAITALL)
            (code,) = ENDED.unpack(told)
        except (OSError, struct.error):  # the server is gone, or stuck
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(timeout=0.1)
            code = self._server.poll()
            self.close()
        if code is None:
            return "no sensible answer"
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

    def _require_server(self) -> None:
        if self._server is not None and self._server.poll() is None:
            return
        self.close()
        mine, theirs = socket.socketpair()
        with theirs:
            self._server = subprocess.Popen(
                self._program,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={**ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(list_import_path())},
            )
        self._control = mine
        channel, deadline = Channel(mine), time.monotonic() + START_SECONDS
        try:
            channel.send(json.dumps(self._settings).encode(), deadline)
            require_no_complaint(channel.receive(deadline))
        except (EOFError, ConnectionError, TimeoutError) as error:  # it has seen no video yet
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(timeout=5)
            code = self._server.poll()
            self.close()
            words = "no sensible answer" if code is None else f"exit status {code}"
            raise StartFailed(f"the extraction process did not start ({words})") from error
        except JobError as error:
            raise StartFailed(str(error)) from error


def _is_remote(uri: str) -> bool:
    return uri.startswith("s3://")


def has_served(uri: str, files: int, seconds: float) -> bool:
    """Whether a fork that has looked at so many files, the last of them this, is to be replaced."""
    cost = FORK_SECONDS + (CONNECT_SECONDS if _is_remote(uri) else 0)
    most = REMOTE_A_FORK if _is_remote(uri) else STILLS_A_FORK if is_image_name(uri) else VIDEOS_A_FORK
    return files >= most or seconds >= cost / SHARE


def _failed(entry: Mapping[str, Any], status: Status, words: str, table: str) -> ExtractionResult:
    row = make_video_row(entry) | describe_failure(status, words, retry=True)
    return ExtractionResult(row, tables.from_rows(table, []))
