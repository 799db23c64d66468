"""What this project takes from Ray beyond its public interface, and the version that each was seen in.

No other module reaches into Ray, so that one test tries a new version of it and names what is gone:
``tests/execution/test_ray_compat.py``. ``pyproject.toml`` allows the minor versions that were tried.
"""

import functools
import importlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray._private.state
import ray._private.worker
from ray._private import ray_constants
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer
from ray.core.generated import autoscaler_pb2, gcs_pb2
from ray.experimental import internal_kv

from deepfake.execution.ray_compat.private_names import (
    ELASTIC,
    FAILURES,
    REQUESTS,
    TRAINER,
    replace_attributes,
)
from deepfake.progress import hide_lines

DEAD: int = autoscaler_pb2.NodeStatus.DEAD  # a node's status in ``ask_cluster_status``


def ask_cluster_status() -> tuple[Any, dict[str, Any]]:
    """Ray's head's own ``GetClusterStatusReply``, and what the autoscaler of Ray's launcher says."""
    head = GcsClient(address=ray.get_runtime_context().gcs_address)
    reply = autoscaler_pb2.GetClusterStatusReply.FromString(head.get_cluster_status())
    status = head.internal_kv_get(ray_constants.DEBUG_AUTOSCALING_STATUS.encode())
    return reply, (json.loads(status).get("autoscaler_report") if status else None) or {}


def list_jobs_and_actors() -> tuple[list[Any], list[Any]]:
    """All jobs of the cluster as ``JobTableData``, and its living actors as ``ActorTableData``."""
    table = ray._private.state.state._connect_and_get_accessor()
    jobs = [gcs_pb2.JobTableData.FromString(data) for data in table.get_job_table()]
    return jobs, [gcs_pb2.ActorTableData.FromString(data) for data in table.get_actor_table(None, "ALIVE")]


def list_node_groups() -> list[tuple[dict[str, float], int]]:
    """Groups of nodes that an autoscaler may start: for each a node's resources, and the most nodes."""
    config = ray._private.state.state.get_cluster_config()
    groups = config.node_group_configs if config is not None else ()
    return [(dict(group.resources), group.max_count) for group in groups]


def starts_nodes() -> bool:
    """Whether the cluster has an autoscaler that starts nodes, of either version.

    The first counts nodes by their types also where it only looks on, but then each is a type of its own. By
    the second each node knows its type from its start on.
    """
    if list_node_groups():
        return True
    reply, report = ask_cluster_status()
    types = report.get("node_type_mapping") or {}
    return any(kind != f"node_{node_id}" for node_id, kind in types.items()) or any(
        node.ray_node_type_name for node in reply.cluster_resource_state.node_states
    )


def prefer_available(
    node_resources: Any, resources: Any, node_type: str, *, node_availability_summary: Any
) -> tuple[Any, ...] | None:
    """Ray's own score of a type of machine, by which those come last that could not be started lately.

    For its autoscaler (cluster/aws/cluster.yaml); seen in 2.60.0.

    Ray itself asks again and again for the type that it likes best, such as spot machines that are sold out.
    Types of equal score are taken from the end of the alphabet. None: nothing of what is wanted fits.
    """
    score = _default_utilization_scorer(
        node_resources, resources, node_type, node_availability_summary=node_availability_summary
    )
    if score is None:
        return None
    seen = node_availability_summary.node_availabilities.get(node_type)
    no_wasted_gpu, *rest = score
    return (no_wasted_gpu, seen is None or seen.is_available, *rest)


def put_value(key: str, value: bytes) -> None:
    """Let Ray's head keep a value of this job, for its workers and its own process."""
    internal_kv._internal_kv_put(key, value, overwrite=True, namespace=_make_namespace())


def get_value(key: str) -> bytes | None:
    """A value of this job; None where there is none."""
    found: bytes | None = internal_kv._internal_kv_get(key, namespace=_make_namespace())
    return found


def delete_value(key: str) -> None:
    """Let Ray's head forget a value of this job."""
    internal_kv._internal_kv_del(key, namespace=_make_namespace())


