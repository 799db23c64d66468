"""Images a second on a GPU: a bare loop, and the same steps fed by the training job's input.

python -m tests.benchmarks.gpu_training CROPS [--batch 32 256] [--tasks 8 15]

The network is Keras on JAX, so that this runs where there is a GPU and no TensorFlow. A step learns
everything but BatchNorm, as ``recipe:honest`` does, and its scores are fetched before the next,
as ``deepfake.training.trainer`` does for the epoch's metrics. Measured in turn:

- device: the same crops again and again, already on the GPU; nothing is fetched: what the card can do
- bare: other crops each step, from an array in memory
- job, N: crops as ``training.data.loader`` streams them for jobs/train.py: read from Parquet, decoded and
  augmented by at most N tasks at once
- input, N: the same stream, and no network
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.config import AugmentConfig, ModelConfig, RayConfig
from deepfake.crops import dataset
from deepfake.execution import session
from deepfake.io.storage import Storage
from deepfake.model import keras_runtime
from deepfake.model.network import build_network, set_trainable
from deepfake.outcome import get_clock
from deepfake.training.data import loader
from deepfake.training.resources import WorkerResources
from tests.training.data.plans import plan_epoch

Step = Callable[[np.ndarray, np.ndarray], Any]  # crops, labels: scores that are still being computed


def say(line: str) -> None:
    """One line at once, so that a slow step is seen."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def keras_on_jax() -> Any:
    """Keras, for ``deepfake.model.network`` too, which would start it on TensorFlow."""
    os.environ["KERAS_BACKEND"] = "jax"
    keras = importlib.import_module("keras")
    keras_runtime.start_keras = lambda *_, **__: keras
    return keras


def training_step(keras: Any, precision: str) -> Step:
    """Forward, backward and Adam, compiled once for each batch size."""
    jax = importlib.import_module("jax")
    keras.config.set_dtype_policy(precision)
    network = build_network(ModelConfig(weights="none"))
    set_trainable(network, "all", freeze_batch_norm=True)
    optimizer = keras.optimizers.Adam(3e-4)
    optimizer.build(network.trainable_variables)
    cross_entropy = keras.losses.BinaryCrossentropy()

    def loss(learning: Any, fixed: Any, crops: Any, labels: Any) -> Any:
        scores, fixed, penalties = network.stateless_call(
            learning, fixed, crops, training=True, return_losses=True
        )
        return cross_entropy(labels[:, None], scores) + sum(penalties), (fixed, scores[:, 0])

    gradients_of = jax.value_and_grad(loss, has_aux=True)

    def step(state: Any, crops: Any, labels: Any) -> Any:
        learning, fixed, own = state
        (_, (fixed, scores)), gradients = gradients_of(learning, fixed, crops, labels)
        learning, own = optimizer.stateless_apply(own, gradients, learning)
        return (learning, fixed, own), scores

    compiled = jax.jit(step, donate_argnums=0)
    state = tuple(
        [variable.value for variable in variables]
        for variables in (network.trainable_variables, network.non_trainable_variables, optimizer.variables)
    )

    def run(crops: np.ndarray, labels: np.ndarray) -> Any:
        nonlocal state
        state, scores = compiled(state, crops, labels)
        return scores

    return run


def on_device(step: Step, crops: np.ndarray, labels: np.ndarray, steps: int) -> float:
    """Seconds of so many steps over crops that lie on the GPU."""
    jax = importlib.import_module("jax")
    crops, labels = jax.device_put(crops), jax.device_put(labels)
    np.asarray(step(crops, labels))
    started = time.monotonic()
    for _ in range(steps):
        scores = step(crops, labels)
    np.asarray(scores)
    return time.monotonic() - started


def bare(step: Step, crops: np.ndarray, labels: np.ndarray, batch: int) -> float:
    """Seconds of one pass over arrays in memory."""
    started = time.monotonic()
    for start in range(0, len(crops) - batch + 1, batch):
        np.asarray(step(crops[start : start + batch], labels[start : start + batch]))
    return time.monotonic() - started


@dataclass(frozen=True)
class Epoch:
    """One epoch of the job's input."""

    full: Iterator[loader.Batch]  # without a last, smaller one, which would be compiled anew
    labels: np.ndarray  # float32, by position
    stream: loader.BatchStream


