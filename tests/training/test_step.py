"""One step over several workers is the step that one worker would take. Real processes, real collectives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

WORKER = """
import json, os, sys
rank, world, target = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
from deepfake import keras_runtime
keras = keras_runtime.start(threads=1, seed=rank)
from deepfake.collective import Collective
collective = Collective(rank, world)
import numpy as np
from deepfake.global_norm import with_global_norms
from deepfake.step import TrainStep
L = keras.layers
x = crop = keras.Input((224, 224, 3), dtype="uint8")
x = L.Rescaling(1 / 255)(x)
x = L.Conv2D(4, 9, strides=8, use_bias=False)(x)
x = L.ReLU()(L.BatchNormalization(momentum=0.9)(x))
x = L.BatchNormalization(momentum=0.9)(L.GlobalAveragePooling2D()(x))
x = L.Dense(1, activation="sigmoid", kernel_regularizer=keras.regularizers.L2(0.01))(x)
network = with_global_norms(keras.Model(crop, x), collective)
network.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")  # Adam would amplify the last bits
network.optimizer.build(network.trainable_variables)
network.set_weights(collective.from_first(network.get_weights()))
step = TrainStep(network, network.optimizer, collective)
random = np.random.default_rng(0)
scores = []
for size in (7, 6, 2, 1, 7, 5):  # with three workers, some slices of the small ones are empty
    # blocks of colour: pure noise has no variance left after pooling, and BatchNorm would amplify rounding
    crops = random.integers(0, 256, (size, 2, 2, 3), np.uint8).repeat(112, 1).repeat(112, 2)
    labels = random.integers(0, 2, size)
    mine = np.array_split(np.arange(size), world)[rank]
    whole = np.zeros(7, np.float32)
    whole[mine] = step(crops[mine], labels[mine])
    collective.prepare(7)
    scores.append(collective.sum(whole))
np.savez(target, np.stack(scores), *network.get_weights())
"""


def run(world: int, folder: Path) -> list[list[np.ndarray]]:
    """Scores of each step and the weights afterwards, for each of ``world`` worker processes."""
    ports = []
    for _ in range(world):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    processes = []
    for rank in range(world):
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
        environment = os.environ | ({"TF_CONFIG": config} if world > 1 else {})
        command = [sys.executable, "-c", WORKER, str(rank), str(world), str(folder / f"{world}-{rank}.npz")]
        processes.append(subprocess.Popen(command, env=environment))
    assert [process.wait(timeout=300) for process in processes] == [0] * world
    found = []
    for rank in range(world):
        with np.load(folder / f"{world}-{rank}.npz") as stored:
            found.append([stored[name] for name in stored.files])
    return found


@pytest.mark.slow
def test_two_and_three_workers_take_the_steps_of_one(tmp_path: Path) -> None:
    (alone,) = run(1, tmp_path)
    for world in (2, 3):
        workers = run(world, tmp_path)
        for other in workers[1:]:
            for mine, theirs in zip(workers[0], other, strict=True):
                np.testing.assert_array_equal(mine, theirs)  # the same bits on every worker
        for mine, theirs in zip(alone, workers[0], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)
