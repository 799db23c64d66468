"""One step over several workers is the step that one worker would take. Real processes, real collectives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import running

WORKER = """
import json, sys
rank, world, folder = map(json.loads, sys.argv[1:])
from deepfake.model import keras_runtime
keras = keras_runtime.start_keras(threads=1, seed=rank)
from deepfake.training.distributed.collective import Collective
collective = Collective(rank, world)
import numpy as np
from deepfake.model.network import POOL_LAYER, list_trainable, list_weights, replace_layers
from deepfake.training.gradient_accumulation import AccumulatedStep
from deepfake.training.data.features import compute_features
from deepfake.training.data.loader import Batch
from deepfake.training.ema import WeightAverage
from deepfake.training.distributed.sync_batch_norm import choose_norms
from deepfake.training.step import InferenceStep, StepOptions, TrainStep
L = keras.layers

def learner(norm_learns, make, head=None, conv_learns=True, **loss):
    x = crop = keras.Input((224, 224, 3), dtype="uint8")
    x = L.Rescaling(1 / 255)(x)
    x = L.Conv2D(4, 9, strides=8, use_bias=False, name="conv", trainable=conv_learns)(x)
    x = L.ReLU()(L.BatchNormalization(momentum=0.9, trainable=norm_learns, name="norm")(x))
    bare = dict(scale=False, center=False, name="bare_norm")
    x = L.BatchNormalization(momentum=0.9, trainable=norm_learns, **bare)(x)
    x = L.GlobalAveragePooling2D(name=POOL_LAYER)(x)
    x = head(x) if head else L.BatchNormalization(momentum=0.9, name="head_norm")(x)
    x = L.Dense(1, activation="sigmoid", kernel_regularizer=keras.regularizers.L2(0.01), name="score")(x)
    plain = keras.Model(crop, x)
    network = replace_layers(plain, choose_norms(plain, collective, False))
    variables = list_trainable(network)
    # Adam would amplify the last bits
    network.compile(keras.optimizers.SGD(0.1, global_clipnorm=1.0), "binary_crossentropy")
    network.optimizer.build(variables)
    for weight, value in zip(network.weights, collective.copy_from_first(network.get_weights())):
        weight.assign(value)
    average = WeightAverage(variables, 0.9)
    options = StepOptions(loss={"label_smoothing": 0.1, **loss}, average=average)
    step = make(network, variables, network.optimizer, collective, options)
    random = np.random.default_rng(0)
    scores, losses = [], []
    for size in (7, 6, 2, 1, 7, 5):  # with three workers, some slices of the small ones are empty
        # blocks of colour: pure noise has no variance left after pooling, and BatchNorm amplifies rounding
        crops = random.integers(0, 256, (size, 2, 2, 3), np.uint8).repeat(112, 1).repeat(112, 2)
        labels = random.integers(0, 2, size)
        mine = np.array_split(np.arange(size), world)[rank]
        whole = np.zeros(7, np.float32)
        whole[mine] = step(crops[mine], labels[mine], mine)
        collective.prepare(7)
        scores.append(collective.sum(whole))
        losses.append(step.loss)
    weights = [np.asarray(weight) for weight in list_weights(network)]
    kept = [features(step)] if isinstance(step, FeatureStep) else []
    return [np.stack(scores), np.array(losses), *weights, *average.copy_state(), *kept]

def features(step):
    crops = np.random.default_rng(1).integers(0, 256, (5, 2, 2, 3), np.uint8).repeat(112, 1).repeat(112, 2)
    mine = np.array_split(np.arange(5), world)[rank]  # positions of rows in another order
    rows = np.array([3, 0, 4, 1, 2])
    return compute_features(step.extract, 4, [Batch(crops[mine], mine)], rows, collective)

def accumulated(network, variables, optimizer, collective, options):
    return AccumulatedStep(network, variables, optimizer, collective, 3, options)

