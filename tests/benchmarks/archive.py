"""An archive of many names of a few clips through the score job; says seconds and memory, asserts nothing.

python -m tests.benchmarks.archive --input CLIPS --bundle BUNDLE [--names 100000] [-- words of jobs/score.py]

Every clip is linked under as many names, with dedupe on: each name's bytes are hashed, each content is scored
once, and every name gets its row. In turn: the plan (``--dry-run``), the job until it is killed after its
first finished unit, the same command again to the end, and the same once more, with nothing left to do. Of
each the seconds and the highest proportional set size of all its processes; of the runs that get to their
end, that of the first and of the second half of their time. Then the index page in headless Chromium.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from deepfake.catalog.media import is_footage
from tests import running
from tests.benchmarks.memory import finished, linked, mib
from tests.benchmarks.scores_page import measure, say

SECONDS = 1.0  # between two looks


def run(name: str, command: list[str], folder: Path, enough: Callable[[], bool] | None = None) -> None:
    """Run a job to its end, or kill it once it has done ``enough``; say what it took."""
    environment = running.environment({"RAY_TMPDIR": str(folder / "ray")})
    began, peaks = time.monotonic(), [0.0]
    with (folder / "log").open("wb") as log:
        job = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        while job.poll() is None:
            peaks.append(mib(job.pid))
            if enough is not None and enough():
                job.kill()
            time.sleep(SECONDS)
    middle = max(1, len(peaks) // 2)
    first, second = max(peaks[:middle]), max(peaks[middle:])
    say(
        f"{name:<20} {time.monotonic() - began:7.1f} s, status {job.returncode}, "
        f"peak of its first half {first:5.0f} MiB, of its second {second:5.0f} MiB"
    )
    if job.returncode and enough is None:
        sys.exit((folder / "log").read_text(errors="replace"))


def main() -> None:
    """Link the names, and do everything in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--names", type=int, default=100_000)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    clips = sum(is_footage(path.name) for path in options.input.rglob("*"))
    with tempfile.TemporaryDirectory(prefix="ar") as name:  # a short name: Ray's sockets lie in it
        folder = Path(name)
        (folder / "ray").mkdir()
        names = linked(options.input, folder / "in", -(-options.names // clips))
        output = folder / "out"
        say(f"{names:,} names of {clips} clips, {os.cpu_count()} CPUs")
        command = running.command(
            "score", "--input", folder / "in", "--output", output, "--bundle", options.bundle, *options.words
        )
        run("planned", [*command, "--dry-run"], folder)
        run("killed", command, folder, enough=lambda: finished(output) > 0)
        run("resumed", command, folder)
        run("again", command, folder)
        measure(output / "report.html")


if __name__ == "__main__":
    main()
