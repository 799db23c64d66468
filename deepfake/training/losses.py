"""What a step makes smaller: binary cross-entropy, and where features lie on the sphere.

Uniformity and alignment are those of Wang and Isola, "Understanding Contrastive Representation Learning
through Alignment and Uniformity on the Hypersphere", 2020, with t = 2 and alpha = 2, as Yermakov et al.,
"Deepfake Detection that Generalizes Across Benchmarks", 2025, train detectors: pairs that are to lie together
are those of one class. Both are of pairs over the whole global batch, so each worker needs the others'
features.
"""

from typing import Any

from deepfake.model import keras_runtime
from deepfake.training.distributed.collective import Collective


class Objective:
    """The loss of a worker's slice. Gradients summed over the workers are those of the global batch's sum."""

    def __init__(
        self,
        network: Any,
        inputs: Any,
        collective: Collective,
        batch: int,
        *,
        label_smoothing: float = 0.0,
        uniformity: float = 0.0,
        alignment: float = 0.0,
    ) -> None:
        """``inputs`` is a tensor of the network's graph, ``batch`` the most crops of a global batch.

        The weights ``uniformity`` and ``alignment`` are for networks whose last layer takes unit vectors.
        """
        self._network, self._last = network, network.layers[-1]  # Dense, with a sigmoid
        self._below = keras_runtime.start_keras().Model(inputs, self._last.input)
        self._collective, self._batch, self._smoothing = collective, batch, label_smoothing
        self._uniformity, self._alignment = uniformity, alignment

    def __call__(self, values: Any, labels: Any, present: Any, places: Any) -> tuple[Any, Any, Any]:
        """Logits ``(n,) float32``, summed cross-entropy, and the whole loss of a slice. Inside a trace.

        ``places`` ``(n,) int64`` are the crops' in the global batch; where ``present`` is 0 none counts. The
        loss is taken from logits: from a score that has come to 0 or 1 in float32 no gradient leads back.
        """
        import tensorflow as tf

        features = tf.cast(self._below(values, training=True), tf.float32)
        logits = (tf.matmul(features, self._last.kernel) + self._last.bias)[:, 0]
        soft = labels * (1.0 - self._smoothing) + self._smoothing / 2
        entropy = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(soft, logits)) * present
        whole, penalties = entropy, self._network.losses
        if penalties:
            whole += tf.add_n(penalties) * present * tf.cast(tf.shape(values)[0], tf.float32)
        if self._uniformity or self._alignment:
            spread, apart, count = self._compare_pairs(features, labels, present, places)
            # a mean over the global batch: whoever divides the sum by the number of crops must get it back
            whole += (self._uniformity * spread + self._alignment * apart) * count
        return logits, entropy, whole

    def _compare_pairs(self, features: Any, labels: Any, present: Any, places: Any) -> tuple[Any, Any, Any]:
        """Uniformity, alignment, and size of the global batch. Gradients lead to this slice's features."""
        import tensorflow as tf

        width = features.shape[1]
        rows = tf.concat([features, labels[:, None], tf.ones_like(labels)[:, None]], 1) * present
        mine = tf.scatter_nd(places[:, None], rows, [self._batch, width + 2])
        fixed = tf.stop_gradient(mine)
        table = self._collective.add(fixed) + mine - fixed
        vectors, classes, here = table[:, :width], table[:, width], table[:, width + 1]
        return *compare_pairs(vectors, classes, here), tf.stop_gradient(tf.reduce_sum(here))


def compare_pairs(vectors: Any, labels: Any, here: Any) -> tuple[Any, Any]:
    """Uniformity and alignment of unit ``vectors (n, d)`` with ``labels (n,)`` where ``here (n,)`` is 1.

    Uniformity: the logarithm of the mean of ``exp(-2 |x - y|^2)`` over all pairs. Alignment: the mean of
    ``|x - y|^2`` over the pairs of one label. 0 where there is no pair.
    """
    import tensorflow as tf

    squared = tf.reduce_sum(vectors**2, 1)
    distance = squared[:, None] + squared[None, :] - 2.0 * tf.matmul(vectors, vectors, transpose_b=True)
    pairs = here[:, None] * here[None, :]
    pairs -= tf.linalg.band_part(pairs, -1, 0)  # each pair once, none of a row with itself
    alike = pairs * tf.cast(labels[:, None] == labels[None, :], tf.float32)
    near = tf.reduce_sum(pairs * tf.exp(-2.0 * distance))
    any_pair = tf.reduce_sum(pairs) > 0
    mean = near / tf.maximum(tf.reduce_sum(pairs), 1.0)
    uniformity = tf.where(any_pair, tf.math.log(tf.where(any_pair, mean, 1.0)), 0.0)
    alignment = tf.reduce_sum(alike * distance) / tf.maximum(tf.reduce_sum(alike), 1.0)
    return uniformity, alignment
