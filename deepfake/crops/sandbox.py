"""Extraction in a child process, so that a hostile file can cost a video but never a job.

A decoder that crashes takes the child with it, one that hangs is killed at its time limit, and memory is
bounded. An exception of our own code is told as such: it is no fault of the file. The child answers with
Arrow tables, never with pickles, so that whoever took it over through a video could not run code in the
worker.

Run as a program (``python -m deepfake.crops.sandbox``), this module is the child.
"""

import atexit
import contextlib
import ctypes
import fcntl
import functools
import json
import logging
import os
import re
import resource
import select
import signal
import site
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import cv2
import pyarrow as pa

import deepfake
from deepfake.config import CropConfig, DetectorConfig, SamplingConfig, StorageConfig
from deepfake.crops import chunks
from deepfake.crops.extraction import ExtractConfig, ExtractionResult, describe_failure, extract
from deepfake.errors import JobError, NodeFault, UsageError
from deepfake.faces.detectors.base import Detector
from deepfake.faces.detectors.factory import make_detector
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import PROGRAM_FAULT, Status
from deepfake.io.tables.videos import make_video_row

log = logging.getLogger(__name__)

# The child runs the code of its parent, whatever package of that name lies in the working directory (-P).
PROGRAM = (sys.executable, "-P", "-m", "deepfake.crops.sandbox")
CODE = str(Path(deepfake.__file__).resolve().parent.parent)
# Decoders take and leave their buffers video after video. Left alone, glibc gives them back to the system,
# and the child spends 1 % of its time on fresh pages: so it keeps this much (mallopt(3)).
KEPT_BYTES = 64 * 2**20
HEAP = {"MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES), "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20)}
PIPE_BYTES = 2**20  # a video's crops pass in a few pieces; the most that Linux allows without privileges
GRACE_SECONDS = 10.0  # beyond the video's own limit, before the child is killed
START_SECONDS = 120.0  # for imports on a busy machine
CANNOT_START = "extraction cannot start on this machine"
ATTEMPTS = 2  # a crash may be the machine's fault once; twice it is the file's

_LENGTH = struct.Struct("<q")
# Answers in words instead of tables, which never begin so.
_STOP = b"stop: "  # the job cannot go on
_FAULT = b"fault: "  # our own code raised
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class ChildDied(Exception):
    """The child ended, or was killed, before it answered, or what it answered makes no sense."""


class StartFailed(ChildDied):
    """The child did not come up: no video's fault."""


class ProgramFault(Exception):
    """Our own code raised in the child. The message is a ``status_detail``."""

    def __init__(self, words: str, place: str, trace: str) -> None:
        super().__init__(f"{PROGRAM_FAULT}: {words} ({place})")
        self.place, self.trace = place, trace


class Extractor(Protocol):
    """What a worker asks of one video."""

    def extract(self, entry: Mapping[str, Any]) -> ExtractionResult:
        """Crops of one catalog row."""
        ...

    def survey(self, entry: Mapping[str, Any], piece_seconds: float) -> ExtractionResult:
        """Packets of a long video, and where it is cut."""
        ...

    def look(self, entry: Mapping[str, Any], bounds: tuple[int, int], packets: pa.Table) -> ExtractionResult:
        """Faces of one piece of it."""
        ...


class PlainExtractor:
    """Extracts videos in this process."""

    def __init__(self, config: ExtractConfig, storage: Storage) -> None:
        self._with = (config, make_detector(config.detector, storage), storage)

    def extract(self, entry: Mapping[str, Any]) -> ExtractionResult:
        """Crops of one catalog row."""
        return extract(entry, *self._with)

    def survey(self, entry: Mapping[str, Any], piece_seconds: float) -> ExtractionResult:
        """Packets of a long video, and where it is cut."""
        return chunks.survey_packets(entry, piece_seconds, *self._with)

    def look(self, entry: Mapping[str, Any], bounds: tuple[int, int], packets: pa.Table) -> ExtractionResult:
        """Faces of one piece of it."""
        return chunks.find_piece_faces(entry, bounds, packets, *self._with)


@functools.lru_cache(maxsize=2)  # a first look has an extractor of its own
def _cached_extractor(config: ExtractConfig, storage: StorageConfig) -> Extractor:
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
    """What extracts videos in this process, with its detector loaded once."""
    return _cached_extractor(config, storage.config)


