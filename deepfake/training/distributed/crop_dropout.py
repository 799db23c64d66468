"""Dropout whose masks follow (seed, step, crop), and not the worker that has the crop.

Keras draws a mask for the rows that a worker happens to have, so that another number of workers, or a batch
in parts, would train another network. Here each layer draws for the whole global batch, which costs little,
and takes the rows of its own crops. Only the network in training has these layers, stochastic depth included.
"""

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from deepfake.model import keras_runtime


class Masks:
    """Random numbers for the crops of global batches of at most ``batch``."""

    def __init__(self, seed: int, batch: int) -> None:
        self._seed, self.batch = seed % 2**31, batch
        self._drawing: tuple[Any, Any] | None = None

    @contextmanager
    def drawing(self, step: Any, places: Any) -> Iterator[None]:
        """Trace layers that draw for the crops at ``places (n,) int64`` of global batch ``step () int64``."""
        before, self._drawing = self._drawing, (step, places)
        try:
            yield
        finally:
            self._drawing = before

    def draw(self, name: str, shape: Sequence[int]) -> Any:
        """Numbers ``(n, *shape) float32`` in [0, 1) for the layer of that name; only inside ``drawing``."""
        import tensorflow as tf

        assert self._drawing is not None
        step, places = self._drawing
        seed = tf.stack([tf.constant(self._seed << 32 | zlib.crc32(name.encode()), tf.int64), step])
        # one algorithm by name: what TensorFlow would choose depends on the device
        numbers = tf.random.stateless_uniform([self.batch, *shape], seed, alg="philox")
        return tf.gather(numbers, places)


def choose_dropout(network: Any, masks: Masks) -> dict[str, Any]:
    """Classes of the network's dropout, by name of layer, with ``masks``: see ``replace_layers``."""
    keras = keras_runtime.start_keras()
    layer_class = _make_dropout_class(keras, masks)
    return {layer.name: layer_class for layer in network.layers if type(layer) is keras.layers.Dropout}


def _make_dropout_class(keras: Any, masks: Masks) -> Any:
    import tensorflow as tf

    class CropDropout(keras.layers.Dropout):
        """As its base class, for the crops that are being drawn for."""

        def call(self, inputs: Any, training: bool = False) -> Any:
            if not training or not self.rate:
                return inputs
            noise = self.noise_shape or (None,) * len(inputs.shape)
            shape = [size or there for size, there in zip(noise[1:], inputs.shape[1:], strict=True)]
            kept = masks.draw(self.name, shape) >= self.rate
            return inputs * tf.cast(kept, inputs.dtype) / (1.0 - self.rate)

    return CropDropout
