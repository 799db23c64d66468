"""The memory of a training over its epochs; asserts nothing.

python -m tests.benchmarks.training_memory [--epochs 20] [--crops 256] [-- more words of jobs/train.py]

The crops are noise, 150 kB each as files.

While the job runs, the proportional set size of all its processes is added up again and again. Printed are
the peaks of the first and of the second half of the epochs (the first, which traces, aside), their ratio, and
a few looks, as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests import running
from tests.benchmarks.memory import mib
from tests.stored_crops import encoded, write_crops

SECONDS = 1.0  # between two looks
EPOCH = re.compile(r"epoch (\d+)/\d+  loss ")


def main() -> int:
    """Run the job and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--crops", type=int, default=256)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    if options.epochs < 3:
        parser.error("--epochs must be 3 or more: the first is left aside, and the rest has two halves")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        half = options.crops // 8
        splits = (("train", 0, 4, half), ("train", 1, 4, half), ("val", 0, 1, 8), ("val", 1, 1, 8))
        noise = encoded(np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8))
        crops = write_crops(folder / "crops", splits, rows_per_file=1024, row_group_rows=64, crop=noise)
        words = running.flags({
            "input": crops, "output": folder / "model", "model.weights": "none",
            "training.epochs": options.epochs,
            "training.head_epochs": 0, "training.freeze_batch_norm": "false", "training.fine_tune": "none",
            "ray.num_cpus": 2, "ray.object_store_mb": 128,
        })  # fmt: skip
        began, looks = time.monotonic(), []
        with (folder / "log").open("wb") as log:
            job = subprocess.Popen(
                running.command("train", *words, *options.words),
                env=running.environment(), stdout=log, stderr=log,
            )  # fmt: skip
            while job.poll() is None:
                found = EPOCH.findall((folder / "log").read_text(errors="replace"))
                looks.append((time.monotonic() - began, int(found[-1]) if found else 0, mib(job.pid)))
                time.sleep(SECONDS)
        if job.returncode:
            sys.stderr.write((folder / "log").read_text(errors="replace"))
            return 1
    steady = [(epoch, size) for _, epoch, size in looks if 1 <= epoch < options.epochs]
    first = max(size for epoch, size in steady if epoch < options.epochs / 2)
    second = max(size for epoch, size in steady if epoch >= options.epochs / 2)
    sys.stdout.write(json.dumps({
        "crops": 8 * half, "epochs": options.epochs, "seconds": round(looks[-1][0]),
        "peak_first_half_mib": round(first), "peak_second_half_mib": round(second),
        "second_over_first": round(second / first, 3),
        "looks": [
            {"seconds": round(seconds), "epoch": epoch, "mib": round(size)}
            for seconds, epoch, size in looks[:: max(1, len(looks) // 12)]
        ],
    }) + "\n")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
