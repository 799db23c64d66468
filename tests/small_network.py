"""Networks for tests that are not about the default one, which takes 14 s of a core to begin a training with.

``make_small_model``, which takes 1, where a configuration says it; ``small_network``, made in a moment,
where a network is handed over; and batches for it.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.config import ModelConfig
from deepfake.model import keras_runtime, mesonet
from deepfake.model.network import INPUT_LAYER, INPUT_SIZE, POOL_LAYER
from tests.stored_crops import picture

_FOLDER = tempfile.TemporaryDirectory()  # goes when this process ends


@cache
def make_small_model() -> ModelConfig:
    """A backbone of random weights in which crops differ: its norms know what passes through them.

    As Keras draws a network's weights, crops have nearly the same features until the norms have learnt.
    """
    keras = keras_runtime.start_keras(seed=1)
    network = mesonet.Meso4(include_top=False, weights=None, input_shape=(INPUT_SIZE, INPUT_SIZE, 3))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    crops = np.stack([picture(number % 2, number) for number in range(8)]).astype(np.float32)
    network(crops / 127.5 - 1, training=True)
    path = Path(_FOLDER.name, "small.weights.h5")
    network.save_weights(path)
    return ModelConfig(backbone="meso4", weights=str(path))


def list_small_model_words() -> list[str]:
    """``make_small_model`` as words of a command line."""
    model = make_small_model()
    return ["--model.backbone", model.backbone, "--model.weights", model.weights]


def small_network(keras: Any, seed: int = 3, dropout: float = 0.3, depth: float = 0.3) -> Any:
    """Backbone, stochastic depth, pool and head, named as in ``deepfake.model.network``."""
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    x = crop = keras.Input((INPUT_SIZE, INPUT_SIZE, 3), dtype="uint8", name=INPUT_LAYER)
    x = layers.Rescaling(1 / 255, name="rescaling")(x)
    x = layers.Conv2D(3, 9, strides=16, use_bias=False, name="stem_conv")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.Dropout(depth, noise_shape=(None, 1, 1, 1), name="block1a_drop")(x)
    x = layers.GlobalAveragePooling2D(name=POOL_LAYER)(x)
    x = layers.BatchNormalization(name="head_norm")(x)
    x = layers.Dropout(dropout, name="head_dropout")(x)
    x = layers.Dense(1, activation="sigmoid", dtype="float32", name="head_score")(x)
    return keras.Model(crop, x)


def batch(number: int, size: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Crops ``(size, 224, 224, 3) uint8`` of four blocks of colour, and labels ``(size,)``."""
    random = np.random.default_rng(number)
    blocks = random.integers(0, 256, (size, 2, 2, 3), np.uint8)
    return blocks.repeat(INPUT_SIZE // 2, 1).repeat(INPUT_SIZE // 2, 2), random.integers(0, 2, size)
