"""What learns when, and how fast: the phases of a training run and the learning rate of each step.

First the head learns alone on features that stand still, then the backbone learns with it at a lower rate:
gradients of an untrained head would spoil what the backbone knows. Pure functions; no Keras, no Ray.
"""

import math
from dataclasses import dataclass
from typing import Literal

from deepfake.config import TrainingConfig

Part = Literal["head", "top", "norms", "all"]


@dataclass(frozen=True)
class Phase:
    """One stretch of epochs in which the same weights learn."""

    trains: Part
    epochs: int  # at most
    learning_rate: float  # where its schedule starts

    @property
    def name(self) -> str:
        """What the history calls the phase."""
        return "head" if self.trains == "head" else "fine_tune"


def plan_phases(settings: TrainingConfig) -> tuple[Phase, ...]:
    """The phases of a run, in order; together ``settings.epochs`` epochs at most."""
    if settings.fine_tune == "none":
        return (Phase("head", settings.epochs, settings.head_learning_rate),)
    head = min(settings.head_epochs, settings.epochs - 1)
    tuned = Phase(settings.fine_tune, settings.epochs - head, settings.learning_rate)
    return (Phase("head", head, settings.head_learning_rate), tuned) if head else (tuned,)


def compute_learning_rate(
    settings: TrainingConfig, phase: Phase, step: int, steps_per_epoch: int
) -> float | None:
    """The rate of a phase's update number ``step``, counted from 0; None: as callbacks have left it.

    Warm-up ends with the phase's full rate. Nothing here depends on the number of workers.
    """
    warm = round(settings.warmup_epochs * steps_per_epoch)
    if step < warm:
        return phase.learning_rate * (step + 1) / warm
    if settings.schedule == "plateau":
        return phase.learning_rate if step == warm else None
    lowest = min(settings.min_learning_rate, phase.learning_rate)
    share = (step - warm) / max(1, phase.epochs * steps_per_epoch - warm)
    return lowest + (phase.learning_rate - lowest) * (1 + math.cos(math.pi * min(share, 1.0))) / 2
