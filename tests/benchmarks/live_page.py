"""What the page that is there while a score job runs costs, in processor time; asserts nothing.

python -m tests.benchmarks.live_page BUNDLE ARCHIVE [--seconds 5] [--rounds 5]

The job with and without it, in turn: the processor seconds of each, with its children's, and the median of
the rounds' differences. Also the seconds that the page's own thread took, which no other program disturbs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from deepfake.config import ScoreJobConfig
from deepfake.crops import sandbox
from deepfake.pipelines.score import pipeline
from deepfake.pipelines.score.live_page import LivePage


def count_processor_seconds() -> float:
    """Of this process and the children that have ended."""
    return sum(os.times()[:4])


def score(arguments: argparse.Namespace, output: Path, seconds: float) -> float:
    """A job in this process; its processor seconds."""
    began = count_processor_seconds()
    values = {
        "input": arguments.archive, "bundle": arguments.bundle, "output": str(output), "max_failed": 1.0,
        "report": {"live_seconds": seconds, "pages": 0, "heat_maps": False}, "ray": {"start": "never"},
    }  # fmt: skip
    pipeline.run(ScoreJobConfig.model_validate(values))
    for extractor in list(made):
        extractor.close()  # its children's time counts when they have ended
    sandbox.keep_extractor.cache_clear()
    return count_processor_seconds() - began


made: list[sandbox.IsolatedExtractor] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("archive")
    parser.add_argument("--seconds", type=float, default=5, help="between two pages")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    spent = pages = 0.0
    write, start = LivePage.write, sandbox.IsolatedExtractor.start

    def write_and_count(page: LivePage) -> None:
        nonlocal spent, pages
        began = time.thread_time()
        write(page)
        spent, pages = spent + time.thread_time() - began, pages + 1

    def start_and_note(extractor: sandbox.IsolatedExtractor) -> None:
        made.append(extractor)
        start(extractor)

    LivePage.write, sandbox.IsolatedExtractor.start = write_and_count, start_and_note  # type: ignore[method-assign]
    without, with_page = [], []
    with tempfile.TemporaryDirectory() as name:
        score(arguments, Path(name, "first"), 0)  # imports and the network's export are no round's cost
        for number in range(arguments.rounds):
            without.append(score(arguments, Path(name, f"{number}-without"), 0))
            with_page.append(score(arguments, Path(name, f"{number}-with"), arguments.seconds))
            print(f"round {number}: {without[-1]:.2f} s without, {with_page[-1]:.2f} s with", flush=True)
    more = [100 * (b / a - 1) for a, b in zip(without, with_page, strict=True)]
    print(f"{statistics.median(more):+.1f} % (rounds: {', '.join(f'{one:+.1f}' for one in more)})")
    print(
        f"{pages:g} pages, {spent:.2f} s of their thread: {100 * spent / sum(with_page):.2f} % of these jobs"
    )


if __name__ == "__main__":
    main()
