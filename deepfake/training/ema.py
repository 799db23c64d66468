"""An exponential moving average of weights, updated inside the training step.

Keras' own starts from the first weights with the full momentum, which a run of a few hundred steps never
leaves behind. Here the momentum rises to its full value as the steps go by.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

# The momentum of update n is at most (1 + n) / (10 + n), as in tf.train.ExponentialMovingAverage.
_WARM_UP = 10


class WeightAverage:
    """Averages of ``variables``: the weights that learn, and the statistics of norms that learn."""

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
        own = copy_arrays(self._variables)
        assign_arrays(self._variables, self._averages)
        try:
            yield
        finally:
            assign_arrays(self._variables, own)

    def restart(self) -> None:
        """Begin again, from the weights as they are now."""
        self._updates.assign(0.0)
        assign_arrays(self._averages, self._variables)

    def copy_state(self) -> list[np.ndarray]:
        """The state for a checkpoint: the number of updates ``() float32``, then each variable's average."""
        return copy_arrays((self._updates, *self._averages))

    def load(self, arrays: Sequence[np.ndarray]) -> None:
        """Go on from what ``copy_state`` gave."""
        assign_arrays((self._updates, *self._averages), arrays)


def copy_arrays(variables: Sequence[Any]) -> list[np.ndarray]:
    """Copies of the variables' values, of any shapes and dtypes."""
    return [np.asarray(variable).copy() for variable in variables]


def assign_arrays(variables: Sequence[Any], values: Sequence[Any]) -> None:
    """Give each variable its value: an array or another variable."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
