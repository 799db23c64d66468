"""Jobs started as a user starts them: each in a process of its own, and Ray of its own."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.processes import HANGS_SECONDS, descendants, wait_until

ROOT = Path(__file__).resolve().parent.parent
# Ray's workers are polite, at niceness 15: beside a busy process they get a thirtieth of a core, and a test
# that waits for them takes minutes.
FAIR = {"RAY_worker_niceness": "0"}


def command(job: str, *words: object) -> list[str]:
    """The words that start ``jobs/<job>.py``."""
    return [sys.executable, str(ROOT / "jobs" / f"{job}.py"), *map(str, words)]


def flags(options: Mapping[str, object]) -> list[str]:
    """Options of a job, by their dotted names, as words of a command line."""
    return [str(word) for name, value in options.items() for word in (f"--{name}", value)]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Without the token and address that other tests' clusters may have left; with ``more``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return kept | FAIR | dict(more or {})


def run(words: Sequence[str], cwd: Path, more: Mapping[str, str] | None = None) -> str:
    """What a job prints, both streams; it must end well."""
    done = subprocess.run(
        words, env=environment(more), cwd=cwd, timeout=HANGS_SECONDS, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def run_as_workers(script: str, world: int, *words: object) -> None:
    """Run a Python script in so many processes, for TensorFlow workers of one training; all must end well.

    Its arguments are JSON: the rank, ``world``, then ``words``.
    """
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(world)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
    processes = []
    for rank in range(world):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        more = {"PYTHONPATH": str(ROOT)} | ({"TF_CONFIG": json.dumps(cluster)} if world > 1 else {})
        arguments = [json.dumps(word) for word in (rank, world, *words)]
        processes.append(subprocess.Popen([sys.executable, "-c", script, *arguments], env=os.environ | more))
    assert [process.wait(timeout=HANGS_SECONDS) for process in processes] == [0] * world


def ray_workers(pid: int, actor: str) -> list[int]:
    """Ids of Ray's processes of a job that run an actor of this class."""
    found = []
    for child in descendants(pid):
        try:
            title = Path(f"/proc/{child}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if title.startswith(b"ray::") and actor.encode() in title:
            found.append(child)
    return found


def kill_a_worker(job: subprocess.Popen[bytes], actor: str, rng: random.Random) -> None:
    """End one of the processes of a running job that run an actor of this class, once there is one."""
    victims: list[int] = []
    while not victims and job.poll() is None:
        victims = ray_workers(job.pid, actor)
    os.kill(rng.choice(victims), signal.SIGKILL)


def kill_the_raylet(job: subprocess.Popen[bytes]) -> None:
    """End the process that runs the workers of a job's own Ray."""
    (raylet,) = [pid for pid in descendants(job.pid) if _program(pid) == "raylet"]
    os.kill(raylet, signal.SIGKILL)


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_for_units(job: subprocess.Popen[bytes], output: Path, count: int) -> bool:
    """Whether so many units are finished while the job still runs."""
    finished = output / "_work/videos"
    wait_until(lambda: job.poll() is not None or len(list(finished.glob("*.parquet"))) >= count)
    return job.poll() is None
