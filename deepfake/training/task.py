"""What one run of training is about: the configuration, the crops, who chooses the epoch."""

import secrets
from dataclasses import dataclass, field

import numpy as np

from deepfake.config import CropConfig, TrainJobConfig
from deepfake.crops.dataset import Rows
from deepfake.training.callbacks import MakeCallbacks


@dataclass(frozen=True)
class TrainingTask:
    """Everything a worker is told."""

    config: TrainJobConfig  # URIs absolute
    files: tuple[str, ...]  # URIs
    train: Rows
    val: Rows
    val_videos: np.ndarray  # (n_val,) int64, of ``validation.number_choosing_videos``
    crop: CropConfig | None = None  # how the crops were cut
    callbacks: MakeCallbacks | None = None  # the user's own
    name: str = field(default_factory=lambda: secrets.token_hex(4))  # of what this run alone keeps on a node

    @property
    def crop_size(self) -> int:
        """Side of the crops in pixels, and of the network's input."""
        return (self.crop or CropConfig()).size