class FeatureStep(TrainStep):
    def __init__(self, network, variables, optimizer, collective, options):
        pooled = network.get_layer(POOL_LAYER).output
        super().__init__(network, variables, optimizer, collective, options, pooled)
        self.extract = InferenceStep(network.inputs[0], pooled)

    def __call__(self, crops, labels, places):
        return super().__call__(self.extract(crops) if len(crops) else np.zeros((0, 4)), labels, places)

keras.utils.set_random_seed(7)
plain = learner(True, TrainStep)
keras.utils.set_random_seed(8)
frozen = learner(False, TrainStep if world == 1 else accumulated)
keras.utils.set_random_seed(8)
in_parts = learner(False, accumulated) if world == 1 else []
sphere = dict(head=L.UnitNormalization(), uniformity=0.5, alignment=0.3)
keras.utils.set_random_seed(9)
on_sphere = learner(False, TrainStep, **sphere)
keras.utils.set_random_seed(9)
sphere_in_parts = learner(False, accumulated, **sphere)
keras.utils.set_random_seed(16)
by_crops = learner(False, TrainStep, conv_learns=False) if world == 1 else []
keras.utils.set_random_seed(16)
by_features = learner(False, FeatureStep, conv_learns=False)
found = {
    "by_crops": by_crops, "by_features": by_features,
    "plain": plain, "frozen": frozen, "in_parts": in_parts,
    "on_sphere": on_sphere, "sphere_in_parts": sphere_in_parts,
}
named = {f"{kind}/{i:03}": array for kind, arrays in found.items() for i, array in enumerate(arrays)}
np.savez(f"{folder}/{world}-{rank}.npz", **named)
"""


Found = dict[str, list[np.ndarray]]


def run(world: int, folder: Path) -> list[Found]:
    """Scores and losses of each step, the weights and their average afterwards, for each worker process.

    ``plain``: BatchNorm over the workers in the whole network; ``frozen``: only after the pooling. There one
    worker takes whole batches, several take them in parts; ``in_parts`` is the one worker in parts.
    ``by_features``: the head learns from features; ``by_crops`` is the one worker that computes them anew.
    ``on_sphere``: features of unit length, with the losses of their pairs; ``sphere_in_parts``: in parts.
    """
    running.run_as_workers(WORKER, world, str(folder))
    found: list[Found] = []
    for rank in range(world):
        with np.load(folder / f"{world}-{rank}.npz") as stored:
            parts: Found = {}
            for name in stored.files:
                parts.setdefault(name.partition("/")[0], []).append(stored[name])
            found.append(parts)
    return found


@pytest.mark.slow
def test_two_and_three_workers_take_the_steps_of_one_in_parts_or_not(tmp_path: Path) -> None:
    (alone,) = run(1, tmp_path)
    for whole, in_parts in zip(alone["frozen"], alone["in_parts"], strict=True):
        np.testing.assert_allclose(whole, in_parts, rtol=1e-4, atol=1e-6)
    *learnt, features = alone["by_features"]
    assert features.shape == (5, 4) and features.std(axis=0).min() > 0
    for by_crops, by_features in zip(alone["by_crops"], learnt, strict=True):
        np.testing.assert_allclose(by_crops, by_features, atol=1e-6)
    for world in (2, 3):
        workers = run(world, tmp_path)
        for kind in ("on_sphere", "sphere_in_parts", "by_features"):
            for mine, theirs in zip(
                alone[kind.replace("sphere_in_parts", "on_sphere")], workers[0][kind], strict=True
            ):
                np.testing.assert_allclose(mine, theirs, atol=1e-5)
        for kind in ("plain", "frozen", "on_sphere"):
            for other in workers[1:]:
                for mine, theirs in zip(workers[0][kind], other[kind], strict=True):
                    np.testing.assert_array_equal(mine, theirs)  # the same bits on every worker
            for mine, theirs in zip(alone[kind], workers[0][kind], strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)
