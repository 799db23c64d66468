"""What one training worker does, from its first weights to the saved network. Runs inside Ray Train.

The pieces are elsewhere: batches, phases, the learner with its steps, callbacks, the checkpoint's format.
This module puts them in order. Every decision is taken on global values, so all workers decide alike.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray.train

from deepfake import metrics
from deepfake.config import CropConfig, TrainJobConfig
from deepfake.crops.dataset import Rows
from deepfake.errors import JobError
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.model import bundle, keras_runtime
from deepfake.model.network import build_network, copy_for_inference
from deepfake.progress import Progress
from deepfake.training import checkpoint
from deepfake.training.callbacks import MakeCallbacks, PhaseCallbacks
from deepfake.training.checkpoint import CheckpointError, Progressed
from deepfake.training.data import loader
from deepfake.training.data.epoch_plan import EpochPlan, training_plan, validation_plan
from deepfake.training.distributed.collective import Collective
from deepfake.training.history import TensorBoardLog, line
from deepfake.training.learner import Learner, assign
from deepfake.training.ray_train import own_share
from deepfake.training.schedule import learning_rate, phases
from deepfake.training.step import ScoreStep

log = logging.getLogger(__name__)

_VALIDATION_BATCH = 32
_METRICS = ("accuracy", "precision", "recall", "auc")


@dataclass(frozen=True)
class Work:
    """Everything a worker is told."""

    config: TrainJobConfig  # URIs absolute
    files: tuple[str, ...]
    train: Rows
    val: Rows
    crop: CropConfig | None = None  # how the crops were cut
    callbacks: MakeCallbacks | None = None  # the user's own


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

    learner: Learner  # of the phase under way
    callbacks: PhaseCallbacks

    def __init__(self, work: Work, rank: int, world: int) -> None:
        self.work, self.rank, self.world = work, rank, world
        self.settings = settings = work.config.training
        self.storage = Storage(work.config.storage)
        resources = own_share(
            settings.threads_per_worker,
            ray.train.get_context().get_local_world_size(),
            settings.use_gpu,
        )
        threads = None if settings.use_gpu else resources.threads
        precision = None if settings.mixed_precision == "none" else settings.mixed_precision
        self.keras = keras_runtime.start(threads, settings.seed, settings.deterministic, precision)
        self.collective = Collective(rank, world)
        log.info(
            "worker %d of %d: process %d on %s, %s threads, %d decoding",
            rank, world, os.getpid(), socket.gethostname(), threads or "all", resources.data_tasks,
        )  # fmt: skip

        self.phases = phases(settings)
        self.progressed = Progressed()
        self.validation = validation_plan(work.val)
        self.best: list[np.ndarray] = []  # weights, in ordered_weights
        self.best_scores = np.zeros(len(self.validation))
        self.val_source = self._source(work.val, augmented=False)
        self.train_source = self._source(work.train, augmented=True)
        self.makers = loader.Makers(resources)
        self.own_callbacks = list(work.callbacks()) if work.callbacks else []
        self.collective.prepare(len(self._plan(0)), len(self.validation))
        self.board = (
            TensorBoardLog(join(work.config.output, "tensorboard"), self.storage) if rank == 0 else None
        )
        self._under_way = False  # whether there is a learner

    def _source(self, rows: Rows, augmented: bool) -> loader.Source:
        config = self.work.config
        return loader.Source(
            config.input,
            self.work.files,
            rows,
            self.storage,
            config.augment if augmented else None,
            config.training.seed,
            self.work.crop,
        )

    def _plan(self, epoch: int) -> EpochPlan:
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

    def epoch_follows(self) -> bool:
        """Whether there is another epoch to train; begins the phase that it belongs to."""
        done = self.progressed
        if self._phase_is_over():
            if done.phase + 1 == len(self.phases):
                return False
            if self._under_way:
                self.callbacks.tell("on_train_end")
            done.phase, done.phase_start, done.stopped = done.phase + 1, done.epoch, False
            self._begin_phase()
            self.learner.set_weights(self.best)  # which the phase before may have left behind
        elif not self._under_way:
            self._begin_phase()
            self.learner.set_weights(self.collective.from_first(self.learner.weights()))
            self.best = self.learner.weights()
        return True

    def _phase_is_over(self) -> bool:
        done = self.progressed
        return done.stopped or done.epoch - done.phase_start >= self.phases[done.phase].epochs

    def _begin_phase(self) -> None:
        """A new network, optimizer and step; the same on every worker, and after a restart."""
        number, phase = self.progressed.phase, self.phases[self.progressed.phase]
        self._under_way = False
        for name in ("learner", "callbacks"):  # two networks at once would be two in memory
            vars(self).pop(name, None)
        gc.collect()
        self.keras.utils.set_random_seed(self.settings.seed + number)
        plain = self._new_network()
        self.learner = Learner(plain, phase, self.settings, self.collective)
        params = {"epochs": phase.epochs, "steps": self._plan(0).steps, "verbose": 0}
        self.callbacks = PhaseCallbacks(
            self.keras, self.learner.network, self.settings, self.own_callbacks, params
        )
        self._under_way = True
        if self.rank == 0:
            count = sum(int(np.prod(v.shape)) for v in self.learner.network.trainable_variables)
            log.info("phase %s: at most %d epochs, %d weights learn", phase.name, phase.epochs, count)

    def _new_network(self) -> Any:
        return build_network(self.work.config.model, self.storage, self.work.config.faults)

    def run_epoch(self) -> None:
        """Train and validate one epoch, let the callbacks decide, and leave a checkpoint."""
        done = self.progressed
        epoch = done.epoch
        row: dict[str, Any] = {"epoch": epoch + 1, "phase": self.phases[done.phase].name}
        self.callbacks.tell("on_epoch_begin", epoch)
        row.update(self._train(epoch))
        row["learning_rate"] = self.learner.learning_rate
        started = time.monotonic()
        self.callbacks.tell("on_test_begin")
        with self.learner.as_saved():
            scores = self._validate(self.learner.score)
            row.update(_measures(self._val_labels(), scores, "val_"))
            row["best"] = not done.history or row["val_loss"] < min(past["val_loss"] for past in done.history)
            if row["best"]:
                self.best, self.best_scores = self.learner.weights(), scores
                done.best_epoch = epoch + 1
        self.callbacks.tell("on_test_end", loss=row["val_loss"])
        row["val_seconds"] = time.monotonic() - started
        done.stopped = self.callbacks.tell("on_epoch_end", epoch, **row)
        done.history.append(row)
        done.epoch = epoch + 1
        self._report(row)

    def _train(self, epoch: int) -> dict[str, Any]:
        plan, done = self._plan(epoch), self.progressed
        phase = self.phases[done.phase]
        share = plan.share(self.rank, self.world)
        labels = plan.label
        scores = np.zeros(len(plan), np.float32)
        wait = loader.InputWait()
        before = (epoch - done.phase_start) * plan.steps  # updates of the phase
        steps = 0
        started = time.monotonic()
        stream = loader.stream(self.train_source, plan, share, epoch, self.makers, wait)
        with Progress(f"epoch {epoch + 1}/{self.settings.epochs}", plan.steps) as progress:
            for batch in stream:
                rate = learning_rate(self.settings, phase, before + steps, plan.steps)
                if rate is not None:
                    self.learner.learning_rate = rate
                self.callbacks.tell("on_train_batch_begin", steps)
                scores[batch.positions] = self.learner.train(batch.crops, labels[batch.positions])
                stop = self.callbacks.tell("on_train_batch_end", steps, loss=self.learner.train.loss)
                steps += 1
                if self.rank == 0:
                    progress.step()
                if stop:  # the same on every worker: the loss is that of the global batch
                    break
        seconds = time.monotonic() - started
        shown = int(plan.cuts[steps])
        return {
            "steps": steps,
            "crops": shown,
            **_measures(labels[:shown], self.collective.sum(scores)[:shown]),
            "penalty": float(sum(float(loss) for loss in self.learner.network.losses)),
            "train_seconds": seconds,
            "input_wait_seconds": wait.seconds,
        }

    def _validate(self, step: ScoreStep) -> np.ndarray:
        """Scores ``(n_val,) float64`` of all validation crops, in plan order, the same on every worker."""
        plan = self.validation
        share = plan.stretch(self.rank, self.world, _VALIDATION_BATCH)
        scores = np.zeros(len(plan), np.float32)
        wait = loader.InputWait()
        for batch in loader.stream(self.val_source, plan, share, 0, self.makers, wait):
            scores[batch.positions] = step(batch.crops)
        return self.collective.sum(scores).astype(np.float64)

    def _val_labels(self) -> np.ndarray:
        return self.work.val.label[self.validation.rows]

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
        self.progressed.callbacks = self.callbacks.state()
        arrays = {**self.learner.arrays(), "best": self.best, "best_scores": [self.best_scores]}
        checkpoint.save(folder, self.progressed, arrays)

    def restore(self, folder: Path) -> None:
        """Go on from what rank 0 saved: within the phase, or before the next."""
        self.progressed, arrays = checkpoint.load(folder)
        if self.progressed.phase >= len(self.phases):
            raise CheckpointError(f"{folder}: a checkpoint of another recipe; train without it")
        self.best, (self.best_scores,) = arrays["best"], arrays["best_scores"]
        if not self._phase_is_over():
            self._begin_phase()
            self.learner.load(arrays)
            self.callbacks.load(self.progressed.callbacks)
        if self.rank == 0:
            log.info("going on after epoch %d", self.progressed.epoch)

    def finish(self) -> dict[str, Any]:
        """Save the best weights as a float32 network; validation's scores are those of what was saved."""
        if self._under_way:
            self.callbacks.tell("on_train_end")
            network = self.learner.network
        else:  # started again after the last epoch
            network = self._new_network()
        assign(network, self.best)
        network = copy_for_inference(network)
        scores = self.best_scores
        if self.settings.mixed_precision != "none":  # what is saved computes in float32
            scores = self._validate(ScoreStep(network))
        result: dict[str, Any] = {
            "history": self.progressed.history,
            "best_epoch": self.progressed.best_epoch,
        }
        if self.rank == 0:
            content = bundle.network_bytes(network)
            self.storage.write_bytes(join(self.work.config.output, bundle.MODEL_FILE), content)
            result["model_sha256"] = hashlib.sha256(content).hexdigest()
            result["val_scores"] = scores.tolist()
            result["val_labels"] = self._val_labels().tolist()
        return result


def _measures(labels: np.ndarray, scores: np.ndarray, prefix: str = "") -> dict[str, float | None]:
    if not np.isfinite(scores).all():
        raise JobError(
            "the network's scores are no longer finite; lower training.learning_rate or "
            "training.head_learning_rate, or set training.clip_norm"
        )
    found = metrics.binary(labels, scores)
    return {prefix + "loss": found["log_loss"], **{prefix + name: found[name] for name in _METRICS}}
