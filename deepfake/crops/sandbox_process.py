"""Start the process of the sandbox's server. Imports nothing large, so that it can be done first of all."""

import os
import site
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import deepfake

# The server runs the code of its parent, whatever package of that name lies in the working directory (-P).
PROGRAM = (sys.executable, "-P", "-m", "deepfake.crops.sandbox_server")
CODE = str(Path(deepfake.__file__).resolve().parent.parent)
# Decoders take and leave their buffers frame after frame. Left alone, glibc gives them back to the system,
# and a fork spends 1 % of its time on fresh pages: so it keeps this much (mallopt(3)).
KEPT_BYTES = 64 * 2**20
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # where the kernel lets it: 3,300 page faults, not 13,000
    "OPENBLAS_NUM_THREADS": "1",  # a process with threads does not fork well
}


@dataclass(frozen=True)
class ServerProcess:
    """A server, which imports what it needs and waits for its settings, and this end of its socket."""

    process: subprocess.Popen[bytes]
    control: socket.socket

    def end(self) -> None:
        """Kill it, and with it its fork."""
        self.process.kill()
        self.process.wait()
        self.control.close()


_ahead: list[ServerProcess] = []


def start_server_process(program: Sequence[str] = PROGRAM) -> ServerProcess:
    """Start a server."""
    mine, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            program,
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env={**ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(_import_path())},
        )
    return ServerProcess(process, mine)


def start_ahead() -> None:
    """Start the server that this process's first extractor takes, so that it need not wait for imports."""
    _ahead.append(start_server_process())


def end_ahead() -> None:
    """End the server that nobody took."""
    while _ahead:
        _ahead.pop().end()


def take_server_process(program: Sequence[str]) -> ServerProcess:
    """The server that was started ahead, if there is one and it is of this program, or else a new one."""
    return _ahead.pop() if _ahead and tuple(program) == PROGRAM else start_server_process(program)


def _import_path() -> list[str]:
    """Where a server looks for modules before Python's own places; never the working directory."""
    found = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    return found if CODE in site.getsitepackages() else [CODE, *found]
