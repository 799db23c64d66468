"""Heat maps: where in a crop the network finds what speaks for a fake, or for a real. From a bundle alone.

Grad-CAM (Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks", 2017) on what the backbone
gives the head, 7 x 7 places for 224 x 224 pixels. A map says where, not how much: the score says that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfake.crops.self_blending import Face, self_blend
from deepfake.model import keras_runtime
from deepfake.model.bundle import Bundle
from deepfake.model.heat import Call, enlarge, measure_share_inside
from deepfake.model.network import POOL_LAYER, SCORE_LAYER, check_crops


class HeatMaps:
    """The heat maps of one bundle. Starts TensorFlow."""

    def __init__(self, bundle: Bundle) -> None:
        import tensorflow as tf

        keras = keras_runtime.start_keras()
        network = bundle.network
        convolution = network.get_layer(POOL_LAYER).input
        score = network.get_layer(SCORE_LAYER)
        front = keras.Model(network.inputs, convolution)
        head = keras.Model(convolution, score.input)
        # The sigmoid is left out: where it is saturated, its gradient is zero and the map would be empty.
        kernel, bias = (np.asarray(weight) for weight in score.get_weights())

        def run(crops: Any, sign: Any) -> Any:
            features = front(crops, training=False)
            with tf.GradientTape() as tape:
                tape.watch(features)
                logit = sign * (head(features, training=False) @ kernel + bias)
            weights = tf.reduce_mean(tape.gradient(logit, features), axis=(1, 2), keepdims=True)
            return tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))

        self._size = bundle.crop_size
        crops = tf.TensorSpec([None, self._size, self._size, 3], tf.uint8)
        self._run = tf.function(
            run, input_signature=[crops, tf.TensorSpec([], tf.float32)], autograph=False
        ).get_concrete_function()
        self._batch_size = bundle.batch_size

    def __call__(self, crops: np.ndarray, speaks_for: Call = "fake") -> np.ndarray:
        """Heat ``(n, size, size) float32`` in [0, 1] of crops ``(n, size, size, 3) uint8 RGB``.

        The hottest place of each map is 1; a map is all zero where nothing speaks for the call.
        """
        import tensorflow as tf

        check_crops(crops, self._size)
        sign = tf.constant(1.0 if speaks_for == "fake" else -1.0)
        heat = np.empty(crops.shape[:3], np.float32)
        for start in range(0, len(crops), self._batch_size):
            coarse = self._run(tf.constant(crops[start : start + self._batch_size]), sign).numpy()
            for place, one in enumerate(coarse, start):
                heat[place] = enlarge(one, self._size)
        return heat


def build_function_with_maps(network: Any) -> Any | None:
    """The network as a ``tf.function`` of crops to scores ``(n, 1)`` and raw maps ``(n, 7, 7)``, float32.

    A map's places speak for a fake where they are above zero, for a real where they are below. The gradient
    is written out, so that the graph has no other operations than a network has and runs wherever it does:
    behind the pooling the head is linear but for ReLUs and unit length. None where a layer is unknown here.
    """
    import tensorflow as tf

    keras = keras_runtime.start_keras()
    names = [layer.name for layer in network.layers]
    if POOL_LAYER not in names:
        return None
    kinds = (
        keras.layers.Dense, keras.layers.BatchNormalization, keras.layers.Dropout,
        keras.layers.UnitNormalization,
    )  # fmt: skip
    pooling, *rest = network.layers[names.index(POOL_LAYER) :]
    piecewise_linear = (None, keras.activations.relu, keras.activations.linear)
    if not isinstance(pooling, keras.layers.GlobalAveragePooling2D) or not all(
        isinstance(layer, kinds) and getattr(layer, "activation", None) in piecewise_linear
        for layer in rest[:-1]
    ):
        return None
    both = keras.Model(network.inputs, [network.output, network.get_layer(POOL_LAYER).input])

    def run(crops: Any) -> tuple[Any, Any]:
        scores, features = both(crops, training=False)
        x = tf.reduce_mean(features, axis=(1, 2))
        backward: list[Any] = []  # each takes a gradient from a layer's output to its input
        for layer in rest[:-1]:
            if isinstance(layer, keras.layers.BatchNormalization):
                scale = layer.gamma / tf.sqrt(layer.moving_variance + layer.epsilon)
                backward.append(lambda gradient, scale=scale: gradient * scale)
            elif isinstance(layer, keras.layers.UnitNormalization):
                length = tf.norm(x, axis=-1, keepdims=True) + 1e-12
                backward.append(
                    lambda gradient, unit=x / length, length=length: (
                        (gradient - unit * tf.reduce_sum(gradient * unit, -1, keepdims=True)) / length
                    )
                )
            elif isinstance(layer, keras.layers.Dense):
                kernel, turned_on = tf.convert_to_tensor(layer.kernel), None
                if layer.activation is keras.activations.relu:
                    turned_on = tf.cast(x @ kernel + layer.bias > 0, tf.float32)
                backward.append(
                    lambda gradient, kernel=kernel, on=turned_on: (
                        (gradient if on is None else gradient * on) @ tf.transpose(kernel)
                    )
                )
            x = layer(x, training=False)
        gradient = tf.transpose(tf.convert_to_tensor(rest[-1].kernel)) * tf.ones_like(x)
        for step in reversed(backward):
            gradient = step(gradient)
        places = features.shape[1] * features.shape[2]
        return scores, tf.einsum("nc,nhwc->nhw", gradient / places, features)

    signature = [tf.TensorSpec(network.inputs[0].shape, tf.uint8, name="crop")]
    return tf.function(run, input_signature=signature, autograph=False).get_concrete_function()


@dataclass(frozen=True)
class BlendHeat:
    """How much of the heat falls on what was blended."""

    crops: int  # self-blended fakes looked at
    without_heat: int  # of these, nothing spoke for a fake in so many
    share: float | None  # mean share of the heat inside the mask; None where no map has heat
    area: float | None  # mean share of the crop inside the mask, for the same fakes


def measure_blend_heat(maps: HeatMaps, crops: np.ndarray, faces: Sequence[Face], seed: int = 0) -> BlendHeat:
    """Make a fake of each real crop ``(n, size, size, 3) uint8``; see how much heat is on the blending."""
    pairs = [
        self_blend(crop, face, seed, 0, str(number))
        for number, (crop, face) in enumerate(zip(crops, faces, strict=True))
    ]
    if not pairs:
        return BlendHeat(0, 0, None, None)
    masks = np.stack([pair.mask for pair in pairs])
    share = measure_share_inside(maps(np.stack([pair.fake for pair in pairs])), masks)
    has = ~np.isnan(share)
    if not has.any():
        return BlendHeat(len(pairs), len(pairs), None, None)
    area = (masks > 0).mean(axis=(1, 2))[has]
    return BlendHeat(len(pairs), int((~has).sum()), float(share[has].mean()), float(area.mean()))
