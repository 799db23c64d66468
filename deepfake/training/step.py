"""One optimisation step and one scoring step, each traced once. Knows nothing of epochs, data or Ray.

``deepfake.training.gradient_accumulation`` has the same step for a batch that is too large for the memory.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepfake.model import keras_runtime
from deepfake.outcome import get_clock
from deepfake.training.distributed.collective import Collective
from deepfake.training.distributed.crop_dropout import Masks
from deepfake.training.ema import WeightAverage
from deepfake.training.losses import Objective


@dataclass(frozen=True)
class StepOptions:
    """What a step does besides the plain update."""

    masks: Masks = field(default_factory=lambda: Masks(0, 64))  # of the network's dropout
    loss: Mapping[str, float] = field(default_factory=dict)  # label_smoothing, uniformity, alignment
    jit_compile: bool = False  # by XLA; one worker only, for it cannot compile collectives
    average: WeightAverage | None = None  # of the optimizer's variables


class Update:
    """From this worker's gradients to new weights: the sum over the workers, the mean, the optimizer.

    The gradient is that of the mean over the *global* batch, whatever the workers' slices are: it is summed
    over crops, then divided by the global number of crops. Clipping and weight decay are the optimizer's,
    after the sum, so that all workers' weights stay bit-identical.
    """

    def __init__(
        self, variables: Sequence[Any], optimizer: Any, collective: Collective, average: WeightAverage | None
    ) -> None:
        self.variables = list(variables)
        self._optimizer, self._collective, self._average = optimizer, collective, average
        self._sizes = [int(np.prod(variable.shape)) for variable in self.variables]

    def sum_up(self, gradients: Sequence[Any], count: Any, loss: Any) -> tuple[Any, Any, Any, Any]:
        """Sums over the workers, in the form that ``apply`` takes, and the seconds that they took.

        For use inside ``collective.run``.
        """
        import tensorflow as tf

        if self._collective.world == 1:
            return list(gradients), count, loss, tf.zeros([], tf.float64)
        parts = [tf.reshape(gradient, [-1]) for gradient in gradients]
        flat = tf.concat([*parts, count[None], loss[None]], 0)
        total = self._collective.add(tf.where(count > 0, flat, tf.zeros_like(flat)))
        return total[:-2], total[-2], total[-1], _tell_time(total[-1]) - _tell_time(flat[-1])

    def apply(self, gradients: Any, count: Any) -> None:
        """Change the weights by what ``sum_up`` gave. For use inside a trace, outside ``collective.run``."""
        import tensorflow as tf

        if self._collective.world > 1:
            gradients = [
                tf.reshape(part, variable.shape)
                for part, variable in zip(tf.split(gradients, self._sizes), self.variables, strict=True)
            ]
        self._optimizer.apply([gradient / count for gradient in gradients], self.variables)
        if self._average is not None:
            self._average.update()


def _tell_time(value: Any) -> Any:
    """When a scalar is known, in seconds. ``tf.timestamp`` refuses to be asked in deterministic runs."""
    import tensorflow as tf

    return tf.numpy_function(lambda _: np.float64(time.monotonic()), [value], tf.float64)


def trace(function: Callable[..., Any], signature: Sequence[Any], jit_compile: bool = False) -> Any:
    """The graph of ``function``, made now; by XLA, which compiles for a shape, at the first batch."""
    import tensorflow as tf

    made = tf.function(function, input_signature=signature, autograph=False, jit_compile=jit_compile or None)
    return made if jit_compile else made.get_concrete_function()


class TrainStep:
    """Forward, backward, sum over the workers, update.

    The loss is the mean binary cross-entropy over the global batch plus the network's penalties.
    BatchNorm must be over the global batch as well: ``sync_batch_norm.choose_norms``.
    """

    def __init__(
        self,
        network: Any,
        variables: Sequence[Any],
        optimizer: Any,
        collective: Collective,
        options: StepOptions = StepOptions(),
        inputs: Any = None,
    ) -> None:
        """``inputs``: a tensor of the network's graph that batches hold instead of crops; None: crops."""
        self.loss = float("nan")  # of the last global batch, without penalties; the same on every worker
        self._network, self._optimizer, self._collective = network, optimizer, collective
        self._update = Update(variables, optimizer, collective, options.average)
        self._masks = options.masks
        self._inputs = network.inputs[0] if inputs is None else inputs
        self._trace(options)

    def _trace(self, options: StepOptions) -> None:
        """Make the graphs."""
        self._objective = self._make_objective(self._inputs, options)
        self._step = trace(self._run, make_signature(self._inputs), options.jit_compile)

    def _make_objective(self, inputs: Any, options: StepOptions) -> Objective:
        return Objective(self._network, inputs, self._collective, options.masks.batch, **options.loss)

    def __call__(
        self, crops: np.ndarray, labels: np.ndarray, places: np.ndarray | None = None, step: int = 0
    ) -> np.ndarray:
        """Learn from this worker's slice ``(n, size, size, 3) uint8``, ``(n,)``; its scores ``(n,) float32``.

        Or from ``(n, ...)`` of whatever ``inputs`` is.

        Every worker must call this once for each global batch, with ``n = 0`` where it has no part in it.
        What dropout drops follows the number of the step and the crops' ``places (n,)`` in the global batch;
        None: the slice is all of it.
        The scores are those of the forward pass: before the update, with dropout.
        """
        import tensorflow as tf

        crops, labels, places, present = fill_empty_slice(crops, labels, places)
        drawing = tf.constant(step, tf.int64), tf.constant(places, tf.int64)
        began = time.monotonic()
        with get_clock().on("step"):
            scores, loss, seconds = self._learn(
                crops, tf.constant(labels, tf.float32), tf.constant(float(present)), *drawing
            )
            self.loss = float(loss)
            get_clock().divide({"collective": float(seconds)}, most=time.monotonic() - began)
        return scores.numpy()[: len(crops) if present else 0]

    def _learn(self, crops: np.ndarray, *rest: Any) -> tuple[Any, Any, Any]:
        """Scores and loss of a slice, and the seconds of the sum over workers.

        ``rest``: labels, whether it counts, the step and the crops' places.
        """
        import tensorflow as tf

        return self._step(tf.constant(crops, self._inputs.dtype), *rest)

    def _run(self, *arguments: Any) -> Any:
        gradients, count, loss, seconds, scores = self._collective.run(self._local, arguments)
        self._update.apply(gradients, count)
        return scores, loss / count, seconds

    def _local(self, *arguments: Any) -> tuple[Any, Any, Any, Any, Any]:
        """What ``Update.sum_up`` gives of the global batch, and this slice's scores."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            whole, count, loss, logits = self._compute_loss(*arguments)
        gradients = tape.gradient(whole, [variable.value for variable in self._update.variables])
        return *self._update.sum_up(gradients, count, loss), tf.sigmoid(logits)

    def _compute_loss(
        self, inputs: Any, labels: Any, present: Any, step: Any, places: Any
    ) -> tuple[Any, Any, Any, Any]:
        """What is to be lowered, as the optimizer scales it; the slice's size, cross-entropy and logits."""
        import tensorflow as tf

        count = tf.cast(tf.shape(inputs)[0], tf.float32) * present
        with self._masks.drawing(step, places), self._collective.counting(present):
            logits, loss, whole = self._objective(inputs, labels, present, places)
        return self._optimizer.scale_loss(whole), count, loss, logits


