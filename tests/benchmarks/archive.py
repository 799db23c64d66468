"""An archive of many names of a few clips through the score job; says seconds and memory, asserts nothing.

python -m tests.benchmarks.archive --input CLIPS --bundle BUNDLE [--names 100000] [-- words of jobs/score.py]

First the clips themselves, twice (the first job with a bundle exports its network, which takes TensorFlow):
what a job needs that has next to nothing to hold. Then every clip under as many names, with dedupe on: each
name's bytes are hashed, each content is scored once, and every name gets its row. In turn: the plan
(``--dry-run``), the job until it is killed after its first finished unit, the same command again to the end,
and the same once more, with nothing left to do. Of each the seconds and the highest proportional set size of
all its processes, and of the job's own process alone. Then the index page in headless Chromium.
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

SECONDS = 0.5  # between two looks


def run(name: str, command: list[str], folder: Path, enough: Callable[[], bool] | None = None) -> None:
    """Run a job to its end, or kill it once it has done ``enough``; say what it took."""
    environment = running.environment({"RAY_TMPDIR": str(folder / "ray")})
    began, peak, own = time.monotonic(), 0.0, 0.0
    with (folder / "log").open("wb") as log:
        job = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        while job.poll() is None:
            peak, own = max(peak, mib(job.pid)), max(own, mib(job.pid, alone=True))
            if enough is not None and enough():
                job.kill()
            time.sleep(SECONDS)
    say(
        f"{name:<20} {time.monotonic() - began:7.1f} s, status {job.returncode:3}, "
        f"peak of all processes {peak:5.0f} MiB, of the job's own {own:4.0f} MiB"
    )
    if job.returncode and enough is None:
        sys.exit((folder / "log").read_text(errors="replace"))


def score(options: argparse.Namespace, source: Path, output: Path) -> list[str]:
    """The job's command line."""
    words = ("--input", source, "--output", output, "--bundle", options.bundle, *options.words)
    return running.command("score", *words)


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
        say(f"{names:,} names of {clips} clips, {os.cpu_count()} CPUs")
        for number, name in enumerate(("few, first", "few, again")):
            run(name, score(options, options.input, folder / f"few{number}"), folder)
        output = folder / "out"
        command = score(options, folder / "in", output)
        run("planned", [*command, "--dry-run"], folder)
        run("killed", command, folder, enough=lambda: finished(output) > 0)
        run("resumed", command, folder)
        run("again", command, folder)
        measure(output / "report.html")


if __name__ == "__main__":
    main()
