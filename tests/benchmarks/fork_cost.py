"""What forks cost a whole job: its processor time with a fork for each video, and with fewer.

``python -m tests.benchmarks.fork_cost FOLDER [ROUNDS] [VIDEOS_A_FORK ...]`` cuts the crops of the videos in
a folder again and again, by each number in turn (``rule``: as jobs do), and compares each round with its own
last number. Processor time of all processes, so that a machine with other work to do disturbs it less; yet
the rule goes by a clock on the wall, and there forks more often. OPTIONS of ``preprocess`` go in the
environment's ``PREPROCESS``.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile

NUMBERS = ("1", "rule", "100000")
RUN = """
import sys
from deepfake.config import PreprocessJobConfig
from deepfake.config.parse import load_config
from deepfake.crops import sandbox
from deepfake.pipelines.preprocess import pipeline

if sys.argv[1] != "rule":
    sandbox.has_served = lambda uri, files, seconds: files >= int(sys.argv[1])
close = sandbox.IsolatedExtractor.close
def end_and_close(self):
    self._end_fork()  # so that its time is counted
    close(self)
sandbox.IsolatedExtractor.close = end_and_close
pipeline.run(load_config(PreprocessJobConfig, sys.argv[2:]))
"""


def measure(number: str, folder: str) -> float:
    """Seconds of processor time."""
    with tempfile.TemporaryDirectory() as output:
        words = ["--input", folder, "--output", f"{output}/crops", "--ray.start", "never"]
        words += shlex.split(os.environ.get("PREPROCESS", ""))
        job = subprocess.Popen([sys.executable, "-c", RUN, number, *words], stderr=subprocess.DEVNULL)
        _, status, used = os.wait4(job.pid, 0)
        assert status == 0, "the job failed"
    return used.ru_utime + used.ru_stime


def main(folder: str, rounds: int, numbers: tuple[str, ...]) -> None:
    """A round has each number once, in an order that turns."""
    seconds: dict[str, list[float]] = {number: [] for number in numbers}
    for turn in range(rounds):
        for number in numbers if turn % 2 else numbers[::-1]:
            seconds[number].append(measure(number, folder))
        print(json.dumps({number: round(values[-1], 2) for number, values in seconds.items()}), flush=True)
    for number in numbers[:-1]:
        more = [100 * (a / b - 1) for a, b in zip(seconds[number], seconds[numbers[-1]], strict=True)]
        print(
            f"{number} a fork: {statistics.median(more):+.1f} % ({min(more):.1f} to {max(more):.1f}) of "
            f"{statistics.median(seconds[numbers[-1]]):.1f} s"
        )


if __name__ == "__main__":
    main(sys.argv[1], int((*sys.argv[2:], 7)[0]), tuple(sys.argv[3:]) or NUMBERS)
