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


# What ``training.select`` looks at, and which way is better. Stopping and rates always need something.
WATCHED = {
    "balanced_loss": ("val_balanced_loss", "min"),
    "val_video_auc": ("val_video_auc", "max"),
    "last": ("val_balanced_loss", "min"),
}


def rank_epoch(select: str, row: Mapping[str, Any]) -> tuple[float, ...]:
    """How good an epoch is by ``training.select``, from its row of the history; greater is better."""
    loss = -row["val_balanced_loss"]
    ranks = {"balanced_loss": (loss,), "val_video_auc": (row["val_video_auc"], loss), "last": (row["epoch"],)}
    return ranks[select]


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
    watched, mode = WATCHED[settings.select]
    callbacks = []
    if settings.early_stopping_patience is not None:
        patience = settings.early_stopping_patience
        callbacks.append(keras.callbacks.EarlyStopping(watched, patience=patience, mode=mode))
    if settings.schedule == "plateau":
        factor, patience = settings.reduce_lr_factor, settings.reduce_lr_patience
        lowest = {"min_lr": settings.min_learning_rate, "mode": mode}
        callbacks.append(keras.callbacks.ReduceLROnPlateau(watched, factor, patience, **lowest))
    return callbacks
