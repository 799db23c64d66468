"""How well the demo's detector tells fakes, and how long the demo takes, seed by seed; asserts nothing.

python -m tests.benchmarks.demo [--seeds 5] [the demo's other options]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.running import command


def main() -> None:
    """One line a seed, then the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    options, rest = parser.parse_known_args()
    found = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            job = command("demo", "--output", folder, "--seed", seed, *rest)
            subprocess.run(job, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            seconds = time.monotonic() - began
            summary = json.loads(Path(folder, "evaluation", "_summary.json").read_text())
        found.append((summary["video_auc"], seconds))
        shown = f"{summary['real_videos']} real and {summary['fake_videos']} fake videos of the test person"
        numbers = ", ".join(
            f"{name.replace('_', ' ')} {summary[name]:.3f}"
            for name in ("video_auc", "frame_auc", "video_auc_without_looking")
        )
        sys.stdout.write(f"seed {seed}: {seconds:.0f} s; {shown}: {numbers}\n")
        sys.stdout.flush()
    auc, seconds = (statistics.median(values) for values in zip(*found, strict=True))
    sys.stdout.write(
        f"median: {seconds:.0f} s, video AUC {auc:.3f}; worst {min(auc for auc, _ in found):.3f}\n"
    )


if __name__ == "__main__":
    main()