def list_values(prefix: str) -> list[str]:
    """Keys of this job's values that begin so."""
    return [key.decode() for key in internal_kv._internal_kv_list(prefix, namespace=_make_namespace())]


def _make_namespace() -> bytes:
    return b"deepfake-" + ray.get_runtime_context().get_job_id().encode()


def quiet_autoscaler() -> None:
    """Keep the autoscaler from saying every few seconds that workers that wait never get a place."""
    ray_constants.AUTOSCALER_EVENTS = ray_constants.env_integer("RAY_SCHEDULER_EVENTS", 0)


@contextmanager
def quiet_driver() -> Iterator[None]:
    """While Ray starts: let it say nothing on this process's screen that is no error of the job.

    Of the core of this process, whose errors reach it as exceptions as well: at level E it tells of each pool
    of workers that arguments which Ray Data itself hands out, and keeps, could be lost (ray issue 53727). Of
    Ray's other processes: ``_HARMLESS``.
    """
    worker = ray._private.worker
    connect = worker.connect
    if not hasattr(worker.print_to_stdstream, "__wrapped__"):
        worker.print_to_stdstream = _without_harmless_lines(worker.print_to_stdstream)

    @functools.wraps(connect)
    def connect_quietly(*arguments: Any, **named: Any) -> Any:
        mine = _LEVEL not in os.environ
        os.environ.setdefault(_LEVEL, "fatal")  # read once, by this process's core; Ray's others have started
        try:
            with hide_lines(_LEVEL.encode()):  # it says that it has read it
                return connect(*arguments, **named)
        finally:
            if mine:
                del os.environ[_LEVEL]

    with replace_attributes(worker, {"connect": connect_quietly}):
        yield


_LEVEL = "RAY_BACKEND_LOG_LEVEL"


_HARMLESS = (
    # Tasks of workers that Ray Data ends on purpose when a job stops would be tried again for ever.
    "it was killed by `ray.kill`",
    # An actor that was to be ended had ended by itself.
    "Failed to kill actor",
    # Of Ray Train's own actors on a cluster with a dashboard; see ``quiet_driver``.
    "has constructor arguments in the object store",
)


def _without_harmless_lines(show: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(show)
    def show_others(data: Any, *arguments: Any, **named: Any) -> None:
        lines = [line for line in data.get("lines", ()) if not any(words in line for words in _HARMLESS)]
        show({**data, "lines": lines}, *arguments, **named)

    return show_others


def make_streaming_options(ahead: int) -> dict[str, Any]:
    """Options of a task that yields results, and waits while ``ahead`` of them lie unread; seen in 2.60.0."""
    return {"num_returns": "streaming", "_generator_backpressure_num_objects": ahead}


def set_train_environment(start_timeout_seconds: float, poll_seconds: float) -> None:
    """Set how long Ray Train waits for its workers to start, and how often it asks them; seen in 2.60.0.

    Ray's processes inherit it, so this comes before Ray is started.
    """
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(start_timeout_seconds))
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(poll_seconds))


def make_trainer_class(fails_again: Callable[[BaseException], bool]) -> Any:
    """Ray Train's trainer for any worker function, in this job's hands; seen in 2.60.0.

    It leaves Ctrl-C to the job. Where there is no dashboard, it starts nothing that would log once a second
    that none answers. What a worker raises that ``fails_again`` ends the training at once.
    """
    trainer = importlib.import_module(TRAINER)
    has_state_service = _state_service_answers()
    if not has_state_service:
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")

    class Trainer(trainer.DataParallelTrainer):  # type: ignore[name-defined]
        def _create_default_callbacks(self) -> list[Any]:
            callbacks: list[Any] = super()._create_default_callbacks()
            if has_state_service:
                return callbacks
            return [c for c in callbacks if not isinstance(c, trainer.PlacementGroupCleanerCallback)]

        def _register_sigint_handler(self, controller: Any) -> None:
            """Ctrl-C is the job's own."""

        def _initialize_and_run_controller(self, **arguments: Any) -> Any:
            if self.scaling_config.elasticity_enabled:
                arguments["scaling_policy"] = make_epoch_policy(self.scaling_config)
            arguments["scaling_policy"] = _quieten_policy(arguments["scaling_policy"])
            arguments["failure_policy"] = _make_final(arguments["failure_policy"], fails_again)
            return super()._initialize_and_run_controller(**arguments)

    return Trainer


