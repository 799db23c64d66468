"""Epochs as a few numbers plan them."""

from __future__ import annotations

from deepfake.config import TrainJobConfig
from deepfake.crops.dataset import Rows
from deepfake.training.data.epoch_plan import EpochPlan, plan_training_epoch


def plan_epoch(
    rows: Rows, balance: str, batch: int, row_groups: int, seed: int, epoch: int, fakes: str = "real"
) -> EpochPlan:
    """The plan of an epoch in batches of so many crops, shuffled so many row groups at a time."""
    training = {"balance": balance, "global_batch": batch, "shuffle_row_groups": row_groups, "seed": seed}
    config = {"input": "crops", "output": "out", "training": training, "augment": {"fakes": fakes}}
    return plan_training_epoch(rows, TrainJobConfig.model_validate(config), epoch)