class InferenceStep:
    """One part of a network as in inference, on this worker alone."""

    def __init__(self, inputs: Any, outputs: Any) -> None:
        """From one tensor of the network's graph to another."""
        part = keras_runtime.start_keras().Model(inputs, outputs)
        self._kind = inputs.dtype
        self._compute = trace(lambda batch: part(batch, training=False), make_signature(inputs)[:1])

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """``(n, ...) float32`` of a batch ``(n, ...)``; scores are ``(n, 1)``."""
        import tensorflow as tf

        return tf.cast(self._compute(tf.constant(batch, self._kind)), tf.float32).numpy()


def make_signature(inputs: Any) -> list[Any]:
    """What a step is traced for: ``inputs``, labels, whether they count, its number, the crops' places."""
    import tensorflow as tf

    shapes: tuple[list[int | None], ...] = ([None, *inputs.shape[1:]], [None], [], [], [None])
    kinds = (tf.as_dtype(inputs.dtype), tf.float32, tf.float32, tf.int64, tf.int64)
    return list(map(tf.TensorSpec, shapes, kinds))


def fill_empty_slice(
    crops: np.ndarray, labels: np.ndarray, places: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """A slice ``(n, ...)``, ``(n,)``, its places ``(n,)``, and whether it counts.

    For no rows it is one that does not: TensorFlow's convolutions give wrong shapes for no rows.
    """
    if len(crops):
        return crops, labels, np.arange(len(crops)) if places is None else places, True
    return np.zeros((1, *crops.shape[1:]), crops.dtype), np.zeros(1), np.zeros(1, np.int64), False
