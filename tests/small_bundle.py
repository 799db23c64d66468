"""Bundles of any network, and of one that is small and whose reasons are known."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.model import keras_runtime
from deepfake.model.bundle import MODEL_FILE, Bundle, BundleInfo, serialise_network, write_bundle
from deepfake.model.network import (
    INPUT_LAYER,
    INPUT_SIZE,
    POOL_LAYER,
    SCORE_LAYER,
    build_network,
    copy_for_inference,
)
from tests.small_network import make_small_model, small_network


def save_bundle(uri: str, storage: Storage, network: Any, **info: Any) -> BundleInfo:
    """Write a network and its contract; ``info`` are the keys of ``BundleInfo`` besides the hashes."""
    content = serialise_network(network)
    storage.write_bytes(join(uri, MODEL_FILE), content)
    return write_bundle(uri, storage, BundleInfo(model_sha256=hashlib.sha256(content).hexdigest(), **info))


def save_untrained(uri: str, seed: int = 3, **info: Any) -> BundleInfo:
    """Write a bundle with random weights: its scores mean nothing, but they are scores."""
    network = small_network(keras_runtime.start_keras(), seed)
    info = {"threshold": 0.5, "threshold_rule": "none", **info}
    return save_bundle(uri, Storage(), network, **info)


def save_small(uri: str, **info: Any) -> BundleInfo:
    """Write a bundle as training makes it of ``make_small_model``."""
    network = copy_for_inference(build_network(make_small_model()))
    return save_bundle(uri, Storage(), network, **{"threshold": 0.5, "threshold_rule": "none", **info})


def red_is_fake(folder: str, batch_size: int = 32, **info: Any) -> Bundle:
    """It calls a crop fake for its red places and real for its blue ones.

    So steeply that the sigmoid is saturated, as it is where a network is sure.
    """
    keras = keras_runtime.start_keras()
    layers = keras.layers
    crop = keras.Input((INPUT_SIZE, INPUT_SIZE, 3), dtype="uint8", name=INPUT_LAYER)
    x = layers.Rescaling(1 / 255, name="scale")(crop)  # all names are given: one network, exported once
    x = layers.AveragePooling2D(32, name="blocks")(x)
    x = layers.Conv2D(2, 1, activation="relu", name="red_and_blue")(x)
    x = layers.GlobalAveragePooling2D(name=POOL_LAYER)(x)
    score = layers.Dense(1, activation="sigmoid", name=SCORE_LAYER)(x)
    network = keras.Model(crop, score, name="red_is_fake")
    more_red_than_blue = np.array([[1.0, -1.0], [0.0, 0.0], [-1.0, 1.0]])[None, None]
    network.get_layer("red_and_blue").set_weights([more_red_than_blue, np.zeros(2)])
    network.get_layer(SCORE_LAYER).set_weights([np.array([[9000.0], [-9000.0]]), np.zeros(1)])
    save_bundle(folder, Storage(), network, threshold=0.5, **info)
    return Bundle.load(folder, batch_size=batch_size)
