"""Sums over all training workers, with ``MultiWorkerMirroredStrategy`` as the wire and nothing else.

Keras 3 cannot train under that strategy, so each worker has a plain Keras model and exchanges vectors here.
TensorFlow gives each traced collective its own key, counted up in each process. So everything that holds one
is traced once, with a fixed signature, in the same order on every worker. One worker needs no strategy.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from deepfake.outcome import get_clock


class Collective:
    """The workers of one training run. Make it before any other TensorFlow operation of the process."""

    def __init__(self, rank: int, world: int) -> None:
        import tensorflow as tf

        self.rank, self.world = rank, world
        # reads TF_CONFIG, which Ray Train sets; NCCL between GPUs, a gRPC ring between CPUs
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy() if world > 1 else None
        self._sums: dict[int, Any] = {}
        # what synchronised layers multiply this worker's rows by: see ``counting``
        self.present: Any = 1.0

    def run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call ``function`` where it may use ``add`` and synchronised layers. For use inside a trace."""
        return function(*arguments) if self._strategy is None else self._strategy.run(function, arguments)

    def add(self, vector: Any) -> Any:
        """Element-wise sum of a tensor over the workers. For use inside ``run``."""
        import tensorflow as tf

        if self._strategy is None:
            return vector
        # identity gives a constant the device that the strategy asks for
        return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(vector))

    @contextmanager
    def counting(self, present: Any) -> Iterator[None]:
        """Trace layers whose sums over all rows count this worker's rows ``present`` times: a scalar, 1 or 0.

        0 is for a row that only takes the place of an empty slice (``step.fill_empty_slice``). Keras, which
        calls the layers, hands them no argument of this kind, so they ask the collective.
        """
        before, self.present = self.present, present
        try:
            yield
        finally:
            self.present = before

    def prepare(self, *lengths: int) -> None:
        """Trace ``sum`` for vectors of these lengths, in this order; also a barrier."""
        import tensorflow as tf

        for length in lengths:
            if length not in self._sums:
                function = tf.function(
                    lambda vector: self.run(self.add, (vector,)),
                    input_signature=[tf.TensorSpec([length], tf.float32)],
                    autograph=False,
                )
                self._sums[length] = function.get_concrete_function()
                self.sum(np.zeros(length, np.float32))

    def sum(self, vector: np.ndarray) -> np.ndarray:
        """Element-wise sum ``(n,) float32`` over the workers; ``prepare`` must have seen ``n``."""
        import tensorflow as tf

        with get_clock().on("collective"):
            return self._sums[len(vector)](tf.constant(vector, tf.float32)).numpy()

    def copy_from_first(self, arrays: list[np.ndarray]) -> list[np.ndarray]:
        """Rank 0's float arrays, of any shapes, on every worker: all start from exactly the same weights."""
        flat = np.concatenate([np.ravel(array).astype(np.float32) for array in arrays])
        self.prepare(len(flat))
        first = self.sum(flat if self.rank == 0 else np.zeros_like(flat))
        cuts = np.cumsum([array.size for array in arrays])[:-1]
        return [
            part.reshape(array.shape).astype(array.dtype)
            for part, array in zip(np.split(first, cuts), arrays, strict=True)
        ]
