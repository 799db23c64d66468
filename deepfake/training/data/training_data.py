"""What one worker learns from and validates on: plans of epochs, streams of crops or of features."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from deepfake.config import AugmentConfig
from deepfake.crops.dataset import Rows
from deepfake.execution import session
from deepfake.io.storage import Storage
from deepfake.model import keras_runtime
from deepfake.outcome import get_clock
from deepfake.progress import Progress
from deepfake.training.data import loader
from deepfake.training.data.epoch_plan import EpochPlan, Share, plan_training_epoch, plan_validation
from deepfake.training.data.features import FeatureStream, can_keep_features, compute_features
from deepfake.training.data.pixel_cache import plan_caches
from deepfake.training.distributed.collective import Collective
from deepfake.training.resources import WorkerResources
from deepfake.training.schedule import Phase
from deepfake.training.task import TrainingTask

log = logging.getLogger(__name__)

BATCH = 32  # crops that are scored at once
Stream = loader.BatchStream | FeatureStream


class TrainingData:
    """The crops of a training as one of its workers sees them."""

    def __init__(
        self, task: TrainingTask, resources: WorkerResources, collective: Collective, kept: Path | None
    ) -> None:
        """``kept``: a folder of this node where decoded crops lie until the end of the run; None: nowhere."""
        self._task, self._collective = task, collective
        self._storage = Storage(task.config.storage)
        self.validation = plan_validation(task.val)
        self.val_labels = task.val.label[self.validation.rows]
        self._feeder: loader.Feeder = (
            loader.LoaderWorkers(resources) if session.workers_exist() else loader.LoaderThread()
        )
        wide = task.crop_size + (2 * task.crop.surround if task.crop else 0)
        sides = {"train": (len(task.train), wide), "val": (len(task.val), task.crop_size)}
        self._caches = plan_caches(kept, task.config.training.cache_gb, sides) if kept else {}
        self._features: dict[str, np.ndarray] = {}  # by split, where a phase learns from these

    def plan_epoch(self, epoch: int) -> EpochPlan:
        """What an epoch shows, the same on every worker."""
        return plan_training_epoch(self._task.train, self._task.config, epoch)

    def stream_training(self, plan: EpochPlan, steps: int, epoch: int) -> Stream:
        """This worker's batches of an epoch after so many steps."""
        share = plan.cut_share(self._collective.rank, self._collective.world).skip(steps)
        return self._stream("train", plan, share, epoch)

    def score_validation(self, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Scores ``(n_val,) float64`` of all validation crops, in plan order, the same on every worker."""
        plan = self.validation
        scores = np.zeros(len(plan), np.float32)
        for batch in self._stream("val", plan, self._cut_stretch(plan)):
            with get_clock().on("score"):
                scores[batch.positions] = score(batch.inputs)
        return self._collective.sum(scores).astype(np.float64)

    def has_features(self, phase: Phase, width: int) -> bool:
        """Whether a phase is to learn from the backbone's features, of so many numbers a crop."""
        shown = len(self.plan_epoch(0))
        return can_keep_features(self._task.config, phase, len(self._task.train), shown, width)

    def keep_features(self, extract: Callable[[np.ndarray], np.ndarray], width: int) -> float:
        """Stream features from here on, ``(width,)`` of each crop, by ``extract``; seconds it took."""
        started, found = time.monotonic(), {}
        plans = {"train": plan_validation(self._task.train), "val": self.validation}
        shares = {name: self._cut_stretch(plan) for name, plan in plans.items()}
        batches = sum(len(share.sizes) for share in shares.values())
        with keras_runtime.exact_float32(), Progress("batches of features", batches) as progress:

            def extract_batch(crops: np.ndarray) -> np.ndarray:
                if self._collective.rank == 0:
                    progress.step()
                with get_clock().on("score"):
                    return extract(crops)

            for name, plan in plans.items():
                stream = self._stream(name, plan, shares[name])
                found[name] = compute_features(extract_batch, width, stream, plan.rows, self._collective)
        self._features, seconds = found, time.monotonic() - started
        if self._collective.rank == 0:
            log.info(
                "the backbone stands still: its features of %d crops, computed in %.0f s, are kept",
                sum(map(len, found.values())), seconds,
            )  # fmt: skip
        return seconds

    def drop_features(self) -> None:
        """Stream crops from here on."""
        self._features = {}

    def _cut_stretch(self, plan: EpochPlan) -> Share:
        return plan.cut_stretch(self._collective.rank, self._collective.world, BATCH)

    def _stream(self, name: str, plan: EpochPlan, share: Share, epoch: int | None = None) -> Stream:
        """``epoch``: by which crops are augmented; None: they are as stored."""
        if self._features:
            return FeatureStream(self._features[name], plan, share)
        task = self._task
        rows: Rows = task.train if name == "train" else task.val
        augment: AugmentConfig | None = None if epoch is None else task.config.augment
        cache = self._caches.get(name)
        seed = task.config.training.seed
        source = loader.Source(task.files, rows, self._storage, augment, seed, task.crop, cache)
        return loader.BatchStream(source, plan, share, epoch or 0, self._feeder)
