"""What this project takes from Ray beyond its public interface, and the version that each was seen in.

No other module reaches into Ray, so that one test tries a new version of it and names what is gone:
``tests/execution/test_ray_compat.py``. ``pyproject.toml`` allows the minor versions that were tried.
"""

import functools
import importlib
import json
import math
import os
import pkgutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import ray._private.node
import ray._private.services
import ray._private.state
import ray._private.worker
from ray._private import ray_constants
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer
from ray.core.generated import autoscaler_pb2, gcs_pb2
from ray.experimental import internal_kv

from deepfake.progress import hide_lines

_TRAINER = "ray.train.v2.api.data_parallel_trainer"
_ELASTIC = "ray.train.v2._internal.execution.scaling_policy.elastic"
_CONSTANTS = "ray.train.v2._internal.constants"
_POOL = "ray.data._internal.execution.operators.actor_pool_map_operator"
_SCALER = "ray.data._internal.cluster_autoscaler.rate_based_cluster_autoscaler"
_FAKE = "ray.data._internal.cluster_autoscaler.fake_autoscaling_coordinator"
_STATS = "ray.data._internal.stats"
_COUNTING = ("register_dataset_to_stats_actor", "update_execution_metrics", "update_iteration_metrics")


@dataclass(frozen=True)
class PrivateName:
    """One name that a new version of Ray may take away without a word."""

    module: str
    path: str  # attributes, joined by dots
    seen_in: str  # the newest version of Ray that was found to have it
    needed_for: str

    def exists(self) -> bool:
        """Whether the installed Ray has it."""
        try:
            pkgutil.resolve_name(f"{self.module}:{self.path}")
        except (ImportError, AttributeError):
            return False
        return True


