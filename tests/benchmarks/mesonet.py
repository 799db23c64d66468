"""Small published detectors, Meso-4 and MesoInception-4, to measure beside our own.

python -m tests.benchmarks.mesonet MODELS CROPS [--limit 200] adopts every file ``*.h5`` below MODELS by the
job and says the largest difference of the bundle's scores, in Keras and in the runtime for CPUs, from what
the network itself says of the same crops (a folder that preprocess wrote). It asserts nothing.

Written from the paper's description (Afchar, Nozick, Yamagishi and Echizen, MesoNet: a Compact Facial Video
Forgery Detection Network, 2018); the published weights are read from the user's own copy, and fit or are
refused. What has no weights, such as the slope of the last rectifier, follows the paper. They take 256x256
RGB. The authors' own take it in [0, 1] and answer 1 for real; those that others trained on FaceForensics++
(files ``meso_*``, all MesoInception-4) in [-1, 1], and answer 1 for fake.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pyarrow.dataset

from deepfake.config import AdoptJobConfig, ForeignConfig
from deepfake.faces.encoding import decode_image
from deepfake.io.storage import Storage
from deepfake.model import foreign, inference, keras_runtime, mesonet
from deepfake.model.bundle import Bundle, serialise_network
from deepfake.pipelines.adopt import pipeline

SIDE = 256

Scorer = Callable[[np.ndarray], np.ndarray]


def load(path: Path, share: float = 1.0) -> Scorer:
    """A function of crops ``(n, 224, 224, 3) uint8 RGB`` to scores ``(n,) float64``, 1 for fake.

    It is shown the middle of each crop, of this share of its sides.
    """
    told = tell_foreign(path, share)
    network = foreign.wrap_keras(serialise_network(build(path)), str(path), told, 224, megabytes=64)
    return Bundle.around(network, "", str(path)).score


def tell_foreign(path: Path, share: float = 1.0) -> ForeignConfig:
    """What a file's makers say that it takes and gives."""
    by_others = path.name.startswith("meso_")
    return ForeignConfig(values="signed" if by_others else "unit", fake=int(by_others), share=share)


def compare_adopted(path: Path, crops: np.ndarray) -> tuple[float, float, float]:
    """``(spread, in Keras, on the CPU)``: largest differences of a file's bundle from its own network.

    ``spread`` is that of the network's answers, which tells whether the others say anything.
    """
    theirs, told = build(path), tell_foreign(path)
    seen = np.stack([cv2.resize(one.astype(np.float32), (SIDE, SIDE)) for one in crops]) / 255
    answers = theirs.predict(2 * seen - 1 if told.values == "signed" else seen, 32, verbose=0)[:, 0]
    expected = answers if told.fake else 1 - answers
    with tempfile.TemporaryDirectory() as folder:
        file, output = Path(folder, "detector.keras"), str(Path(folder, "bundle"))
        theirs.save(file)
        pipeline.run(AdoptJobConfig(input=str(file), output=output, foreign=told))
        bundle = Bundle.load(output)
        fast = inference.prepare_network(bundle, Storage(), "openvino").start_scorer()
        in_keras, on_cpu = (
            abs(scores - expected).max() for scores in (bundle.score(crops), fast.score(crops))
        )
    return float(np.ptp(expected)), float(in_keras), float(on_cpu)


def main() -> None:
    """One line a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path)
    parser.add_argument("crops")
    parser.add_argument("--limit", type=int, default=200)
    options = parser.parse_args()
    rows = pyarrow.dataset.dataset(options.crops).head(options.limit, columns=["crop"])
    crops = np.stack([decode_image(data) for data in rows["crop"].to_pylist()])
    sys.stdout.write(f"{len(crops)} crops; spread of scores, largest difference in Keras and on the CPU\n")
    for path in sorted(options.models.rglob("*.h5")):
        spread, in_keras, on_cpu = compare_adopted(path, crops)
        sys.stdout.write(f"{path.stem:<24} {spread:.3f}  {in_keras:.1e}  {on_cpu:.1e}\n")
        sys.stdout.flush()


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
    backbone = mesonet.Meso4(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3))
    return keras.Model(backbone.input, _head(keras.layers, backbone.output))


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


if __name__ == "__main__":
    main()
