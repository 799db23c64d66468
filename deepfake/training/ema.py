"""An exponential moving average of weights, updated inside the training step.

Keras' own starts from the first weights with the full momentum, which a run of a few hundred steps never
leaves behind. Here the momentum rises to its full value as the steps go by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

_WARM_UP = (
    10  # the momentum of update n is at most (1 + n) / (10 + n), as in tf.train.ExponentialMovingAverage
)


class WeightAverage:
    """Averages of ``variables``, which are those that learn; others have no steps to average."""

    def __init__(self, variables: Sequence[Any], momentum: float) -> None:
        import tensorflow as tf

        self._variables, self._momentum = list(variables), momentum
        self._updates = tf.Variable(0.0, trainable=False, dtype=tf.float32)
        self._averages = [tf.Variable(np.asarray(v), trainable=False) for v in self._variables]

    def update(self) -> None:
        """Take the weights as they are now into the average. For use inside a trace."""
        import tensorflow as tf

        momentum = tf.minimum(self._momentum, (1.0 + self._updates) / (_WARM_UP + self._updates))
        for average, variable in zip(self._averages, self._variables, strict=True):
            average.assign(average * momentum + tf.convert_to_tensor(variable) * (1.0 - momentum))
        self._updates.assign_add(1.0)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network computes with the averages within the block, and with its own weights again after."""
        own = [np.asarray(variable).copy() for variable in self._variables]
        for variable, average in zip(self._variables, self._averages, strict=True):
            variable.assign(average)
        try:
            yield
        finally:
            for variable, value in zip(self._variables, own, strict=True):
                variable.assign(value)

    def restart(self) -> None:
        """Begin again, from the weights as they are now."""
        self._updates.assign(0.0)
        for average, variable in zip(self._averages, self._variables, strict=True):
            average.assign(variable)

    def arrays(self) -> list[np.ndarray]:
        """The state for a checkpoint: the number of updates ``() float32``, then each variable's average."""
        return [np.asarray(v).copy() for v in (self._updates, *self._averages)]

    def load(self, arrays: Sequence[np.ndarray]) -> None:
        """Go on from what ``arrays`` gave."""
        for variable, value in zip((self._updates, *self._averages), arrays, strict=True):
            variable.assign(value)
