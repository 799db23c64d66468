"""What one training worker does, from its first weights to the saved network. Runs inside Ray Train.

The pieces are elsewhere: batches, the optimisation step, the sums over workers, the checkpoint's format. This
module puts them in order. Every decision is taken on global values, so all workers decide alike.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray.train

from deepfake import batches, bundle, checkpoint, keras_runtime, metrics, model
from deepfake.checkpoint import CheckpointError, Progressed
from deepfake.collective import Collective
from deepfake.config import CropConfig, TrainJobConfig
from deepfake.cropset import Rows
from deepfake.global_norm import with_global_norms
from deepfake.plan import training_plan, validation_plan
from deepfake.progress import Progress
from deepfake.resources import WorkerResources
from deepfake.step import ScoreStep, TrainStep
from deepfake.storage import Storage, join
from deepfake.training_log import TensorBoardLog, line

log = logging.getLogger("deepfake.training")

_VALIDATION_BATCH = 32
_SEED_STRIDE = 1_000_003  # between the workers' dropout seeds
_METRICS = ("accuracy", "precision", "recall", "auc")


@dataclass(frozen=True)
class Work:
    """Everything a worker is told."""

    config: TrainJobConfig  # URIs absolute
    files: tuple[str, ...]
    train: Rows
    val: Rows
    resources: WorkerResources
    crop: CropConfig | None = None  # how the crops were cut


def train_worker(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Ray Train's entry: train, and on rank 0 save the network; returns what the driver needs."""
    _speak()
    context = ray.train.get_context()
    worker = Worker(settings["work"], context.get_world_rank(), context.get_world_size())
    found = ray.train.get_checkpoint()
    if found is not None:
        with found.as_directory() as folder:
            worker.restore(Path(folder))
    while worker.epoch_follows():
        worker.run_epoch()
    return worker.finish()


