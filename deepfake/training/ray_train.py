"""One run of Ray Train: its resources, where its checkpoints go, and what is left of its wrapping of errors.

Knows nothing of what the workers do; ``deepfake.training.trainer`` does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any

import ray
import ray._private.state
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deepfake.config import TrainingConfig
from deepfake.errors import JobError
from deepfake.execution import session
from deepfake.execution.ray_errors import causes, user_errors
from deepfake.io.lock import Lock
from deepfake.io.storage import Storage
from deepfake.io.uri import split_uri
from deepfake.model import keras_runtime
from deepfake.training.resources import Node, WorkerResources, divide, reserved_cpus

log = logging.getLogger(__name__)

_START_TIMEOUT_SECONDS = 600  # a small machine takes a minute or two to start several TensorFlows
_STOP_SECONDS = 0.5  # Ctrl-C and SIGTERM are heard at least so often
_MANY_NODES = 1000  # more are not told apart
_POLL_SECONDS = 0.5  # an epoch's checkpoint counts once Ray Train has asked all workers for it


@dataclass(frozen=True)
class Run:
    """What Ray Train needs to know of a run."""

    name: str  # a run of the same name in the same place goes on from its last checkpoint
    checkpoints: str  # URI
    training: TrainingConfig


def prepare_environment() -> None:
    """Set what Ray's processes inherit; call before Ray is started."""
    keras_runtime.quiet()
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(_START_TIMEOUT_SECONDS))
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(_POLL_SECONDS))


def run_workers(
    run: Run,
    worker: Callable[[Mapping[str, Any]], Any],
    settings: dict[str, Any],
    storage: Storage,
    mine: Lock,
) -> Any:
    """Run ``worker(settings)`` on every worker until all have returned; what rank 0 returned.

    Workers that die are started again from the last checkpoint, up to ``training.max_failures`` times. Raises
    ``JobError`` as soon as the lock of the output is found to be another job's.

    Ray Train itself runs in a task beside this process. It waits in ``ray.get`` for all of a training: there
    a signal's exception does not reach the main thread, and another thread would still be there when Ray is
    shut down, which can crash.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    beside = ray.remote(_fit).options(num_cpus=0, max_retries=0, scheduling_strategy=here)
    answer = beside.remote(run, worker, settings, storage).future()
    while not answer.done():
        wait([answer], _STOP_SECONDS)  # in pieces: time for signals
        if mine.lost is not None:  # before its workers spoil the checkpoints of the job that has it now
            raise mine.lost
    try:
        with user_errors():
            return answer.result()
    except ray.exceptions.RayTaskError:
        raise  # a fault of this program
    except ray.exceptions.RayError as error:
        raise JobError(
            f"the process that Ray Train ran in is lost ({type(error).__name__}); run the same "
            "command again to go on"
        ) from error


def _fit(
    run: Run, worker: Callable[[Mapping[str, Any]], Any], settings: dict[str, Any], storage: Storage
) -> Any:
    """What ``run_workers`` does, by Ray Train."""
    prepare_environment()
    session.quiet()
    from ray.train import (
        CheckpointConfig,
        FailureConfig,
        LoggingConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
    )

    from deepfake.training.backend import AddressBackendConfig

    training = run.training
    is_local = split_uri(run.checkpoints)[0] == "file"
    filesystem, path = storage.arrow(run.checkpoints)
    cpus = reserved_cpus(
        cluster_nodes(), training.workers, training.threads_per_worker, use_gpu=training.use_gpu
    )
    per_worker = {"CPU": cpus} | ({"GPU": 1.0} if training.use_gpu else {})
    trainer = _trainer_class()(
        worker,
        train_loop_config=settings,
        backend_config=AddressBackendConfig(),
        scaling_config=ScalingConfig(
            num_workers=training.workers,
            use_gpu=training.use_gpu,
            resources_per_worker=per_worker,
            # CPU workers want cores of their own, GPU workers short wires
            placement_strategy="PACK" if training.use_gpu else "SPREAD",
        ),
        run_config=RunConfig(
            name=run.name,
            storage_path=path,
            storage_filesystem=None if is_local else filesystem,
            failure_config=FailureConfig(max_failures=training.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        return trainer.fit().return_value
    except TrainingFailedError as error:
        raise JobError(f"training failed: {_first_cause(error)}") from error


def cluster_nodes() -> list[Node]:
    """The nodes that are up, or all that the cluster may start, where its autoscaler has named those."""
    up = [
        Node(found["Resources"].get("CPU", 0.0), found["Resources"].get("GPU", 0.0))
        for found in ray.nodes()
        if found["Alive"]
    ]
    config = ray._private.state.state.get_cluster_config()
    most = [
        Node(group.resources.get("CPU", 0.0), group.resources.get("GPU", 0.0))
        for group in (config.node_group_configs if config is not None else ())
        for _ in range(min(group.max_count, _MANY_NODES))
    ]
    return max(up, most, key=lambda nodes: sum(node.cpus for node in nodes))


def own_share(threads: int | None, workers_here: int, use_gpu: bool) -> WorkerResources:
    """What this worker takes of the node on which it lies, with as many others of its training."""
    here = ray.get_runtime_context().get_node_id()
    cpus = next(found["Resources"].get("CPU", 0.0) for found in ray.nodes() if found["NodeID"] == here)
    return divide(cpus, workers_here, threads, use_gpu)


def _trainer_class() -> Any:
    """Ray Train's trainer, in this job's hands."""
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    has_state_service = _state_service_answers()
    if not has_state_service:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")

    class Trainer(DataParallelTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            if has_state_service:
                return callbacks
            # this one would log once a second that it cannot reach the service
            return [c for c in callbacks if type(c).__name__ != "PlacementGroupCleanerCallback"]

        def _register_sigint_handler(self, controller: Any) -> None:
            """Ctrl-C is the job's own."""

    return Trainer


def _state_service_answers() -> bool:
    """Whether this Ray has a dashboard; an embedded one has not."""
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    try:
        list_nodes(address=ray.get_runtime_context().gcs_address, limit=1, timeout=5)
    except (RayStateApiException, OSError):
        return False
    return True


def _first_cause(error: BaseException) -> str:
    """The worker's own words out of Ray Train's wrapping."""
    failures = getattr(error, "worker_failures", None) or {}
    for rank, failure in sorted(failures.items()):
        *_, cause = causes(failure)
        return f"worker {rank}: {type(cause).__name__}: {cause}"
    return str(error)
