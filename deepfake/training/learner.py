"""The network of one phase and what trains it: optimizer, average, steps. No epochs, data or Ray."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any

import numpy as np

from deepfake.config import TrainingConfig
from deepfake.model import keras_runtime
from deepfake.model.network import POOL_LAYER, list_trainable, list_weights, replace_layers, set_trainable
from deepfake.training.checkpoint import CheckpointError
from deepfake.training.distributed.collective import Collective
from deepfake.training.distributed.crop_dropout import Masks, choose_dropout
from deepfake.training.distributed.sync_batch_norm import choose_norms
from deepfake.training.ema import WeightAverage, assign_arrays, copy_arrays
from deepfake.training.fused_adam import make_adam
from deepfake.training.gradient_accumulation import AccumulatedStep
from deepfake.training.schedule import Phase
from deepfake.training.step import InferenceStep, StepOptions, TrainStep


class Learner:
    """What learns in one phase. All workers make theirs at the same time, for the steps hold collectives."""

    def __init__(
        self,
        plain: Any,
        phase: Phase,
        settings: TrainingConfig,
        collective: Collective,
        by_features: bool = False,
    ) -> None:
        """``plain`` is a new network as ``build_network`` makes it; it is used up.

        ``by_features``: learn from and score what ``extract`` gives for crops; the backbone stands still.
        """
        keras = keras_runtime.start_keras()
        set_trainable(plain, phase.trains, settings.freeze_batch_norm, settings.fine_tune_blocks)
        masks = Masks(settings.seed, max(2, settings.global_batch))  # a pair is never torn apart
        norms = choose_norms(plain, collective, settings.freeze_batch_norm)
        self.network = replace_layers(plain, choose_dropout(plain, masks) | norms)
        variables = list_trainable(self.network)
        self.network.compile(_make_optimizer(keras, phase, settings, variables), "binary_crossentropy")
        self.optimizer = self.network.optimizer  # wrapped for loss scaling in float16
        self.optimizer.build(variables)
        averaged = _list_averaged(keras, self.network)
        self._average = WeightAverage(averaged, settings.ema) if settings.ema else None
        loss = {name: getattr(settings, name) for name in ("label_smoothing", "uniformity", "alignment")}
        options = StepOptions(masks, loss, settings.jit_compile, self._average)
        known = (self.network, variables, self.optimizer, collective)
        parts, crops = settings.accumulate, self.network.inputs[0]
        features = self.network.get_layer(POOL_LAYER).output
        self.extract = InferenceStep(crops, features) if by_features else None
        inputs = features if by_features else crops
        if parts > 1 and not by_features:
            self.train: TrainStep = AccumulatedStep(*known, parts, options)
        else:
            self.train = TrainStep(*known, options, inputs)
        self._score = InferenceStep(inputs, self.network.outputs[0])

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next update."""
        return float(np.asarray(self.optimizer.learning_rate))

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self.optimizer.learning_rate = rate

    def score(self, batch: np.ndarray) -> np.ndarray:
        """Scores ``(n,) float32``, as in inference, of what ``train`` takes."""
        return self._score(batch)[:, 0]

    @contextmanager
    def as_saved(self) -> Iterator[None]:
        """Within the block the network scores as if saved: with averages, where they are kept, in float32."""
        in_place = nullcontext() if self._average is None else self._average.in_place()
        with in_place, keras_runtime.exact_float32():
            yield

    def copy_weights(self) -> list[np.ndarray]:
        """Copies of all weights of the network, of any shapes, float32, in the order of ``list_weights``."""
        return copy_arrays(list_weights(self.network))

    def set_weights(self, arrays: Sequence[np.ndarray]) -> None:
        """Take weights that ``copy_weights`` gave; the average starts from them."""
        assign_weights(self.network, arrays)
        if self._average is not None:
            self._average.restart()

    def copy_state(self) -> dict[str, list[np.ndarray]]:
        """The state for a checkpoint, of any shapes; all workers have the same, however many they are."""
        return {
            "network": self.copy_weights(),
            "optimizer": copy_arrays(self.optimizer.variables),
            "average": [] if self._average is None else self._average.copy_state(),
        }

    def load(self, arrays: dict[str, list[np.ndarray]]) -> None:
        """Go on from what ``copy_state`` gave."""
        self.set_weights(arrays["network"])
        assign_arrays(self.optimizer.variables, arrays["optimizer"])
        if self._average is not None:
            self._average.load(arrays["average"])


def assign_weights(network: Any, arrays: Sequence[np.ndarray]) -> None:
    """Put float32 ``arrays`` into ``list_weights``; raises ``CheckpointError`` where shapes do not fit."""
    weights = list_weights(network)
    if [tuple(weight.shape) for weight in weights] != [array.shape for array in arrays]:
        raise CheckpointError("the checkpoint holds the weights of another network; train without it")
    assign_arrays(weights, arrays)


def _list_averaged(keras: Any, network: Any) -> list[Any]:
    """The weights that learn, and the moving statistics of the norms that learn: they belong together."""
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    statistics = [(norm.moving_mean, norm.moving_variance) for norm in norms if norm.trainable]
    chosen = {id(variable) for variable in (*network.trainable_variables, *chain.from_iterable(statistics))}
    return [weight for weight in list_weights(network) if id(weight) in chosen]


def _make_optimizer(keras: Any, phase: Phase, settings: TrainingConfig, variables: Sequence[Any]) -> Any:
    optimizer = make_adam(
        keras, settings.weight_decay, learning_rate=phase.learning_rate, global_clipnorm=settings.clip_norm
    )
    if settings.weight_decay:
        # biases and the scales of BatchNorm set a level, which there is no reason to keep small
        optimizer.exclude_from_weight_decay([v for v in variables if len(v.shape) < 2])
    return optimizer