class IsolatedExtractor:
    """Extracts videos in a child process of its own, which is started again when it dies."""

    def __init__(
        self, config: ExtractConfig, storage: Storage, program: Sequence[str] = PROGRAM, tell: bool = True
    ) -> None:
        """``tell`` false: what goes wrong is not logged, only in the rows."""
        self._config, self._tell = config, tell
        self._settings = {
            "sampling": config.sampling.model_dump(mode="json"),
            "detector": config.detector.model_dump(mode="json"),
            "crop": config.crop.model_dump(mode="json"),
            "crops_kept": config.crops_kept,
            "storage": storage.config.model_dump(mode="json"),
        }
        self._program = tuple(program)
        self._child: subprocess.Popen[bytes] | None = None
        self._told: set[str] = set()  # places whose traceback was logged
        atexit.register(self.close)

    def start(self) -> None:
        """Start the child ahead of the first video. What goes wrong is told with that video."""
        with contextlib.suppress(ChildDied, ProgramFault, JobError):
            self._running()

    def extract(self, entry: Mapping[str, Any]) -> ExtractionResult:
        """Crops of one catalog row; a file that kills or stalls the decoder gets a status."""
        return self._try(entry, {"task": "extract"}, "crops")

    def survey(self, entry: Mapping[str, Any], piece_seconds: float) -> ExtractionResult:
        """Packets of a long video, and where it is cut."""
        return self._try(entry, {"task": "survey", "piece_seconds": piece_seconds}, "packets")

    def look(self, entry: Mapping[str, Any], bounds: tuple[int, int], packets: pa.Table) -> ExtractionResult:
        """Faces of one piece of it."""
        return self._try(entry, {"task": "look", "bounds": bounds}, "pieces", packets)

    def _try(
        self, entry: Mapping[str, Any], request: Mapping[str, Any], answer: str, table: pa.Table | None = None
    ) -> ExtractionResult:
        last = ChildDied()
        for _ in range(ATTEMPTS):
            try:
                return self._ask(entry, request, table, answer)
            except TimeoutError:
                self.close()
                limit = self._config.sampling.timeout_seconds
                words = f"took longer than sampling.timeout_seconds {limit:g}; stopped"
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
                log.warning("%s: %s", entry["video_id"], death)
                self.close()
        if isinstance(last, StartFailed):
            raise NodeFault(str(last))
        return _failed(entry, Status.DECODE_ERROR, str(last), answer)

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _ask(
        self, entry: Mapping[str, Any], request: Mapping[str, Any], table: pa.Table | None, name: str
    ) -> ExtractionResult:
        child = self._running()
        assert child.stdin is not None and child.stdout is not None
        deadline = time.monotonic() + self._config.sampling.timeout_seconds + GRACE_SECONDS
        most = self._config.sampling.max_memory_mb * 2**20  # the child has no room for more
        try:
            asked = {**request, "entry": {**entry, "modified": None}}  # of which the child has no use
            _write(child.stdin, json.dumps(asked).encode())
            if table is not None:
                _write(child.stdin, tables.to_ipc(table))
            answer = _without_complaint(_read(child.stdout, deadline, most))
            videos = tables.check_table("videos", tables.from_ipc(answer))
            found = tables.check_table(name, tables.from_ipc(_read(child.stdout, deadline, most)))
            (video,) = videos.to_pylist()
        except (EOFError, BrokenPipeError) as error:
            raise ChildDied(f"the decoder crashed ({self._how_it_ended()})") from error
        except (pa.ArrowException, ValueError) as error:
            raise ChildDied(f"the decoder gave no sensible answer ({error})") from error
        return ExtractionResult({**video, "modified": entry.get("modified")}, found)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self.close()
        self._child = subprocess.Popen(
            self._program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**HEAP, **os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
        )
        assert self._child.stdin is not None and self._child.stdout is not None
        _widen(self._child.stdout)
        try:
            _write(self._child.stdin, json.dumps(self._settings).encode())
            _without_complaint(_read(self._child.stdout, time.monotonic() + START_SECONDS))
        except (EOFError, BrokenPipeError, TimeoutError) as error:  # it has seen no video yet
            raise StartFailed(f"the extraction process did not start ({self._how_it_ended()})") from error
        except JobError as error:
            raise StartFailed(str(error)) from error
        return self._child

    def _how_it_ended(self) -> str:
        assert self._child is not None
        try:
            code = self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "no sensible answer"
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"


