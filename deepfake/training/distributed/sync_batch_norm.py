"""BatchNorm that learns: by what was loaded, or over the global batch, computed from all workers' crops.

Keras' own ``synchronized=True`` does that with five collectives a layer and step, whose order nothing ties
down: two workers may trace them differently, and TensorFlow then stops with a shape mismatch. Here there
are two, each waiting for the one before, which also decides the speed where the wire is gRPC. Only the
network in training has these layers: what is saved is rebuilt with Keras' own (``copy_for_inference``).
"""

from typing import Any

from deepfake.model import keras_runtime
from deepfake.model.network import HEAD_PREFIX
from deepfake.training.distributed.collective import Collective


def choose_norms(network: Any, collective: Collective, keep_statistics: bool) -> dict[str, Any]:
    """Classes of BatchNorm layers that learn, over all workers, by name: see ``replace_layers``.

    ``keep_statistics``: those of the backbone learn their scales and offsets alone, and normalise by what
    was loaded. Layers that do not learn do so anyway, and need nothing, as those of one worker.
    """
    keras = keras_runtime.start_keras()
    by_what_was_loaded = _make_kept_class(keras)
    over_batch = _make_synchronised_class(keras, collective)
    classes = {}
    for layer in network.layers:
        if type(layer) is keras.layers.BatchNormalization and layer.trainable:
            if keep_statistics and not layer.name.startswith(HEAD_PREFIX):
                classes[layer.name] = by_what_was_loaded
            elif collective.world > 1:
                classes[layer.name] = over_batch
    return classes


def _make_kept_class(keras: Any) -> Any:
    class KeptStatistics(keras.layers.BatchNormalization):
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            return super().call(inputs, training=False, mask=mask)

    return KeptStatistics


def _make_synchronised_class(keras: Any, collective: Collective) -> Any:
    import tensorflow as tf

    class SyncBatchNormalization(keras.layers.BatchNormalization):
        """As its base class, over those rows of all workers that count (``Collective.counting``)."""

        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            if not (training and self.trainable):
                return super().call(inputs, training=training, mask=mask)
            x = tf.cast(inputs, tf.float32)  # half precision overflows in squares
            channels = x.shape[-1]  # InceptionV3's norms have no scale
            gamma = tf.ones(channels) if self.gamma is None else tf.convert_to_tensor(self.gamma)
            beta = tf.zeros(channels) if self.beta is None else tf.convert_to_tensor(self.beta)
            outputs, mean, variance = _normalise(x, gamma, beta, self.epsilon, collective)
            for moving, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + tf.stop_gradient(new) * (1.0 - self.momentum))
            return tf.cast(outputs, self.compute_dtype)

    return SyncBatchNormalization


def _normalise(x: Any, gamma: Any, beta: Any, epsilon: float, collective: Collective) -> tuple[Any, Any, Any]:
    """Normalised ``x``, and the mean and variance ``(channels,)`` of all workers' rows."""
    import tensorflow as tf

    @tf.custom_gradient
    def normalise(x: Any, gamma: Any, beta: Any) -> Any:
        axes = list(range(len(x.shape) - 1))
        channels = x.shape[-1]
        present = collective.present
        count = tf.cast(tf.size(x) // channels, tf.float32)
        sums = [tf.reduce_sum(x, axes), tf.reduce_sum(tf.square(x), axes), count[None]]
        total = collective.add(tf.concat(sums, 0) * present)
        mean, squares = total[:channels] / total[-1], total[channels:-1] / total[-1]
        variance = tf.maximum(squares - tf.square(mean), 0.0)
        factor = tf.math.rsqrt(variance + epsilon)
        scale = gamma * factor

        def gradient(upstream: Any, *_: Any) -> tuple[Any, Any, Any]:
            centred = (x - mean) * factor
            to_beta, to_gamma = tf.reduce_sum(upstream, axes), tf.reduce_sum(upstream * centred, axes)
            both = collective.add(tf.concat([to_beta, to_gamma], 0) * present) / total[-1]
            to_x = scale * (upstream - both[:channels] - centred * both[channels:])
            return to_x, to_gamma, to_beta  # this worker's part; the step sums those of all

        return (x * scale + (beta - mean * scale), mean, variance), gradient

    return normalise(x, gamma, beta)
