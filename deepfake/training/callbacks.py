"""Keras callbacks in a loop that is not ``keras.Model.fit``: called as there, by Keras' own ``CallbackList``.

Every value that they see is global, so all workers' callbacks decide alike. A phase is to them what a call
of ``fit`` is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deepfake.config import TrainingConfig
from deepfake.training import checkpoint

# Makes a worker's own callbacks. It goes to the workers' processes, so it must be picklable.
MakeCallbacks = Callable[[], Sequence[Any]]


class PhaseCallbacks:
    """The callbacks of one phase: those of the configuration, new in each, then the user's."""

    def __init__(
        self,
        keras: Any,
        network: Any,
        settings: TrainingConfig,
        own: Sequence[Any],
        params: Mapping[str, Any],
    ) -> None:
        self.network = network
        callbacks = [*_make_configured(keras, settings), *own]
        self._list = keras.callbacks.CallbackList(callbacks, model=network, **params)
        network.stop_training = False
        self.tell("on_train_begin")

    def tell(self, hook: str, *arguments: Any, **logs: Any) -> bool:
        """Call a hook of every callback; whether one of them has asked to stop."""
        getattr(self._list, hook)(*arguments, logs)
        return bool(self.network.stop_training)

    def copy_state(self) -> list[dict[str, Any]]:
        """Their counters and best values, for a checkpoint."""
        return [checkpoint.select_plain_state(callback) for callback in self._list.callbacks]

    def load(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Go on from what ``copy_state`` gave."""
        for callback, state in zip(self._list.callbacks, states, strict=True):
            vars(callback).update(state)


def _make_configured(keras: Any, settings: TrainingConfig) -> list[Any]:
    patience = settings.early_stopping_patience
    callbacks = [keras.callbacks.EarlyStopping("val_loss", patience=patience, mode="min")]
    if settings.schedule == "plateau":
        factor, patience = settings.reduce_lr_factor, settings.reduce_lr_patience
        lowest = {"min_lr": settings.min_learning_rate, "mode": "min"}
        callbacks.append(keras.callbacks.ReduceLROnPlateau("val_loss", factor, patience, **lowest))
    return callbacks