def _make_final(policy: Any, fails_again: Callable[[BaseException], bool]) -> Any:
    """The policy as Ray Train has it, which does not try again what ``fails_again``; 2.60.0."""

    class FinalPolicy(type(policy)):  # type: ignore[misc]
        def make_decision(self, training_failed_error: Any) -> Any:
            failures = getattr(training_failed_error, "worker_failures", {})
            if any(map(fails_again, failures.values())):
                return importlib.import_module(FAILURES).FailureDecision.RAISE
            return super().make_decision(training_failed_error)

    return FinalPolicy(policy.failure_config)


def _quieten_policy(policy: Any) -> Any:
    """The policy as Ray Train's controller has it, where requests for nodes fail without a word.

    On a busy machine each that is not answered within 5 s would be a warning with a traceback, and is sent
    again 20 s later. The controller has set up its log when the policy hears that it starts; 2.60.0.
    """

    class QuietPolicy(type(policy)):  # type: ignore[misc]
        def after_controller_start(self, train_run_context: Any) -> None:
            logging.getLogger(REQUESTS).setLevel(logging.ERROR)
            super().after_controller_start(train_run_context)

    return QuietPolicy(policy.scaling_config)


def make_epoch_policy(scaling_config: Any) -> Any:
    """Ray Train's elastic policy, which changes the number of workers at the end of an epoch alone.

    By itself it would do so at any time, and lose the work since the last checkpoint. It is asked after each
    look at the workers. A report that tells numbers is that of an epoch, with its checkpoint, which counts
    once all workers have made it. Seen in 2.60.0.
    """
    elastic = importlib.import_module(ELASTIC)

    class EpochPolicy(elastic.ElasticScalingPolicy):  # type: ignore[name-defined]
        def __init__(self, scaling_config: Any) -> None:
            super().__init__(scaling_config)
            self._reported: set[int] = set()  # ranks that are at the end of the epoch

        def _count_possible_workers(self, reserved_resources: Any) -> int:
            """Fractions of a CPU are rounded, where Ray's own count may be one less for a bit."""
            asked = {k: v for k, v in self.scaling_config._resources_per_worker_not_none.items() if v}
            places = [
                min(math.floor(node.get(name, 0.0) / amount + 1e-6) for name, amount in asked.items())
                for node in reserved_resources.values()
            ]
            return int(min(sum(places), self.scaling_config.max_workers))

        def make_decision_for_non_running_worker_group(self) -> Any:
            self._reported.clear()
            return super().make_decision_for_non_running_worker_group()

        def make_decision_for_running_worker_group(self, **told: Any) -> Any:
            self._reported |= {
                rank
                for rank, worker in told["worker_group_status"].worker_statuses.items()
                if worker.training_report is not None and worker.training_report.metrics
            }
            if len(self._reported) < told["worker_group_state"].num_workers:
                self._maybe_send_resource_request()
                return elastic.NoopDecision()
            self._reported.clear()
            return super().make_decision_for_running_worker_group(**told)

    return EpochPolicy(scaling_config)


def _state_service_answers() -> bool:
    """Whether this Ray has a dashboard; an embedded one has not."""
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    head = ray.get_runtime_context().gcs_address
    key, namespace = ray_constants.DASHBOARD_ADDRESS.encode(), ray_constants.KV_NAMESPACE_DASHBOARD
    if not GcsClient(address=head).internal_kv_get(key, namespace=namespace):
        return False  # where there is none at all, Ray's own question waits for one for 40 s
    try:
        list_nodes(address=head, limit=1, timeout=5)
    except (RayStateApiException, OSError):
        return False
    return True
