"""Small published detectors, Meso-4 and MesoInception-4, to measure beside our own.

Written from the paper's description (Afchar, Nozick, Yamagishi and Echizen, MesoNet: a Compact Facial Video
Forgery Detection Network, 2018); the published weights are read from the user's own copy, and fit or are
refused. What has no weights, such as the slope of the last rectifier, follows the paper. They take 256x256
RGB. The authors' own take it in [0, 1] and answer 1 for real; those that others trained on FaceForensics++
(files ``meso_*``, all MesoInception-4) in [-1, 1], and answer 1 for fake.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from deepfake.config import ForeignConfig
from deepfake.model import foreign, keras_runtime
from deepfake.model.bundle import Bundle, serialise_network

SIDE = 256

Scorer = Callable[[np.ndarray], np.ndarray]


def load(path: Path, share: float = 1.0) -> Scorer:
    """A function of crops ``(n, 224, 224, 3) uint8 RGB`` to scores ``(n,) float64``, 1 for fake.

    It is shown the middle of each crop, of this share of its sides.
    """
    by_others = path.name.startswith("meso_")
    told = ForeignConfig(values="signed" if by_others else "unit", fake=int(by_others), share=share)
    network = foreign.wrap_keras(serialise_network(build(path)), str(path), told, 224, megabytes=64)
    return Bundle.around(network, "", str(path)).score


def build(path: Path) -> Any:
    """The ``keras.Model`` with a file's weights, as its makers run it.

    Which network it is follows from the file's name; raises ``ValueError`` where the weights do not fit it.
    """
    name = path.name.lower()
    network = _inception() if "inception" in name or name.startswith("meso_") else _meso4()
    _set_weights(network, path)
    return network


def _meso4() -> Any:
    """Four convolutions with pooling, 16 features of the last map, one answer."""
    keras = keras_runtime.start_keras()
    layers = keras.layers
    x = image = keras.Input((SIDE, SIDE, 3))
    for channels, kernel, pool in ((8, 3, 2), (8, 5, 2), (16, 5, 2), (16, 5, 4)):
        x = _normalised(layers, layers.Conv2D(channels, kernel, padding="same", activation="relu")(x), pool)
    return keras.Model(image, _head(layers, x))


def _inception() -> Any:
    """The first two convolutions replaced by modules of four branches, three of them dilated."""
    keras = keras_runtime.start_keras()
    layers = keras.layers
    image = keras.Input((SIDE, SIDE, 3))
    x = _normalised(layers, _module(layers, image, (1, 4, 4, 2)), 2)
    x = _normalised(layers, _module(layers, x, (2, 4, 4, 2)), 2)
    for pool in (2, 4):
        x = _normalised(layers, layers.Conv2D(16, 5, padding="same", activation="relu")(x), pool)
    return keras.Model(image, _head(layers, x))


def _module(layers: Any, x: Any, channels: tuple[int, int, int, int]) -> Any:
    def convolution(size: int, count: int, dilation: int = 1) -> Any:
        return layers.Conv2D(count, size, dilation_rate=dilation, padding="same", activation="relu")

    plain, once, twice, thrice = channels
    branches = [convolution(1, plain)(x)]
    for count, dilation in ((once, 1), (twice, 2), (thrice, 3)):
        reduced = convolution(1, count)(x)  # made first: the weights go by the order of making
        branches.append(convolution(3, count, dilation)(reduced))
    return layers.Concatenate()(branches)


def _normalised(layers: Any, x: Any, pool: int) -> Any:
    return layers.MaxPooling2D(pool, padding="same")(layers.BatchNormalization()(x))


def _head(layers: Any, x: Any) -> Any:
    x = layers.Dropout(0.5)(layers.Flatten()(x))
    x = layers.LeakyReLU(negative_slope=0.1)(layers.Dense(16)(x))
    return layers.Dense(1, activation="sigmoid")(layers.Dropout(0.5)(x))


def _set_weights(network: Any, path: Path) -> None:
    """Weights by the order in which each kind of layer was made, which Keras 2 counted in its names."""
    stored: dict[str, list[tuple[int, list[np.ndarray]]]] = {}
    with h5py.File(path) as file:
        root = file.get("model_weights", file)
        for name in map(_text, root.attrs["layer_names"]):
            weights = [np.asarray(root[name][_text(part)]) for part in root[name].attrs["weight_names"]]
            if weights:
                kind, _, number = name.rpartition("_")
                stored.setdefault(kind, []).append((int(number), weights))
    for kind, name in (
        ("conv2d", "Conv2D"),
        ("batch_normalization", "BatchNormalization"),
        ("dense", "Dense"),
    ):
        ours = [layer for layer in _as_made(network) if type(layer).__name__ == name]
        theirs = [weights for _, weights in sorted(stored.get(kind, []), key=lambda pair: pair[0])]
        if len(ours) != len(theirs):
            raise ValueError(f"{path}: {len(theirs)} layers of {name}, the network has {len(ours)}")
        for layer, weights in zip(ours, theirs, strict=True):
            shapes = [tuple(w.shape) for w in layer.get_weights()]
            if shapes != [w.shape for w in weights]:
                raise ValueError(f"{path}: {layer.name} has {shapes}, the file {[w.shape for w in weights]}")
            layer.set_weights(weights)


def _as_made(network: Any) -> list[Any]:
    """Layers by the number in their own names: Keras lists branches in another order."""

    def number(layer: Any) -> int:
        last = layer.name.rpartition("_")[2]
        return int(last) if last.isdigit() else 0

    return sorted(network.layers, key=number)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
