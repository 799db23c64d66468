"""The process that forks for videos: it imports everything, and never looks at one itself.

``python -m deepfake.crops.sandbox_server`` with a socket as its input is a worker's server. Without Linux
there are no forks: the server itself looks at the videos, and is replaced only when it dies.
"""

import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig, StorageConfig
from deepfake.crops.answers import add_account
from deepfake.crops.extraction import ExtractConfig, extract
from deepfake.crops.sandbox import CANNOT_START
from deepfake.crops.sandbox_messages import END, ENDED, REMOTE, Channel, make_complaint
from deepfake.crops.tasks import TASKS, Task
from deepfake.errors import JobError, UsageError
from deepfake.faces.detectors.factory import make_detector
from deepfake.io import tables
from deepfake.io.arrow import start_arrow
from deepfake.io.storage import Storage, import_s3
from deepfake.io.temporary import make_temporary_folder
from deepfake.outcome import get_clock
from deepfake.video.sample_clip import write_clip

FORKS = sys.platform == "linux"
# linux/prctl.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36


def serve(tasks: Mapping[str, Task] = TASKS) -> None:
    """The server's life: settings in, then forks as they are asked for, until the socket closes."""
    control = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    _prepare_process()
    # From 3.12 on Python warns of any thread at a fork. The one here is jemalloc's, which prepares for it.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    channel = Channel(control)
    start_arrow()  # it reserves its address space with its first array: before that is bounded
    try:
        settings = json.loads(channel.receive())
        config = ExtractConfig(
            SamplingConfig.model_validate(settings["sampling"]),
            DetectorConfig.model_validate(settings["detector"]),
            CropConfig.model_validate(settings["crop"]),
            settings["crops_kept"],
            settings["trust_list"],
        )
        storage = Storage(StorageConfig.model_validate(settings["storage"]))
        cv2.setNumThreads(0)
        detector = make_detector(config.detector, storage)
    except OSError as error:  # such as a model that lies on other machines only
        channel.send(make_complaint(JobError(f"{CANNOT_START}: {error}")))
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
        channel.send(make_complaint(error))
        return
    rest = (config, detector, storage)
    bound_memory(config.sampling.max_memory_mb)
    _warm_up(rest)
    gc.freeze()  # what is here stays, and a fork need not copy it to find that out
    channel.send(b"ready")
    die_with_parent(0)  # whose end closes the socket: there is still something to do
    fork = 0
    while True:
        message, ends, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            if fork:
                _end(fork)
            return
        if message == END:
            control.sendall(ENDED.pack(_end(fork) if fork else 0))
            fork = 0
            continue
        if message == REMOTE:  # half of what a fork costs that imports it itself
            with contextlib.suppress(UsageError):  # told with the file
                import_s3()
        with socket.socket(fileno=ends[0]) as end:
            fork = os.fork() if FORKS else 0
            if fork:
                continue
            if FORKS:
                control.close()
                _live_and_end(Channel(end), tasks, rest)
            with contextlib.suppress(ConnectionError):
                _answer_all(Channel(end), tasks, rest)


def _warm_up(rest: Any) -> None:
    """Have what every fork needs imported and laid out, by a clip of our own: it saves each 10 ms."""
    with contextlib.suppress(Exception), make_temporary_folder() as folder:
        clip = Path(folder, "warm.mp4")
        write_clip(clip)
        extract({"video_id": clip.name, "uri": str(clip)}, *rest)


def _live_and_end(channel: Channel, tasks: Mapping[str, Task], rest: Any) -> None:
    """A fork's life. It ends without what a process does at its end, which is the server's to do."""
    status = 1
    try:
        die_with_parent()
        _answer_all(channel, tasks, rest)
        status = 0
    except ConnectionError:
        status = 0
    except BaseException:  # noqa: BLE001 - there is nobody above
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stderr.flush()
        os._exit(status)


def _answer_all(channel: Channel, tasks: Mapping[str, Task], rest: Any) -> None:
    """A request in and two tables out, until the other end closes."""
    while True:
        try:
            request = json.loads(channel.receive())
        except EOFError:
            return
        entry, task = request["entry"], request["task"]
        table = tables.from_ipc(channel.receive()) if task == "look" else None
        get_clock().take()
        try:
            found = tasks[task](entry, request, table, *rest)
            row = add_account(tables.from_rows("videos", [found.video]), *get_clock().take())
            made = (tables.to_ipc(row), tables.to_ipc(found.table))
        except MemoryError:  # the limit's doing: a process that has none left does not go on
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
            channel.send(make_complaint(error))
            continue
        for answer in made:
            channel.send(answer)


def _end(fork: int) -> int:
    """Kill a fork, and all that it may have started; its exit status, negative of a signal."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(fork, signal.SIGKILL)
    _, status = os.waitpid(fork, 0)
    with contextlib.suppress(ChildProcessError, OSError):  # none is left, or the kernel does not list them
        while os.waitpid(-1, os.WNOHANG)[0] >= 0:  # what a fork leaves behind becomes this process' own
            for orphan in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                os.kill(int(orphan), signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def _prepare_process() -> None:
    """Of the server, before anything else."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a library prints must not be lost
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), sys.stdin.fileno())  # a fork must not keep the socket
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    die_with_parent()
    if FORKS:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        libc.prctl(_PR_SET_DUMPABLE, 0)  # a fork that is taken over does not debug the server


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Linux: get a signal (0: none) when the process that started this one ends, however it does."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signum))


def bound_memory(megabytes: int) -> None:
    """Linux: no more address space than this beyond what the libraries have mapped; no core files."""
    if sys.platform != "linux":
        return
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    limit = mapped + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # whoever started it was killed meanwhile
        serve()
