"""A small network with the parts that training looks for, and batches for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepfake.model.network import INPUT_LAYER, INPUT_SIZE, POOL_LAYER


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
