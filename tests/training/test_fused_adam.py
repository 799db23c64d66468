"""Adam in one operation a variable takes the steps of Keras' own, from the same state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deepfake.model import keras_runtime
from deepfake.training.fused_adam import make_adam
from tests.small_network import small_network


@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
def test_steps_and_state_are_those_of_keras(weight_decay: float) -> None:
    keras = keras_runtime.start_keras()
    options: dict[str, Any] = {"learning_rate": 0.01, "global_clipnorm": 1.0}
    plain = keras.optimizers.AdamW(weight_decay=0.02, **options) if weight_decay else None
    optimizers = [plain or keras.optimizers.Adam(**options), make_adam(keras, weight_decay, **options)]
    networks = [small_network(keras), small_network(keras)]
    random = np.random.default_rng(0)
    for optimizer, network in zip(optimizers, networks, strict=True):
        optimizer.exclude_from_weight_decay([v for v in network.trainable_variables if len(v.shape) < 2])
        optimizer.build(network.trainable_variables)
    for _ in range(5):
        gradients = [random.normal(size=v.shape).astype(np.float32) for v in networks[0].trainable_variables]
        for optimizer, network in zip(optimizers, networks, strict=True):
            given = [keras.ops.convert_to_tensor(gradient) for gradient in gradients]
            optimizer.apply(given, network.trainable_variables)
    states = [[*o.variables, *n.weights] for o, n in zip(optimizers, networks, strict=True)]
    for expected, found in zip(*states, strict=True):
        np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5, atol=2e-6)