_ROOM = "to say what a job waits for"
_SHARED = "what workers and job tell each other of nodes and units"
_EPOCHS = "workers that come and go between epochs"
_QUIET = "a quiet log where there is no dashboard"
_LEAN = "an embedded Ray without processes that do nothing"
PRIVATE_NAMES = (
    PrivateName(_TRAINER, "DataParallelTrainer", "2.60.0", "a driver that does not import TensorFlow"),
    PrivateName(_TRAINER, "DataParallelTrainer._create_default_callbacks", "2.60.0", _QUIET),
    PrivateName(_TRAINER, "DataParallelTrainer._register_sigint_handler", "2.60.0", "a job's own Ctrl-C"),
    PrivateName(_TRAINER, "PlacementGroupCleanerCallback", "2.60.0", _QUIET),
    PrivateName(_TRAINER, "DataParallelTrainer._initialize_and_run_controller", "2.60.0", _EPOCHS),
    PrivateName(_ELASTIC, "ElasticScalingPolicy._count_possible_workers", "2.60.0", _EPOCHS),
    PrivateName(_ELASTIC, "ElasticScalingPolicy._maybe_send_resource_request", "2.60.0", _EPOCHS),
    PrivateName(_ELASTIC, "ElasticScalingPolicy.make_decision_for_running_worker_group", "2.60.0", _EPOCHS),
    PrivateName(
        _ELASTIC, "ElasticScalingPolicy.make_decision_for_non_running_worker_group", "2.60.0", _EPOCHS
    ),
    PrivateName(_ELASTIC, "NoopDecision", "2.60.0", _EPOCHS),
    PrivateName(_CONSTANTS, "ENABLE_PREEMPTION_WATCHER_ENV_VAR", "2.60.0", _QUIET),
    PrivateName(_CONSTANTS, "WORKER_GROUP_START_TIMEOUT_S_ENV_VAR", "2.60.0", "starts on small machines"),
    PrivateName(_CONSTANTS, "HEALTH_CHECK_INTERVAL_S_ENV_VAR", "2.60.0", "checkpoints that count at once"),
    PrivateName("ray._private.ray_constants", "AUTOSCALER_EVENTS", "2.60.0", "a quiet log while waiting"),
    PrivateName("ray._private.ray_constants", "DEBUG_AUTOSCALING_STATUS", "2.60.0", _ROOM),
    PrivateName("ray._private.ray_constants", "DASHBOARD_ADDRESS", "2.60.0", _QUIET),
    PrivateName(
        "ray._private.runtime_env.constants", "RAY_JOB_CONFIG_JSON_ENV_VAR", "2.60.0", "to know a submission"
    ),
    PrivateName("ray._raylet", "GcsClient", "2.60.0", _ROOM),
    PrivateName("ray._private.worker", "connect", "2.60.0", "a job's screen without Ray's own worries"),
    PrivateName("ray._private.worker", "print_to_stdstream", "2.60.0", "the same after Ctrl-C"),
    PrivateName("ray.core.generated.autoscaler_pb2", "GetClusterStatusReply", "2.60.0", _ROOM),
    PrivateName("ray.core.generated.gcs_pb2", "ActorTableData", "2.60.0", _ROOM),
    PrivateName("ray._private.state", "state._connect_and_get_accessor", "2.60.0", _ROOM),
    PrivateName("ray._private.state", "state.get_cluster_config", "2.60.0", "shares of nodes yet to start"),
    PrivateName("ray.experimental.internal_kv", "_internal_kv_get", "2.60.0", _SHARED),
    PrivateName("ray.experimental.internal_kv", "_internal_kv_put", "2.60.0", _SHARED),
    PrivateName("ray.experimental.internal_kv", "_internal_kv_list", "2.60.0", _SHARED),
    PrivateName("ray.experimental.internal_kv", "_internal_kv_del", "2.60.0", _SHARED),
    PrivateName(
        "ray.autoscaler._private.resource_demand_scheduler",
        "_default_utilization_scorer",
        "2.60.0",
        "another kind of machine where one cannot be had",
    ),
    PrivateName("ray.util.state", "list_nodes", "2.60.0", "to know whether there is a dashboard"),
    PrivateName("ray._private.node", "Node.start_monitor", "2.60.0", _LEAN),
    PrivateName("ray._private.node", "Node.start_api_server", "2.60.0", _LEAN),
    PrivateName("ray._private.services", "start_ray_process", "2.60.0", _LEAN),
    PrivateName("ray._raylet", "persist_port", "2.60.0", _LEAN),
    PrivateName("ray._raylet", "METRICS_AGENT_PORT_NAME", "2.60.0", _LEAN),
    PrivateName("ray._raylet", "METRICS_EXPORT_PORT_NAME", "2.60.0", _LEAN),
    PrivateName("ray._raylet", "DASHBOARD_AGENT_LISTEN_PORT_NAME", "2.60.0", _LEAN),
    PrivateName(_POOL, "get_or_create_actor_location_tracker", "2.60.0", _LEAN),
    PrivateName(_POOL, "get_actor_locations", "2.60.0", _LEAN),
    PrivateName(_SCALER, "DefaultAutoscalingCoordinator", "2.60.0", _LEAN),
    PrivateName(_FAKE, "FakeAutoscalingCoordinator", "2.60.0", _LEAN),
    PrivateName(_STATS, "_StatsManager.gen_dataset_id_from_stats_actor", "2.60.0", _LEAN),
    *(PrivateName(_STATS, f"_StatsManager.{name}", "2.60.0", _LEAN) for name in _COUNTING),
)


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

    The first counts nodes by their types also where it only looks on, but then each is a type of its own.
    """
    if list_node_groups():
        return True
    types = ask_cluster_status()[1].get("node_type_mapping") or {}
    return any(kind != f"node_{node_id}" for node_id, kind in types.items())


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

    with _replace(worker, {"connect": connect_quietly}):
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


def make_embedded_options() -> dict[str, Any]:
    """Options of ``ray.init`` for a Ray without a dashboard: nobody reads its metrics and task events.

    They take 3 % of a core. ``_system_config`` is Ray's own for tests; seen in 2.60.0.
    """
    unread = {"enable_metrics_collection": False, "task_events_report_interval_ms": 0}
    return {"include_dashboard": False, "_system_config": unread}


@contextmanager
def start_no_idle_processes() -> Iterator[None]:
    """While an embedded Ray starts: leave out those of its processes that have nothing to do in it.

    The dashboard and its agent, which Ray starts without a page as well, and the autoscaler. Together they
    take 2.2 s of a core, and Ray waits for them one after the other.
    """
    services = ray._private.services
    start_process = services.start_ray_process

    @functools.wraps(start_process)
    def start(command: list[str], process_type: str, *arguments: Any, **named: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_RAYLET:
            command = _replace_agent(command)
        return start_process(command, process_type, *arguments, **named)

    skipped = dict.fromkeys(("start_monitor", "start_api_server"), lambda *_, **__: None)
    with _replace(services, {"start_ray_process": start}), _replace(ray._private.node.Node, skipped):
        yield


_AGENT = "--dashboard_agent_command="
# Ray's node ends with this process, so it is there, and it ends with the node.
_PLACEHOLDER = "import os, time; node = os.getppid()\nwhile os.getppid() == node: time.sleep(0.5)"


def _replace_agent(command: list[str]) -> list[str]:
    """The command of Ray's node, with a process that only waits in place of the agent, which has no ports."""
    options = dict(word[2:].split("=", 1) for word in command if word.startswith("--") and "=" in word)
    for name in ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME"):
        ray._raylet.persist_port(options["session_dir"], options["node_id"], getattr(ray._raylet, name), -1)
    agent = subprocess.list2cmdline([sys.executable, "-I", "-S", "-c", _PLACEHOLDER])
    return [_AGENT + agent if word.startswith(_AGENT) else word for word in command]


