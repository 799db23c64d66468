"""Gradient accumulation with recomputation: the same update for a batch whose activations exceed the memory.

Gradients of parts cannot simply be added up, because the head's BatchNorm sees the batch as a whole. So the
backbone, which treats every crop by itself, goes over the parts first; the head learns from the features of
all of them, which are small; then the backbone goes over the parts again, to learn from what the head sends
back. That costs a second forward pass of the backbone, and none where the backbone does not learn.

``keras.remat`` would be shorter, but it takes no part of a batch after the other. Masks of dropout follow the
crops (``crop_dropout``), so both passes drop the same, and what the batch taken whole would have dropped.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deepfake.model import keras_runtime
from deepfake.model.network import POOL_LAYER
from deepfake.training.distributed.collective import Collective
from deepfake.training.step import StepOptions, TrainStep, make_signature, trace


class AccumulatedStep(TrainStep):
    """The same step; each worker's slice is taken in ``parts`` near-equal parts."""

    def __init__(
        self,
        network: Any,
        variables: Sequence[Any],
        optimizer: Any,
        collective: Collective,
        parts: int,
        options: StepOptions = StepOptions(),  # noqa: B008 - frozen
    ) -> None:
        self._parts = parts
        super().__init__(network, variables, optimizer, collective, options)

    def _trace(self, options: StepOptions) -> None:
        import tensorflow as tf

        pooled = self._network.get_layer(POOL_LAYER).output
        self._backbone = keras_runtime.start_keras().Model(self._network.inputs, pooled)
        self._objective = self._make_objective(pooled, options)
        in_backbone = {id(variable) for variable in self._backbone.trainable_variables}
        self._gradients = [tf.Variable(tf.zeros(v.shape), trainable=False) for v in self._update.variables]
        self._of_head = [i for i, v in enumerate(self._update.variables) if id(v) not in in_backbone]
        self._of_backbone = [i for i, v in enumerate(self._update.variables) if id(v) in in_backbone]
        crops, labels, scalar, *drawing = make_signature(self._inputs)
        features = tf.TensorSpec([None, pooled.shape[-1]], tf.as_dtype(pooled.dtype))
        xla = options.jit_compile
        self._features = trace(self._run_features, [crops, *drawing], xla)
        self._learn_head = trace(self._run_head, [features, labels, scalar, *drawing], xla)
        if self._of_backbone:
            self._learn_backbone = trace(self._run_backbone, [crops, features, *drawing], xla)
        self._finish = trace(self._run_update, [scalar, scalar], xla)

    def _learn(self, crops: np.ndarray, *rest: Any) -> tuple[Any, Any, Any]:
        import tensorflow as tf

        *_, now, places = rest
        size = -(-len(crops) // self._parts)
        cuts = [slice(start, start + size) for start in range(0, len(crops), size)]
        parts = [(tf.constant(crops[cut]), now, places[cut]) for cut in cuts]
        features = tf.concat([self._features(*part) for part in parts], 0)
        upstream, count, loss, scores = self._learn_head(features, *rest)
        if self._of_backbone:
            for cut, (part, *drawing) in zip(cuts, parts, strict=True):
                self._learn_backbone(part, upstream[cut], *drawing)
        return scores, *self._finish(count, loss)

    def _run_features(self, part: Any, step: Any, places: Any) -> Any:
        with self._masks.drawing(step, places):
            return self._backbone(part, training=True)

    def _run_head(self, *arguments: Any) -> Any:
        """Leave the head's gradients; what it sends back, and size, loss and scores of the slice."""
        return self._collective.run(self._local_head, arguments)

    def _local_head(self, features: Any, *rest: Any) -> tuple[Any, Any, Any, Any]:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(features)
            whole, count, loss, logits = self._compute_loss(features, *rest)
        learn = [self._update.variables[i].value for i in self._of_head]
        gradients, upstream = tape.gradient(whole, (learn, features))
        for i, gradient in zip(self._of_head, gradients, strict=True):
            self._gradients[i].assign(gradient)
        return upstream, count, loss, tf.sigmoid(logits)

    def _run_backbone(self, part: Any, upstream: Any, step: Any, places: Any) -> None:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            features = self._run_features(part, step, places)
        learn = [self._update.variables[i].value for i in self._of_backbone]
        gradients = tape.gradient(features, learn, output_gradients=upstream)
        for i, gradient in zip(self._of_backbone, gradients, strict=True):
            self._gradients[i].assign_add(gradient)

    def _run_update(self, count: Any, loss: Any) -> Any:
        import tensorflow as tf

        gradients, count, loss, seconds = self._collective.run(
            lambda count, loss: self._update.sum_up(
                [gradient.read_value() for gradient in self._gradients], count, loss
            ),
            (count, loss),
        )
        self._update.apply(gradients, count)
        for gradient in self._gradients:
            gradient.assign(tf.zeros_like(gradient))
        return loss / count, seconds
