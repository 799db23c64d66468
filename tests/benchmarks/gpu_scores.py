"""How far a bundle's scores on a GPU are from TensorFlow's on a CPU, by precision and batch size.

python -m tests.benchmarks.gpu_scores BUNDLE CROPS REFERENCE.npz

Where REFERENCE does not exist yet, it is made, with TensorFlow. Where it exists, it is compared with what
Keras on JAX gives on this machine's GPU. TF32 is the GPU's short cut for products of float32, which both JAX
and TensorFlow take unless told otherwise.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from deepfake import cropset
from deepfake.bundle import MODEL_FILE, Bundle
from deepfake.storage import Storage

BATCHES = (1, 32, 256)
PRECISIONS = {"float32": "highest", "TF32": "default"}  # as JAX calls them


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def read(uri: str, most: int) -> np.ndarray:
    """At most so many crops ``(n, 224, 224, 3) uint8`` of a folder."""
    storage = Storage()
    index = cropset.open_crops(uri, storage)
    found = []
    for place in index.table.select(["file", "row_group", "row"]).slice(0, most).to_pylist():
        file, group, row = place["file"], place["row_group"], place["row"]
        stored = cropset.read_stored(uri, index.files[file], {group: [row]}, storage)
        found.append(cropset.decode(stored[group, row].encoded))
    return np.stack(found)


def scorer(keras: Any, path: Path, precision: str) -> Any:
    """The bundle's network, compiled by JAX."""
    jax = importlib.import_module("jax")
    network = keras.models.load_model(path, compile=False, safe_mode=True)
    weights = (
        [v.value for v in network.trainable_variables],
        [v.value for v in network.non_trainable_variables],
    )

    def score(learnt: Any, fixed: Any, crops: Any) -> Any:
        with jax.default_matmul_precision(precision):
            return network.stateless_call(learnt, fixed, crops, training=False)[0][:, 0]

    compiled = jax.jit(score)
    return lambda crops: compiled(*weights, crops)


def main() -> None:
    """Make the reference, or compare with it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("crops")
    parser.add_argument("reference", type=Path)
    parser.add_argument("--most", type=int, default=512)
    chosen = parser.parse_args()
    crops = read(chosen.crops, chosen.most)
    if not chosen.reference.exists():
        scores = Bundle.load(str(chosen.bundle)).score(crops)
        np.savez(chosen.reference, scores=scores)
        say(f"{len(scores)} scores, {scores.min():.4f} to {scores.max():.4f}, mean {scores.mean():.4f}")
        return
    expected = np.load(chosen.reference)["scores"]
    os.environ["KERAS_BACKEND"] = "jax"
    keras, jax = importlib.import_module("keras"), importlib.import_module("jax")
    say(f"{jax.devices()[0].device_kind}, JAX {jax.__version__}, {len(crops)} crops")
    for name, precision in PRECISIONS.items():
        score = scorer(keras, chosen.bundle / MODEL_FILE, precision)
        for batch in BATCHES:
            whole = crops[: len(crops) // batch * batch]
            parts = [jax.device_put(part) for part in np.split(whole, len(whole) // batch)]
            found = np.concatenate([np.asarray(score(part)) for part in parts])
            started = time.monotonic()
            again = [score(part) for part in parts]
            np.asarray(again[-1])
            rate = len(whole) / (time.monotonic() - started)
            off = np.abs(found - expected[: len(whole)])
            say(f"{name:8} batch {batch:3}: off by {off.max():.1e} at most, {off.mean():.1e} in the mean; "
                f"{rate:6.0f} crops a second")  # fmt: skip


if __name__ == "__main__":
    main()
