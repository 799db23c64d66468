"""Ray's start is watched by a process of its own: real processes hang, end and are killed here."""

from __future__ import annotations

import signal
import subprocess
import sys
from textwrap import dedent, indent

import pytest

from tests import running


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", dedent(program)], env=running.environment(), cwd=running.ROOT, text=True,
        capture_output=True, timeout=running.HANGS_SECONDS,
    )  # fmt: skip


def start(block: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """What a process says that does this while Ray should start."""
    guard = f"from deepfake.execution.start_guard import guard_start\nwith guard_start({seconds}):\n"
    return run(guard + indent(block, "    ") + "\nprint('over')")


def test_a_start_that_ends_is_not_spoken_of() -> None:
    done = start("pass")
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


def test_a_start_that_holds_the_interpreter_for_ever_ends_in_a_sentence() -> None:
    done = start("import ctypes\nctypes.PyDLL(None).pause()", seconds=0.5)
    assert done.returncode == -signal.SIGKILL
    assert done.stderr.startswith("Ray has not started in 0.5 s, and this process is ended")
    assert len(done.stderr.splitlines()) == 1


def test_a_process_that_ends_in_its_start_does_not_do_so_in_silence() -> None:
    done = start("import os\nos._exit(1)")
    assert done.returncode == 1 and done.stderr.startswith("this process ended while Ray started")


@pytest.mark.parametrize("error", ["SystemExit(3)", "KeyboardInterrupt"])
def test_an_error_in_the_start_goes_on(error: str) -> None:
    done = start(f"raise {error}")
    assert done.returncode in (3, -signal.SIGINT) and "ended while Ray" not in done.stderr


@pytest.mark.slow
def test_a_job_whose_node_is_killed_while_it_is_asked_for_a_place_says_so() -> None:
    """Ray ends the process there, and has been told to say nothing but errors of the job."""
    done = run("""
        import os, signal, subprocess
        import ray._private.worker as worker
        from deepfake.config import RayConfig
        from deepfake.execution import session
        from deepfake.execution.ray_compat.embedded import _list_processes

        def connect_to_a_node_that_dies(*arguments, connect=worker.connect, **named):
            for pid, name, parent, _ in _list_processes():
                if (name, parent) == ("raylet", os.getpid()):
                    os.kill(pid, signal.SIGSTOP)
                    subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {pid}"])
            connect(*arguments, **named)

        worker.connect = connect_to_a_node_that_dies
        with session.open_session(RayConfig(start="always", num_cpus=1)):
            print("started")
    """)
    assert done.returncode != 0 and "started" not in done.stdout.splitlines()
    assert "this process ended while Ray started" in done.stderr
