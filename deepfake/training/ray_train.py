"""One run of Ray Train: its resources, its workers' addresses, where its checkpoints go, its errors.

Knows nothing of what the workers do; ``deepfake.training.trainer`` does.
"""

import json
import logging
import os
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig

from deepfake.config import TrainingConfig
from deepfake.errors import JobError, UsageError, list_causes
from deepfake.execution import nodes, ray_compat, session, waiting
from deepfake.execution.ray_errors import get_error_at_hand, raise_user_errors
from deepfake.io.lock import Lock
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError
from deepfake.io.uri import split_uri
from deepfake.model import keras_runtime
from deepfake.training.resources import NodeSize, WorkerResources, divide_node, reserve_cpus

log = logging.getLogger(__name__)

_START_TIMEOUT_SECONDS = 600  # a small machine takes a minute or two to start several TensorFlows
# Right after a node was lost, Ray still counts it: so long it waits for a worker there before it looks again.
_ELASTIC_START_TIMEOUT_SECONDS = 120
_STOP_SECONDS = 0.5  # Ctrl-C and SIGTERM are heard at least so often
FAILED = "failed"  # key of a worker's answer: words for an error that would come again
_MANY_NODES = 1000  # more are not told apart
_POLL_SECONDS = 0.5  # an epoch's checkpoint counts once Ray Train has asked all workers for it


@dataclass(frozen=True)
class Run:
    """What Ray Train needs to know of a run."""

    name: str  # a run of the same name in the same place goes on from its last checkpoint
    checkpoints: str  # URI
    training: TrainingConfig


def prepare_environment(training: TrainingConfig) -> None:
    """Set what Ray's processes inherit; call before Ray is started."""
    keras_runtime.silence_tensorflow()
    elastic = training.least_workers < training.most_workers
    timeout = _ELASTIC_START_TIMEOUT_SECONDS if elastic else _START_TIMEOUT_SECONDS
    ray_compat.set_train_environment(timeout, _POLL_SECONDS)


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
    training = run.training
    threads, use_gpu = training.threads_per_worker, training.use_gpu
    is_elastic = training.least_workers < training.most_workers
    cpus = reserve_cpus(list_nodes(), training.most_workers, threads, use_gpu, is_elastic)
    per_worker = {"CPU": cpus} | ({"GPU": 1.0} if training.use_gpu else {})
    if nodes.get_nodes().of_a_cluster:
        waiting.wait_for_room(per_worker, training.most_workers)
    beside = ray.remote(_fit).options(num_cpus=0, max_retries=0, scheduling_strategy=nodes.stay_here())
    answer = beside.remote(
        run, worker, settings, storage, per_worker, nodes.get_nodes().make_selector()
    ).future()
    while not answer.done():
        wait([answer], _STOP_SECONDS)  # in pieces: time for signals
        if mine.lost is not None:  # before its workers spoil the checkpoints of the job that has it now
            raise mine.lost
    try:
        with raise_user_errors():
            found = answer.result()
    except ray.exceptions.RayTaskError:
        raise  # a fault of this program
    except ray.exceptions.RayError as error:
        raise JobError(
            f"the process that Ray Train ran in is lost ({type(error).__name__}); run the same "
            "command again to go on"
        ) from error
    if FAILED in found:
        raise JobError(f"training failed: {found[FAILED]}")
    return found


