"""The training loop: what one worker does, from first weights to saved network. Runs inside Ray Train.

The parts are elsewhere: batches, phases, the learner with its steps, callbacks, the checkpoint's format.
This module puts them in order. Every decision is taken on global values, so all workers decide alike.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deepfake import metrics
from deepfake.errors import JobError, UsageError
from deepfake.execution import accounting
from deepfake.io.lock import Lock
from deepfake.io.storage import Storage
from deepfake.io.temporary import make_temporary_folder
from deepfake.io.uri import join
from deepfake.model import bundle, inference, keras_runtime
from deepfake.model.hub import describe_backbone
from deepfake.model.initialisation import build_starting_network
from deepfake.model.network import POOL_LAYER, copy_for_inference
from deepfake.outcome import get_clock, start_clock
from deepfake.progress import Progress
from deepfake.training import checkpoint
from deepfake.training.callbacks import PhaseCallbacks, rank_epoch
from deepfake.training.checkpoint import CheckpointError, TrainingState
from deepfake.training.data.pixel_cache import keep_pixels
from deepfake.training.data.training_data import BATCH, TrainingData
from deepfake.training.distributed.collective import Collective
from deepfake.training.history import TensorBoardLog, format_epoch
from deepfake.training.learner import Learner, assign_weights
from deepfake.training.ray_train import FAILED, configure_logging, find_own_share
from deepfake.training.resources import WorkerResources, divide_node
from deepfake.training.schedule import compute_learning_rate, plan_phases
from deepfake.training.task import TrainingTask
from deepfake.training.trackers import Trackers
from deepfake.training.validation import measure_evenly

log = logging.getLogger(__name__)

_ASKED_EVERY = 4  # steps after which it is asked whether a checkpoint is due
_METRICS = ("accuracy", "precision", "recall", "auc")


class NotFiniteError(JobError):
    """The network's scores are no numbers any more; all workers find it alike."""


class PhaseState(NamedTuple):
    """What is in memory for the phase that is being trained."""

    learner: Learner
    callbacks: PhaseCallbacks


