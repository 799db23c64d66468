"""Crops a second of a bundle's network in each format of ``export``, on all cores of this machine, in turn.

python -m tests.benchmarks.exports BUNDLE [--seconds 3] [--runs 3]

Prints the table of docs/export.md: one crop at a time, as from a camera, and 32 at once.
Asserts nothing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from deepfake.execution.process import count_cpus
from deepfake.model import export, inference
from deepfake.model.bundle import Bundle

BATCHES = (1, 32)


def measure(run: export.Run, crops: np.ndarray, seconds: float) -> float:
    """Crops a second, over so many seconds."""
    run(crops)  # what is made for a new shape is no crop's cost
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        run(crops)
        calls += 1
    return calls * len(crops) / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    crops = np.resize(inference.make_probes(), (max(BATCHES), *inference.make_probes().shape[1:]))
    with tempfile.TemporaryDirectory() as folder:
        runs = {"keras": bundle.score}
        for name, form in export.FORMATS.items():
            (place := Path(folder, name)).mkdir()
            runs[name] = form.start(export.export_network(bundle, name, place))
        found: dict[tuple[str, int], list[float]] = {}
        for _ in range(arguments.runs):
            for name, run in runs.items():
                for batch in BATCHES:
                    rate = measure(run, crops[:batch], arguments.seconds)
                    found.setdefault((name, batch), []).append(rate)
    print(f"{arguments.bundle}, {count_cpus()} cores, median of {arguments.runs}")
    print("| format | crops a second, one at a time | 32 at once |\n|---|---|---|")
    for name in runs:
        rates = [f"{statistics.median(found[name, batch]):.1f}" for batch in BATCHES]
        print(f"| {name} | {' | '.join(rates)} |")


if __name__ == "__main__":
    main()