def _fit(
    run: Run,
    worker: Callable[[Mapping[str, Any]], Any],
    settings: dict[str, Any],
    storage: Storage,
    per_worker: dict[str, float],
    places: dict[str, str],
) -> Any:
    """What ``run_workers`` does, by Ray Train, on nodes that the label selector ``places`` names."""
    prepare_environment(run.training)
    session.quieten_ray()
    from ray.train import (
        CheckpointConfig,
        FailureConfig,
        LoggingConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
    )

    training = run.training
    is_local = split_uri(run.checkpoints)[0] == "file"
    filesystem, path = storage.get_arrow_filesystem(run.checkpoints)
    elastic = training.least_workers < training.most_workers
    trainer = ray_compat.make_trainer_class(fails_again)(
        worker,
        train_loop_config=settings,
        backend_config=AddressBackendConfig(),
        scaling_config=ScalingConfig(
            num_workers=(training.least_workers, training.most_workers) if elastic else training.most_workers,
            elastic_resize_monitor_interval_s=0.0,  # the policy of ``make_trainer_class`` chooses the time
            use_gpu=training.use_gpu,
            resources_per_worker=per_worker,
            label_selector=places or None,
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
        raise JobError(f"training failed: {describe_first_cause(error)}") from error


def list_nodes() -> list[NodeSize]:
    """The nodes that are up, or all that the cluster may start, where its autoscaler has named those."""
    left_out = nodes.get_nodes().left_out
    up = [found["Resources"] for found in ray.nodes() if found["Alive"] and found["NodeID"] not in left_out]
    groups = ray_compat.list_node_groups()
    most = [resources for resources, count in groups for _ in range(min(count, _MANY_NODES))]
    sizes = ([NodeSize(one.get("CPU", 0.0), one.get("GPU", 0.0)) for one in some] for some in (up, most))
    return max(sizes, key=lambda some: sum(node.cpus for node in some))


def find_own_share(threads: int | None, workers_here: int, use_gpu: bool) -> WorkerResources:
    """What this worker takes of the node on which it lies, with as many others of its training."""
    here = ray.get_runtime_context().get_node_id()
    cpus = next(found["Resources"].get("CPU", 0.0) for found in ray.nodes() if found["NodeID"] == here)
    return divide_node(cpus, workers_here, threads, use_gpu)


def configure_logging() -> None:
    """Show this project's log lines from a worker, and of Ray's only errors."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("deepfake").setLevel(logging.INFO)
    for name in ("ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.train").handlers:
        if isinstance(handler, logging.StreamHandler):  # what is shown; the file of the session keeps all
            handler.addFilter(_is_not_told_by_the_job)


def _is_not_told_by_the_job(record: logging.LogRecord) -> bool:
    error = get_error_at_hand(record)
    return error is None or not fails_again(error)


def fails_again(error: BaseException) -> bool:
    """Whether a worker refused what it was given, as others would."""
    return any(isinstance(cause, UsageError | TableError) for cause in list_causes(error))


def describe_first_cause(error: BaseException) -> str:
    """The worker's own words out of Ray Train's wrapping."""
    failures = getattr(error, "worker_failures", None) or {}
    for rank, failure in sorted(failures.items()):
        *_, cause = list_causes(failure)
        return f"worker {rank}: {type(cause).__name__}: {cause}"
    return str(error)


class AddressBackend(Backend):
    """Sets ``TF_CONFIG`` on every worker, before any of them trains: how they learn each other's addresses.

    ``ray.train.tensorflow`` does the same, but imports TensorFlow in the job's process and in Ray Train's
    controller, which need none of it (seconds of a start, half a gigabyte), and asks the workers for Keras 2.
    https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
    """

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Ask all workers for an address, and tell each of them all."""
        addresses = worker_group.execute(find_free_address)
        told = [
            worker_group.execute_single_async(rank, set_cluster, addresses, rank)
            for rank in range(len(worker_group))
        ]
        ray.get(told)


class AddressBackendConfig(BackendConfig):
    """Names the backend to ``DataParallelTrainer``."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The backend."""
        return AddressBackend


def find_free_address() -> str:
    """``host:port`` of this process: its node's address as Ray knows it, and a port nothing listens on."""
    host = ray.util.get_node_ip_address()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def set_cluster(addresses: list[str], rank: int) -> None:
    """Let TensorFlow's strategies of this process know all workers, in the order of their ranks."""
    cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
    os.environ["TF_CONFIG"] = json.dumps(cluster)