def train_worker(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Ray Train's entry: train, and on rank 0 save the network; returns what the driver needs."""
    import ray.train

    configure_logging()
    context = ray.train.get_context()
    task: TrainingTask = settings["task"]
    options = task.config.training
    resources = find_own_share(options.threads_per_worker, context.get_local_world_size(), options.use_gpu)
    start_clock().enter(accounting.START)
    cores = resources.count_cores(options.use_gpu)
    with keep_pixels(options.cache_gb, task.name) as kept:
        trainer = Trainer(task, resources, context.get_world_rank(), context.get_world_size(), kept)
        last = ray.train.get_checkpoint()
        if last is None:  # of this run; what a run without Ray has left is none to Ray Train
            trainer.restore_newest(settings["checkpoints"])
        else:
            with last.as_directory() as folder:
                trainer.restore(Path(folder))
        get_clock().enter(accounting.OTHER)
        try:
            while trainer.has_more_epochs():
                row = trainer.run_epoch(lambda: report(trainer, {}))
                report(trainer, row)
                trainer.publish(row)
                accounting.leave_account(cores)
            result = trainer.finish()
            accounting.leave_account(cores)
            return result
        except NotFiniteError as error:  # on every worker, and again on those that would take their place
            return {FAILED: str(error)}


def train_here(settings: Mapping[str, Any], cpus: float, mine: Lock) -> dict[str, Any]:
    """The same in this process, alone and without Ray, on so many CPUs; a thread decodes the crops.

    Raises ``JobError`` where training fails, or the lock of the output is found to be another job's.
    """
    task: TrainingTask = settings["task"]
    options = task.config.training
    resources = divide_node(cpus, 1, options.threads_per_worker)
    with (
        keep_pixels(options.cache_gb, task.name) as kept,
        accounting.work_here(resources.threads) as working,
        working(),
    ):
        with get_clock().on(accounting.START):
            trainer = Trainer(task, resources, 0, 1, kept)
        with get_clock().on(accounting.OTHER):
            return _train_alone(trainer, settings["checkpoints"], mine)


def _train_alone(trainer: Trainer, checkpoints: str, mine: Lock) -> dict[str, Any]:
    def keep() -> None:
        mine.check()
        with get_clock().on("checkpoint"), make_temporary_folder() as folder:
            trainer.save(folder)
            name = checkpoint.name_checkpoint(trainer.state)
            checkpoint.keep_checkpoint(folder, checkpoints, name, trainer.storage)

    try:
        trainer.restore_newest(checkpoints)
        while trainer.has_more_epochs():
            row = trainer.run_epoch(keep)
            keep()
            trainer.publish(row)
        return trainer.finish()
    except (JobError, UsageError):
        raise
    except Exception as error:
        raise JobError(f"training failed: {type(error).__name__}: {error}") from error
    finally:
        trainer.keras.mixed_precision.set_global_policy("float32")  # of all that this process does after


def report(trainer: Trainer, row: Mapping[str, Any]) -> None:
    """Hand Ray Train a checkpoint, and a complete epoch's row; all workers wait here for each other."""
    import ray.train

    name = checkpoint.name_checkpoint(trainer.state)
    with get_clock().on("checkpoint"):
        if trainer.collective.rank != 0:
            ray.train.report(dict(row), checkpoint_dir_name=name)
            return
        with make_temporary_folder() as folder:
            trainer.save(folder)
            saved = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(dict(row), checkpoint=saved, checkpoint_dir_name=name)


class Trainer:
    """One of the workers that train a network together."""

    def __init__(
        self, task: TrainingTask, resources: WorkerResources, rank: int, world: int, kept: Path | None = None
    ) -> None:
        """``kept``: a folder of this node where decoded crops lie until the end of the run; None: nowhere."""
        self.task, self.settings = task, task.config.training
        self.storage = Storage(task.config.storage)
        threads = None if self.settings.use_gpu else resources.threads
        precision = None if self.settings.mixed_precision == "none" else self.settings.mixed_precision
        self.keras = keras_runtime.start_keras(
            threads, self.settings.seed, self.settings.deterministic, precision, self.settings.use_gpu
        )
        self.collective = Collective(rank, world)
        log.info(
            "worker %d of %d: process %d on %s, %s threads, %d decoding",
            rank, world, os.getpid(), socket.gethostname(), threads or "all", resources.data_tasks,
        )  # fmt: skip

        self.phases = plan_phases(self.settings)
        self.own_callbacks = list(task.callbacks()) if task.callbacks else []
        self.data = TrainingData(task, resources, self.collective, kept)
        self.collective.prepare(len(self.data.plan_epoch(0)), len(self.data.validation), 1)
        self.board = (
            TensorBoardLog(join(task.config.output, "tensorboard"), self.storage) if rank == 0 else None
        )
        self.trackers: Trackers | None = None  # the first worker has them from its first epoch on
        # what a checkpoint holds besides the learner
        self.state = TrainingState()
        self.best_weights: list[np.ndarray] = []  # as network.list_weights, of the best epoch so far
        self.scores: list[np.ndarray] = []  # of all workers in an epoch that is begun: one ``(n,) float32``
        self.phase_state: PhaseState | None = None  # None before a phase begins

    def has_more_epochs(self) -> bool:
        """Whether there is another epoch to train."""
        return self.state.phase + 1 < len(self.phases) or not self._phase_is_over()

    def run_epoch(self, keep: Callable[[], None] | None = None) -> dict[str, Any]:
        """Train and validate one epoch, or the rest of it; the epoch's row of the history.

        ``keep`` is called on every worker within the epoch each ``training.checkpoint_minutes``: to ``save``.
        """
        state, current = self.state, self._enter_phase()
        if self.collective.rank == 0 and self.trackers is None:
            self.trackers = Trackers(self.task.config, state.tracked)
        row: dict[str, Any] = {"epoch": state.epoch + 1, "phase": self.phases[state.phase].name}
        if state.steps == 0:
            current.callbacks.tell("on_epoch_begin", state.epoch)
        row |= self.train_epoch(current, keep)
        row["learning_rate"] = current.learner.learning_rate
        row |= self.validate(current)
        state.stopped = current.callbacks.tell("on_epoch_end", state.epoch, **row)
        state.history.append(row)
        state.epoch += 1
        return row

    def _enter_phase(self) -> PhaseState:
        """The phase that the next epoch belongs to, begun where it is a new one."""
        state = self.state
        if self._phase_is_over():
            if self.phase_state is not None:
                self.phase_state.callbacks.tell("on_train_end")
            state.phase, state.phase_start, state.stopped = state.phase + 1, state.epoch, False
            current = self._begin_phase()
            current.learner.set_weights(self.best_weights)  # which the phase before may have left behind
        elif self.phase_state is None:
            current = self._begin_phase()
            current.learner.set_weights(self.collective.copy_from_first(current.learner.copy_weights()))
        else:
            current = self.phase_state
        return current

    def _phase_is_over(self) -> bool:
        state = self.state
        return state.stopped or state.epoch - state.phase_start >= self.phases[state.phase].epochs

    def _begin_phase(self) -> PhaseState:
        """A new network, optimizer and step; the same on every worker, and after a restart."""
        with get_clock().on(accounting.START):
            return self._make_phase()

    def _make_phase(self) -> PhaseState:
        number, phase = self.state.phase, self.phases[self.state.phase]
        self.phase_state = None  # two networks at once would be two in memory
        gc.collect()
        self.keras.utils.set_random_seed(self.settings.seed + number)
        network = self._build_network()
        width = network.get_layer(POOL_LAYER).output.shape[-1]
        by_features = self.data.has_features(phase, width)
        learner = Learner(network, phase, self.settings, self.collective, by_features)
        self.data.drop_features()  # those of the phase before
        if learner.extract is not None:
            self.state.seconds += self.data.keep_features(learner.extract, width)
        params = {"epochs": phase.epochs, "steps": self.data.plan_epoch(0).steps, "verbose": 0}
        callbacks = PhaseCallbacks(self.keras, learner.network, self.settings, self.own_callbacks, params)
        self.phase_state = PhaseState(learner, callbacks)
        if self.collective.rank == 0:
            count = sum(int(np.prod(v.shape)) for v in learner.network.trainable_variables)
            log.info("phase %s: at most %d epochs, %d weights learn", phase.name, phase.epochs, count)
        return self.phase_state

    def _build_network(self) -> Any:
        config = self.task.config
        return build_starting_network(config.model, self.storage, config.faults, self.task.crop_size)

    def train_epoch(self, current: PhaseState, keep: Callable[[], None] | None = None) -> dict[str, Any]:
        """Learn from the next epoch's crops; its row of the history, as far as training fills it."""
        state, learner, rank = self.state, current.learner, self.collective.rank
        epoch, steps, seconds, waited = state.epoch, state.steps, state.seconds, state.waited
        plan, phase = self.data.plan_epoch(epoch), self.phases[state.phase]
        scores = np.zeros(len(plan), np.float32)
        if rank == 0 and self.scores:
            scores += self.scores[0]
        before = (epoch - state.phase_start) * plan.steps  # updates of the phase
        started = kept = time.monotonic()
        clock = get_clock()
        waited -= clock.read("input")
        stream = self.data.stream_training(plan, steps, epoch)
        with Progress(f"epoch {epoch + 1}/{self.settings.epochs}", plan.steps, steps) as progress:
            for batch in stream:
                rate = compute_learning_rate(self.settings, phase, before + steps, plan.steps)
                if rate is not None:
                    learner.learning_rate = rate
                current.callbacks.tell("on_train_batch_begin", steps)
                labels, places = plan.label[batch.positions], batch.positions - plan.cuts[steps]
                scores[batch.positions] = learner.train(batch.inputs, labels, places, epoch << 32 | steps)
                clock.count(crops=len(batch.positions))
                stop = current.callbacks.tell("on_train_batch_end", steps, loss=learner.train.loss)
                steps += 1
                if rank == 0:
                    progress.step()
                if stop:  # the same on every worker: the loss is that of the global batch
                    break
                if keep is not None and steps < plan.steps and self._is_checkpoint_due(steps, kept):
                    state.steps, self.scores = steps, [self.collective.sum(scores)]
                    state.seconds = seconds + time.monotonic() - started
                    state.waited = waited + clock.read("input")
                    keep()
                    kept = time.monotonic()
        seconds += time.monotonic() - started
        state.steps, state.seconds, state.waited, self.scores = 0, 0.0, 0.0, []
        shown = int(plan.cuts[steps])
        return {
            "steps": steps,
            "crops": shown,
            **_measure_epoch(plan.label[:shown], self.collective.sum(scores)[:shown]),
            "penalty": float(sum(float(loss) for loss in learner.network.losses)),
            "train_seconds": seconds,
            "input_wait_seconds": waited + clock.read("input"),
        }

    def _is_checkpoint_due(self, steps: int, kept: float) -> bool:
        """Whether the last checkpoint is old by rank 0's clock, which is asked every few steps."""
        minutes = self.settings.checkpoint_minutes
        if minutes is None or steps % _ASKED_EVERY:
            return False
        mine = self.collective.rank == 0 and time.monotonic() - kept >= 60 * minutes
        return bool(self.collective.sum(np.array([mine], np.float32))[0])

    def validate(self, current: PhaseState) -> dict[str, Any]:
        """Score the validation crops; the rest of the epoch's row. Keeps the best weights."""
        state = self.state
        started = time.monotonic()
        current.callbacks.tell("on_test_begin")
        with current.learner.as_saved():
            scores = self.data.score_validation(current.learner.score)
            choosing = self.task.val_videos >= 0
            labels, chosen_by = self.data.val_labels[choosing], scores[choosing]
            row: dict[str, Any] = {"epoch": state.epoch + 1, **_measure_epoch(labels, chosen_by, "val_")}
            row |= measure_evenly(labels, chosen_by, self.task.val_videos[choosing])
            rank = rank_epoch(self.settings.select, row)
            row["best"] = all(rank > rank_epoch(self.settings.select, past) for past in state.history)
            if row["best"]:
                self.best_weights = current.learner.copy_weights()
                state.best_epoch = state.epoch + 1
        current.callbacks.tell("on_test_end", loss=row["val_loss"])
        row["val_seconds"] = time.monotonic() - started
        return row

    def publish(self, row: Mapping[str, Any]) -> None:
        """Show an epoch's row to people, on rank 0: a line in the log, TensorBoard's and trackers'."""
        if self.collective.rank != 0:
            return
        log.info("%s", format_epoch(row, self.settings.epochs))
        if self.board is not None:
            self.board.write(row)
        if self.trackers is not None and self.phase_state is not None:
            self.trackers.tell("write", row, self.phase_state.learner.network)

    def save(self, folder: Path) -> None:
        """Write the state, which is the same on every worker."""
        assert self.phase_state is not None, "an epoch was trained"
        self.state.callbacks = self.phase_state.callbacks.copy_state()
        arrays = {**self.phase_state.learner.copy_state(), "best": self.best_weights, "scores": self.scores}
        checkpoint.save_checkpoint(folder, self.state, arrays)

    def restore(self, folder: Path) -> None:
        """Go on, within the phase or before the next, from what a worker saved, of however many."""
        self.state, arrays = checkpoint.load_checkpoint(folder)
        steps = self.state.steps
        if self.state.phase >= len(self.phases):
            raise CheckpointError(f"{folder}: a checkpoint of another recipe; train without it")
        self.best_weights, self.scores = arrays.get("best", []), arrays.get("scores", [])
        if not self._phase_is_over():
            current = self._begin_phase()
            current.learner.load(arrays)
            current.callbacks.load(self.state.callbacks)
        if self.collective.rank == 0:
            log.info("going on after epoch %d%s", self.state.epoch, f", step {steps}" if steps else "")

    def restore_newest(self, uri: str) -> None:
        """Go on from the newest checkpoint below a URI, where there is one."""
        with checkpoint.fetch_newest_checkpoint(uri, self.storage) as folder:
            if folder is not None:
                self.restore(folder)

    def finish(self) -> dict[str, Any]:
        """Save the best weights as a float32 network; validation's scores are by that very network."""
        if self.phase_state is None:  # started again after the last epoch
            network = self._build_network()
        else:
            self.phase_state.callbacks.tell("on_train_end")
            network = self.phase_state.learner.network
        if self.trackers is not None:
            self.trackers.tell("close")
        assign_weights(network, self.best_weights)
        network = copy_for_inference(network)
        self.data.drop_features()  # of the network before
        is_first, output = self.collective.rank == 0, self.task.config.output
        content = bundle.serialise_network(network) if is_first else b""
        digest = hashlib.sha256(content).hexdigest()
        made = bundle.Bundle.around(network, digest, output, BATCH)
        with keras_runtime.exact_float32():
            scores = self.data.score_validation(made.score)
        result: dict[str, Any] = {"history": self.state.history, "best_epoch": self.state.best_epoch}
        if is_first:
            result["tracked"] = self.state.tracked
            self.storage.write_bytes(join(output, bundle.MODEL_FILE), content)
            result["model_sha256"] = digest
            result["backbone"] = describe_backbone(network, self.task.config.model.backbone)
            result["runtimes"] = inference.export_beside(made, self.storage)
            result["val_scores"] = scores.tolist()
        return result


def _measure_epoch(labels: np.ndarray, scores: np.ndarray, prefix: str = "") -> dict[str, float | None]:
    """Metrics of labels and scores ``(n,)``; raises ``NotFiniteError`` where a score is not finite."""
    if not np.isfinite(scores).all():
        raise NotFiniteError(
            "the network's scores are no longer finite; lower training.learning_rate or "
            "training.head_learning_rate, or set training.clip_norm"
        )
    found = metrics.measure_binary(labels, scores)
    return {prefix + "loss": found["log_loss"], **{prefix + name: found[name] for name in _METRICS}}