def _speak() -> None:
    """Let this project's log through from a worker, and not Ray's: one of its loggers is named by a path."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("deepfake").setLevel(logging.INFO)
    for name in ("ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)


class Worker:
    """One of the workers that train a network together."""

    def __init__(self, work: Work, rank: int, world: int) -> None:
        self.work, self.rank, self.world = work, rank, world
        self.settings = settings = work.config.training
        self.storage = Storage(work.config.storage)
        threads = None if settings.use_gpu else work.resources.threads
        precision = None if settings.mixed_precision == "none" else settings.mixed_precision
        self.keras = keras_runtime.start(threads, settings.seed, settings.deterministic, precision)
        self.collective = Collective(rank, world)
        log.info("worker %d of %d: process %d, %s threads", rank, world, os.getpid(), threads or "all")

        network = model.build(work.config.model, self.storage)
        model.set_trainable(network, settings.trainable, settings.freeze_batch_norm)
        self.network = with_global_norms(network, self.collective)
        self.network.compile(self.keras.optimizers.Adam(settings.learning_rate), "binary_crossentropy")
        self.optimizer = self.network.optimizer  # wrapped for loss scaling in float16
        self.optimizer.build(self.network.trainable_variables)
        self.network.set_weights(self.collective.from_first(self.network.get_weights()))
        self.seeds = [v for v in self.network.non_trainable_variables if v.dtype == "uint32"]
        self.callbacks = _callbacks(self.keras, self.network, work.config)

        self.progressed = Progressed()
        self.validation = validation_plan(work.val)
        self.best, self.best_scores = self.network.get_weights(), np.zeros(len(self.validation))
        self.val_source = self._source(work.val, augmented=False)
        self.train_source = self._source(work.train, augmented=True)
        self.train_step = TrainStep(self.network, self.optimizer, self.collective)
        self.score_step = ScoreStep(self.network)
        self.collective.prepare(len(self._plan(0)), len(self.validation))
        self.board = (
            TensorBoardLog(join(work.config.output, "tensorboard"), self.storage) if rank == 0 else None
        )
        self._shift_seeds(rank)

    def _source(self, rows: Rows, augmented: bool) -> batches.Source:
        config = self.work.config
        return batches.Source(
            config.input,
            self.work.files,
            rows,
            self.storage,
            config.augment if augmented else None,
            config.training.seed,
            self.work.crop,
        )

    def _plan(self, epoch: int) -> Any:
        s = self.settings
        return training_plan(
            self.work.train,
            s.balance,
            s.global_batch,
            s.shuffle_row_groups,
            s.seed,
            epoch,
            self.work.config.augment.fakes,
        )

    def _shift_seeds(self, ranks: int) -> None:
        """Give each worker dropout masks of its own; checkpoints hold rank 0's."""
        for seed in self.seeds:
            seed.assign(np.asarray(seed) + np.array([ranks * _SEED_STRIDE, 0], np.uint32))

    def epoch_follows(self) -> bool:
        """Whether there is another epoch to train."""
        return self.progressed.epoch < self.settings.epochs and not self.progressed.stopped

    def run_epoch(self) -> None:
        """Train and validate one epoch, let the callbacks decide, and leave a checkpoint."""
        epoch = self.progressed.epoch
        row: dict[str, Any] = {"epoch": epoch + 1, "learning_rate": self._learning_rate()}
        row.update(self._train(epoch))
        started = time.monotonic()
        scores = self._validate(self.score_step)
        row.update(_measures(self._val_labels(), scores, "val_"))
        row["val_seconds"] = time.monotonic() - started
        history = self.progressed.history
        row["best"] = not history or row["val_loss"] < min(past["val_loss"] for past in history)
        if row["best"]:
            self.best, self.best_scores = self.network.get_weights(), scores
            self.progressed.best_epoch = epoch + 1
        self.network.stop_training = False
        for callback in self.callbacks:
            callback.on_epoch_end(epoch, dict(row))
        history.append(row)
        self.progressed.epoch = epoch + 1
        self.progressed.stopped = bool(self.network.stop_training)
        self._report(row)

    def _train(self, epoch: int) -> dict[str, Any]:
        plan = self._plan(epoch)
        share = plan.share(self.rank, self.world)
        labels = plan.label
        scores = np.zeros(len(plan), np.float32)
        wait = batches.InputWait()
        started = time.monotonic()
        stream = batches.stream(self.train_source, plan, share, epoch, self.work.resources, wait)
        with Progress(f"epoch {epoch + 1}/{self.settings.epochs}", plan.steps) as progress:
            for batch in stream:
                scores[batch.positions] = self.train_step(batch.crops, labels[batch.positions])
                if self.rank == 0:
                    progress.step()
        seconds = time.monotonic() - started
        return {
            "steps": plan.steps,
            "crops": len(plan),
            **_measures(labels, self.collective.sum(scores)),
            "penalty": float(sum(float(loss) for loss in self.network.losses)),
            "train_seconds": seconds,
            "input_wait_seconds": wait.seconds,
        }

    def _validate(self, step: ScoreStep) -> np.ndarray:
        """Scores ``(n_val,) float64`` of all validation crops, in plan order, the same on every worker."""
        plan = self.validation
        share = plan.stretch(self.rank, self.world, _VALIDATION_BATCH)
        scores = np.zeros(len(plan), np.float32)
        wait = batches.InputWait()
        for batch in batches.stream(self.val_source, plan, share, 0, self.work.resources, wait):
            scores[batch.positions] = step(batch.crops)
        return self.collective.sum(scores).astype(np.float64)

    def _val_labels(self) -> np.ndarray:
        return self.work.val.label[self.validation.rows]

    def _learning_rate(self) -> float:
        return float(np.asarray(self.optimizer.learning_rate))

    def _report(self, row: dict[str, Any]) -> None:
        """Hand Ray Train the epoch's checkpoint; all workers wait here for each other."""
        name = f"epoch-{row['epoch']:05d}"
        if self.rank != 0:
            ray.train.report(dict(row), checkpoint_dir_name=name)
            return
        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder))
            ray.train.report(
                dict(row), checkpoint=ray.train.Checkpoint.from_directory(folder), checkpoint_dir_name=name
            )
        log.info("%s", line(row, self.settings.epochs))
        if self.board is not None:
            self.board.write(row)

    def save(self, folder: Path) -> None:
        """Write this worker's state; the same on every worker but for the dropout seeds."""
        self.progressed.callbacks = [checkpoint.plain_state(callback) for callback in self.callbacks]
        arrays = {
            "network": self.network.get_weights(),
            "seeds": [np.asarray(seed) for seed in self.seeds],
            "optimizer": [np.asarray(variable) for variable in self.optimizer.variables],
            "best": self.best,
            "best_scores": [self.best_scores],
        }
        checkpoint.save(folder, self.progressed, arrays)

    def restore(self, folder: Path) -> None:
        """Go on from what rank 0 saved."""
        self.progressed, arrays = checkpoint.load(folder)
        network, optimizer = arrays["network"], arrays["optimizer"]
        if [a.shape for a in network] != [a.shape for a in self.network.get_weights()]:
            raise CheckpointError(f"{folder}: weights of another network")
        self.network.set_weights(network)
        for variable, value in zip(self.optimizer.variables, optimizer, strict=True):
            variable.assign(value)
        for seed, value in zip(self.seeds, arrays.get("seeds", []), strict=True):
            seed.assign(value)
        self._shift_seeds(self.rank)
        for callback, state in zip(self.callbacks, self.progressed.callbacks, strict=True):
            vars(callback).update(state)
        self.best, (self.best_scores,) = arrays["best"], arrays["best_scores"]
        if self.rank == 0:
            log.info("going on after epoch %d", self.progressed.epoch)

    def finish(self) -> dict[str, Any]:
        """Save the best weights as a float32 network; validation's scores are those of what was saved."""
        self.network.set_weights(self.best)
        scores = self.best_scores
        if self.settings.mixed_precision != "none":  # what is saved computes in float32
            scores = self._validate(ScoreStep(model.for_inference(self.network)))
        result: dict[str, Any] = {
            "history": self.progressed.history,
            "best_epoch": self.progressed.best_epoch,
        }
        if self.rank == 0:
            content = bundle.network_bytes(model.for_inference(self.network))
            self.storage.write_bytes(join(self.work.config.output, bundle.MODEL_FILE), content)
            result["model_sha256"] = hashlib.sha256(content).hexdigest()
            result["val_scores"] = scores.tolist()
            result["val_labels"] = self._val_labels().tolist()
        return result


def _callbacks(keras: Any, network: Any, config: TrainJobConfig) -> list[Any]:
    """Keras' own callbacks, told once an epoch what all workers know alike."""
    s = config.training
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=s.early_stopping_patience, mode="min"),
        keras.callbacks.ReduceLROnPlateau(
            "val_loss",
            factor=s.reduce_lr_factor,
            patience=s.reduce_lr_patience,
            min_lr=s.min_learning_rate,
            mode="min",
        ),
    ]
    for callback in callbacks:
        callback.set_model(network)
        callback.on_train_begin()
    return callbacks


def _measures(labels: np.ndarray, scores: np.ndarray, prefix: str = "") -> dict[str, float | None]:
    found = metrics.binary(labels, scores)
    return {prefix + "loss": found["log_loss"], **{prefix + name: found[name] for name in _METRICS}}
