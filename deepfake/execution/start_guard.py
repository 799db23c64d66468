"""Ray's start, guarded: no job waits for it without end, and none ends in it without a word.

A thread could not do that. Ray's core holds the interpreter's lock while it asks its node for a place, with
no limit of time: where the machine's clock jumps back by a day then, the node (Ray 2.60.0) waits for a day.
And where the node dies then, the core ends this process, without a word.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

START_SECONDS = 300.0  # many times what it takes on an overloaded machine

_HANGS = (
    "Ray has not started in {seconds:g} s, and this process is ended; the machine may be overloaded, or its "
    "clock may have jumped: run the same command again"
)
_ENDED = (
    "this process ended while Ray started; Ray's processes may have been killed, as where memory is short: "
    "run the same command again, or lower --ray.num_cpus and --ray.object_store_mb"
)
# Hears one byte when the start is over, and the end of the file where the process has ended.
_GUARD = """
import os, select, signal, sys
job, seconds, hangs, ended = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4]
if not select.select([0], [], [], seconds)[0]:
    sys.stderr.write(hangs + "\\n")
    os.kill(job, signal.SIGKILL)
elif not os.read(0, 1):
    sys.stderr.write(ended + "\\n")
"""


@contextmanager
def guard_start(seconds: float = START_SECONDS) -> Iterator[None]:
    """Kill this process, with a sentence, where the block takes longer; say so where it ends within.

    The sentence goes to what is the error output when the block begins. Ray's processes end with this one.
    """
    command = [sys.executable, "-I", "-S", "-c", _GUARD, str(os.getpid()), str(seconds)]
    command += [_HANGS.format(seconds=seconds), _ENDED]
    # In a session of its own: Ctrl-C is for the job, which says itself that it was stopped.
    guard = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    with guard:
        assert guard.stdin is not None
        try:
            yield
        finally:
            with suppress(OSError):  # somebody has ended it
                os.write(guard.stdin.fileno(), b"1")
