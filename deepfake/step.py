"""One optimisation step and one scoring step, each traced once. Knows nothing of epochs, data or Ray."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepfake import keras_runtime, model
from deepfake.collective import Collective


class TrainStep:
    """Forward, backward, sum over the workers, update.

    The loss is the mean binary cross-entropy over the *global* batch plus the network's penalties, whatever
    the workers' slices are: gradients are summed over crops, then divided by the global number of crops.
    BatchNorm must be over the global batch as well: ``global_norm.with_global_norms``. Then all workers'
    weights stay bit-identical.
    """

    def __init__(self, network: Any, optimizer: Any, collective: Collective) -> None:
        import tensorflow as tf

        self._keras = keras_runtime.start()
        self._network, self._optimizer, self._collective = network, optimizer, collective
        self._variables = network.trainable_variables
        self._sizes = [int(np.prod(variable.shape)) for variable in self._variables]
        self._cross_entropy = self._keras.losses.BinaryCrossentropy(reduction="sum")
        crops = tf.TensorSpec([None, model.SIZE, model.SIZE, 3], tf.uint8)
        self._step = tf.function(
            self._run,
            input_signature=[crops, tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32)],
            autograph=False,
        ).get_concrete_function()

    def __call__(self, crops: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Learn from this worker's slice ``(n, 224, 224, 3) uint8``, ``(n,)``; its scores ``(n,) float32``.

        Every worker must call this once for each global batch, with ``n = 0`` where it has no part in it.
        The scores are those of the forward pass: before the update, with dropout.
        """
        import tensorflow as tf

        count = len(crops)
        if not count:  # TensorFlow's convolutions give wrong shapes for no rows: one that does not count
            crops, labels = np.zeros((1, model.SIZE, model.SIZE, 3), np.uint8), np.zeros(1)
        present = tf.constant(float(count > 0))
        return self._step(tf.constant(crops), tf.constant(labels, tf.float32), present).numpy()[:count]

    def _run(self, crops: Any, labels: Any, present: Any) -> Any:
        import tensorflow as tf

        gradients, count, scores = self._collective.run(self._local, (crops, labels, present))
        if self._collective.world > 1:
            gradients = [
                tf.reshape(part, variable.shape)
                for part, variable in zip(tf.split(gradients, self._sizes), self._variables, strict=True)
            ]
        self._optimizer.apply([gradient / count for gradient in gradients], self._variables)
        return scores

    def _local(self, crops: Any, labels: Any, present: Any) -> tuple[Any, Any, Any]:
        """Gradients summed over the global batch, its size, and this slice's scores."""
        import tensorflow as tf

        count = tf.cast(tf.shape(crops)[0], tf.float32) * present
        self._collective.present = present
        with tf.GradientTape() as tape:
            scores = self._network(crops, training=True)[:, 0]
            loss = self._cross_entropy(labels[:, None], scores[:, None]) * present
            if self._network.losses:
                loss += tf.add_n(self._network.losses) * count
            loss = self._optimizer.scale_loss(loss)
        gradients = tape.gradient(loss, [variable.value for variable in self._variables])
        self._collective.present = 1.0
        if self._collective.world == 1:
            return gradients, count, scores
        flat = tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients] + [count[None]], 0)
        total = self._collective.add(tf.where(count > 0, flat, tf.zeros_like(flat)))
        return total[:-1], total[-1], scores


class ScoreStep:
    """Scores as in inference, on this worker alone."""

    def __init__(self, network: Any) -> None:
        import tensorflow as tf

        crops = tf.TensorSpec([None, model.SIZE, model.SIZE, 3], tf.uint8)
        self._score = tf.function(
            lambda batch: network(batch, training=False)[:, 0], input_signature=[crops], autograph=False
        ).get_concrete_function()

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Scores ``(n,) float32`` of crops ``(n, 224, 224, 3) uint8``."""
        import tensorflow as tf

        return self._score(tf.constant(crops)).numpy()
