"""Images a second of the training job beside plain Keras, and of two workers beside one, measured in turn.

python tests/benchmarks/training_throughput.py [--crops 128] [--rounds 2]

- fit: ``keras.Model.fit`` on arrays in memory, in a process of its own: the same network, batch, threads and
  memory that is kept
- plain: the same with TensorFlow's memory as it comes
- one: the job with one worker on all cores, its crops from Parquet through Ray
- core: the job with one worker, everything that belongs to it on one core
- two: the job with two workers of one thread each, everything on two cores

The first epoch traces and warms up and does not count; nor does the last of ``fit``, which traces again (its
first batch took 5.1 s where others took 1.8). Needs ``taskset`` and two idle cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import pyarrow.parquet as pq  # noqa: E402

from tests import running  # noqa: E402
from tests.stored_crops import write_crops  # noqa: E402

EPOCHS, BATCH = 3, 32
FIT = """
import json, sys, time
import numpy as np
from deepfake.model import keras_runtime
from deepfake.model.network import build_network, set_trainable
from deepfake.config import ModelConfig
keras = keras_runtime.start_keras(threads=2, seed=0, deterministic=True)
count, epochs, batch = map(int, sys.argv[1:])
network = build_network(ModelConfig(weights="none"))
set_trainable(network, "all", freeze_batch_norm=True)
network.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy")
random = np.random.default_rng(0)
crops = random.integers(0, 256, (count, 224, 224, 3), np.uint8)
labels = random.integers(0, 2, count).astype("float32")
marks = [time.monotonic()]
mark = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: marks.append(time.monotonic()))
network.fit(crops, labels, batch_size=batch, epochs=epochs, verbose=0, callbacks=[mark])
print(json.dumps(np.diff(marks).tolist()))
"""


def fit(crops: int, keep_memory: bool) -> list[float]:
    """Seconds of each counted epoch of ``keras.Model.fit``."""
    done = subprocess.run(
        [sys.executable, "-c", FIT, str(crops), str(EPOCHS + 1), str(BATCH)],
        cwd=ROOT, check=True, capture_output=True, text=True,
        env=os.environ | {"TF_CPU_ALLOCATOR_USE_BFC": str(keep_memory).lower()},
    )  # fmt: skip
    return [float(seconds) for seconds in json.loads(done.stdout.splitlines()[-1])[1:-1]]


def job(crops: Path, output: Path, cores: str, workers: int) -> tuple[list[float], list[float]]:
    """Seconds of each counted epoch of the job, and how many of them rank 0 waited for crops."""
    shutil.rmtree(output, ignore_errors=True)
    options = {
        "input": crops, "output": output, "model.weights": "none", "augment.enabled": "false",
        "training.epochs": EPOCHS, "training.head_epochs": 0, "training.global_batch": BATCH,
        "training.workers": workers, "training.balance": "none", "ray.num_cpus": cores.count(",") + 1,
        "ray.object_store_mb": 256,
    }  # fmt: skip
    done = subprocess.run(
        ["taskset", "-c", cores, *running.command("train", *running.flags(options))],
        env=running.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stdout)
    rows = pq.read_table(output / "history.parquet").to_pylist()[1:]
    return [row["train_seconds"] for row in rows], [row["input_wait_seconds"] for row in rows]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--crops", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", default=["plain", "fit", "one", "core", "two"])
    chosen = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in chosen.only}
    waits: dict[str, list[float]] = {name: [] for name in chosen.only}
    plans = {"one": ("0,1", 1), "core": ("0", 1), "two": ("0,1", 2)}
    with tempfile.TemporaryDirectory() as folder:
        half = chosen.crops // 8
        splits = (("train", 0, 4, half), ("train", 1, 4, half), ("val", 0, 1, 2), ("val", 1, 1, 2))
        crops = write_crops(Path(folder) / "crops", splits, row_group_rows=64)
        for _ in range(chosen.rounds):
            for name in chosen.only:
                if name in ("plain", "fit"):
                    seconds[name] += fit(8 * half, keep_memory=name == "fit")
                else:
                    took, waited = job(crops, Path(folder) / "model", *plans[name])
                    seconds[name] += took
                    waits[name] += waited
                say(f"{name} {[round(value, 2) for value in seconds[name]]}")
    rate = {name: 8 * half / statistics.median(values) for name, values in seconds.items()}
    for name, value in rate.items():
        wait = f", input wait {sum(waits[name]) / sum(seconds[name]):.1%}" if waits[name] else ""
        say(f"{name:5} {value:6.2f} images a second{wait}")
    for upper, lower in (("one", "fit"), ("one", "plain"), ("two", "core")):
        if upper in rate and lower in rate:
            say(f"{upper} / {lower}: {rate[upper] / rate[lower]:.3f}")


if __name__ == "__main__":
    main()
