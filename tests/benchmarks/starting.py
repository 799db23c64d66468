"""What a job that has Ray's workers costs beside its work, here and in other checkouts; asserts nothing.

python -m tests.benchmarks.starting [--against CHECKOUT ...] [--rounds 7]

One clip is preprocessed by a worker, ``--ray.start always``, and in the job's own process, ``never``; what
the first takes more is its fixed cost. Checkouts take turns, so that all have the same machine; each round
compares their fixed costs with ours. Seconds of processors are those of all processes, also of those that
outlive the job (perf stat).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.clips import write_clip
from tests.running import ROOT, environment

WAYS = ("always", "never")


def run(checkout: Path, start: str, archive: Path, output: Path) -> tuple[float, float]:
    """Seconds by the clock and of processors that a whole job takes."""
    job = [
        sys.executable, str(checkout / "jobs/preprocess.py"), "--input", str(archive),
        "--output", str(output), "--detector.name", "haar", "--ray.start", start,
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(
        ["perf", "stat", "-x,", "-e", "task-clock", *job],
        env=environment({"PYTHONPATH": str(checkout)}), cwd=checkout,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    clock = time.monotonic() - began
    (line,) = [line for line in done.stderr.splitlines() if ",task-clock" in line]
    return clock, float(line.split(",")[0]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--against", type=Path, nargs="*", default=[], help="other checkouts of this project")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    checkouts = [ROOT, *(other.resolve() for other in options.against)]
    taken: dict[tuple[Path, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "archive")
        archive.mkdir()
        write_clip(archive / "clip.mp4", frames=300)
        for number in range(options.rounds):
            for checkout in checkouts[:: 1 if number % 2 else -1]:
                for way in WAYS:
                    output = Path(folder, f"{number}-{checkouts.index(checkout)}-{way}")
                    found = run(checkout, way, archive, output)
                    taken.setdefault((checkout, way), []).append(found)
                    print(f"{checkout} {way}: {found[0]:.2f} {found[1]:.2f}", file=sys.stderr, flush=True)
    for unit, which in (("seconds by the clock", 0), ("seconds of processors", 1)):
        ours: list[float] = []
        for checkout in checkouts:
            always, never = ([one[which] for one in taken[checkout, way]] for way in WAYS)
            fixed = [a - b for a, b in zip(always, never, strict=True)]
            ours = ours or fixed
            ratios = sorted(mine / other for mine, other in zip(ours, fixed, strict=True))
            words = [
                f"{way} {statistics.median(found):.2f}"
                for way, found in zip(WAYS, (always, never), strict=True)
            ]
            print(
                f"{checkout}: {unit}: {', '.join(words)}, fixed cost {statistics.median(fixed):.2f} (medians)"
            )
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            print(f"  our fixed cost is {spread} of it")


if __name__ == "__main__":
    main()