class _NoPandas(MetaPathFinder):
    """Arrow looks for pandas with its first array; the child has no use for it, and half a second to lose."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def serve(extract_one: Callable[..., ExtractionResult] = extract) -> None:
    """The child's life: settings in, then a request in and two tables out, until the pipe closes."""
    _die_with_parent()
    sys.meta_path.insert(0, _NoPandas)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not mix with answers
    requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        settings = json.loads(_read(requests))
        config = ExtractConfig(
            SamplingConfig.model_validate(settings["sampling"]),
            DetectorConfig.model_validate(settings["detector"]),
            CropConfig.model_validate(settings["crop"]),
            settings["crops_kept"],
        )
        storage = Storage(StorageConfig.model_validate(settings["storage"]))
        cv2.setNumThreads(0)
        detector: Detector = make_detector(config.detector, storage)
        pa.array([None])  # Arrow reserves its address space with its first array: before that is bounded
    except OSError as error:  # such as a model that lies on other machines only
        _write(answers, _complaint(JobError(f"{CANNOT_START}: {error}")))
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
        _write(answers, _complaint(error))
        return
    _bound_memory(config.sampling.max_memory_mb)
    _write(answers, b"ready")
    rest = (config, detector, storage)
    while True:
        try:
            request = json.loads(_read(requests))
        except EOFError:
            return
        entry = request["entry"]
        packets = tables.from_ipc(_read(requests)) if request["task"] == "look" else None
        try:
            if request["task"] == "extract":
                found = extract_one(entry, *rest)
            elif request["task"] == "survey":
                found = chunks.survey_packets(entry, request["piece_seconds"], *rest)
            else:
                first, stop = request["bounds"]
                found = chunks.find_piece_faces(entry, (first, stop), packets, *rest)
            made = (tables.to_ipc(tables.from_rows("videos", [found.video])), tables.to_ipc(found.table))
        except MemoryError:  # the limit's doing: a process that has none left does not go on
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
            _write(answers, _complaint(error))
            continue
        for table in made:
            _write(answers, table)


def _complaint(error: Exception) -> bytes:
    """What the child answers where an exception came instead of tables."""
    if isinstance(error, JobError | UsageError):  # the storage's fault, not this video's
        return _STOP + str(error).encode()
    frames = traceback.extract_tb(error.__traceback__)
    package = Path(deepfake.__file__).parent
    last = [frame for frame in frames if Path(frame.filename).is_relative_to(package)][-1]
    place = f"{Path(last.filename).relative_to(package.parent)}:{last.lineno}"
    message = re.sub(r" at 0x[0-9a-f]+", "", " ".join(str(error).split()))  # addresses differ from run to run
    trace = "".join(traceback.format_exception(error))
    return _FAULT + json.dumps([f"{type(error).__name__}: {message}", place, trace]).encode()


def _without_complaint(answer: bytearray) -> bytearray:
    """The same answer; raises ``JobError`` or ``ProgramFault`` where it is words.

    A child that was taken over chooses them: they are kept short and printable.
    """
    if answer.startswith(_STOP):
        raise JobError(answer.removeprefix(_STOP).decode())
    if answer.startswith(_FAULT):
        words, place, trace = map(str, json.loads(answer.removeprefix(_FAULT)))
        raise ProgramFault(_printable(words[:300]), _printable(place[:100]), _printable(trace[-10_000:]))
    return answer


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def _failed(entry: Mapping[str, Any], status: Status, words: str, table: str) -> ExtractionResult:
    row = make_video_row(entry) | describe_failure(status, words, retry=True)
    return ExtractionResult(row, tables.from_rows(table, []))


def _import_path() -> list[str]:
    """Where a child looks for modules before Python's own places; never the working directory."""
    found = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    return found if CODE in site.getsitepackages() else [CODE, *found]


def _die_with_parent() -> None:
    """Linux: be killed when the worker is, however it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _bound_memory(megabytes: int) -> None:
    """Linux: no more address space than this beyond what the libraries have mapped; no core files."""
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    limit = mapped + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _widen(pipe: Any) -> None:
    """Linux: more room in a pipe, where the system allows it."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _write(pipe: Any, message: bytes | pa.Buffer) -> None:
    content = memoryview(message)
    for view in (memoryview(_LENGTH.pack(content.nbytes)), content):
        while view:
            view = view[pipe.write(view) :]


def _read(pipe: BinaryIO | Any, deadline: float | None = None, most: int = sys.maxsize) -> bytearray:
    """One message.

    Raises ``EOFError`` at the end of the pipe, ``TimeoutError`` past the deadline, and ``ValueError`` for a
    message of more than ``most`` bytes.
    """
    (length,) = _LENGTH.unpack(_exactly(pipe, _LENGTH.size, deadline))
    if not 0 <= length <= most:
        raise ValueError(f"a message of {length} bytes")
    return _exactly(pipe, length, deadline)


def _exactly(pipe: Any, length: int, deadline: float | None) -> bytearray:
    content = bytearray(length)
    missing = memoryview(content)
    while missing:
        if deadline is not None:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
        count = pipe.readinto(missing)
        if not count:
            raise EOFError
        missing = missing[count:]
    return content


if __name__ == "__main__":
    serve()