@contextmanager
def start_no_data_actors(nodes: Sequence[Mapping[str, float]]) -> Iterator[None]:
    """While an embedded Ray runs: keep Ray Data from starting actors of its own, a process each.

    One counts for a dashboard, one shares nodes among data sets, one knows which node a worker is on. Here
    there is no dashboard, one node, and one stage at a time. They take 2.8 s of a core. ``nodes`` are the
    nodes' resources.
    """
    pool, scaler, fake, stats = map(importlib.import_module, (_POOL, _SCALER, _FAKE, _STATS))

    def make_coordinator(**_: Any) -> Any:
        return fake.FakeAutoscalingCoordinator(initial_cluster_resources=list(nodes))

    counting: dict[str, Any] = {name: staticmethod(lambda *_, **__: None) for name in _COUNTING}
    counting["gen_dataset_id_from_stats_actor"] = staticmethod(lambda: uuid.uuid4().hex)
    # Where Ray Data is told of no place, it keeps what it knows of the actor itself.
    places = {"get_or_create_actor_location_tracker": _NoTracker, "get_actor_locations": lambda _: {}}
    with (
        _replace(pool, places),
        _replace(scaler, {"DefaultAutoscalingCoordinator": make_coordinator}),
        _replace(stats._StatsManager, counting),
    ):
        yield


@contextmanager
def _replace(owner: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """While this lasts, attributes of a module or class have other values."""
    before = {name: vars(owner)[name] for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


class _NoTracker:
    """What Ray Data's workers tell where they are, which nobody asks."""

    class update_actor_location:
        """A method of an actor."""

        @staticmethod
        def remote(*_: Any) -> None:
            """Forget it."""


def make_streaming_options(ahead: int) -> dict[str, Any]:
    """Options of a task that yields results, and waits while ``ahead`` of them lie unread; seen in 2.60.0."""
    return {"num_returns": "streaming", "_generator_backpressure_num_objects": ahead}


def set_train_environment(start_timeout_seconds: float, poll_seconds: float) -> None:
    """Set how long Ray Train waits for its workers to start, and how often it asks them; seen in 2.60.0.

    Ray's processes inherit it, so this comes before Ray is started.
    """
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", str(start_timeout_seconds))
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(poll_seconds))


def make_trainer_class() -> Any:
    """Ray Train's trainer for any worker function, in this job's hands; seen in 2.60.0.

    It leaves Ctrl-C to the job. Where there is no dashboard, it starts nothing that would log once a second
    that none answers.
    """
    trainer = importlib.import_module(_TRAINER)
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
            return super()._initialize_and_run_controller(**arguments)

    return Trainer


def make_epoch_policy(scaling_config: Any) -> Any:
    """Ray Train's elastic policy, which changes the number of workers at the end of an epoch alone.

    By itself it would do so at any time, and lose the work since the last checkpoint. It is asked after each
    look at the workers. A report that tells numbers is that of an epoch, with its checkpoint, which counts
    once all workers have made it. Seen in 2.60.0.
    """
    elastic = importlib.import_module(_ELASTIC)

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