def epochs(uri: str, batch: int, tasks: int) -> Iterator[Epoch]:
    """Epoch after epoch of the job's input, each other pixels."""
    storage = Storage()
    crops = dataset.open_crops(uri, storage)
    rows = dataset.select_rows(crops, "train")
    source = loader.Source(crops.files, rows, storage, AugmentConfig())
    workers = loader.LoaderWorkers(WorkerResources(tasks, 1))
    for epoch in range(1_000):
        plan = plan_epoch(rows, "none", batch, 16, 0, epoch)
        stream = loader.BatchStream(source, plan, plan.cut_share(0, 1), epoch, workers)
        full = (found for found in stream if len(found.crops) == batch)
        yield Epoch(full, plan.label.astype(np.float32), stream)


def in_memory(epoch: Epoch, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Crops and labels of an epoch, at most so many."""
    crops, labels = [], []
    for batch in epoch.full:
        crops.append(batch.inputs)
        labels.append(epoch.labels[batch.positions])
        if sum(map(len, crops)) >= most:
            break
    return np.concatenate(crops), np.concatenate(labels)


def streamed(step: Step | None, epoch: Epoch) -> tuple[float, float]:
    """Images a second of an epoch, and the share of it that was spent waiting for crops."""
    count, started, waited = 0, time.monotonic(), get_clock().read("input")
    for batch in epoch.full:
        if step is not None:
            np.asarray(step(batch.inputs, epoch.labels[batch.positions]))
        count += len(batch.inputs)
    seconds = time.monotonic() - started
    return count / seconds, (get_clock().read("input") - waited) / seconds


def measured(step: Step, uri: str, batch: int, tasks: Sequence[int], rounds: int) -> dict[str, list[Any]]:
    """Images a second, and input waits, of each round, by name."""
    streams = {number: epochs(uri, batch, number) for number in tasks}
    crops, labels = in_memory(next(streams[tasks[-1]]), 2048)
    steps = len(crops) // batch
    started = time.monotonic()
    np.asarray(step(crops[:batch], labels[:batch]))
    say(f"batch {batch}: compiled in {time.monotonic() - started:.0f} s")
    found: dict[str, list[Any]] = {}
    for number in range(rounds + 1):
        one = {
            "device": (steps * batch / on_device(step, crops[:batch], labels[:batch], steps), 0.0),
            "bare": (steps * batch / bare(step, crops, labels, batch), 0.0),
        }
        for count, stream in streams.items():
            one[f"job, {count}"] = streamed(step, next(stream))
            one[f"input, {count}"] = streamed(None, next(stream))
        say("  " + "; ".join(f"{name}: {rate:.0f}" for name, (rate, _) in one.items()))
        if number:  # the first warms up: Ray starts its workers
            for name, value in one.items():
                found.setdefault(name, []).append(value)
    return found


def main() -> None:
    """Measure, print, and leave the numbers as JSON on the last line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("crops", type=lambda path: str(Path(path).resolve()))
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 256])
    parser.add_argument("--tasks", type=int, nargs="+", default=[8, max(2, (os.cpu_count() or 1) - 1)])
    parser.add_argument("--precision", nargs="+", default=["mixed_bfloat16"])
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    keras = keras_on_jax()
    jax = importlib.import_module("jax")
    answers = {}
    with session.open_session(RayConfig()):
        say(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, JAX {jax.__version__}")
        for precision in chosen.precision:
            step = training_step(keras, precision)
            for batch in chosen.batch:
                found = measured(step, chosen.crops, batch, chosen.tasks, chosen.rounds)
                middle = statistics.median(rate for rate, _ in found["bare"])
                say(f"{precision}, batch {batch}: medians of {chosen.rounds}")
                for name, values in found.items():
                    rate = statistics.median(rate for rate, _ in values)
                    wait = statistics.median(wait for _, wait in values)
                    said = f", input wait {wait:.1%}" if "," in name else ""
                    say(f"  {name:10} {rate:7.0f} images a second, {rate / middle:.2f} of bare{said}")
                answers[f"{precision}, {batch}"] = found
    say(json.dumps(answers))


if __name__ == "__main__":
    main()
