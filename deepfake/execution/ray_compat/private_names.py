"""The private names of Ray that this package takes, and how one is replaced for a while."""

import pkgutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

TRAINER = "ray.train.v2.api.data_parallel_trainer"
ELASTIC = "ray.train.v2._internal.execution.scaling_policy.elastic"
REQUESTS = "ray.train.v2._internal.execution.scaling_policy.autoscaling_coordinator_client"
FAILURES = "ray.train.v2._internal.execution.failure_handling"
CONSTANTS = "ray.train.v2._internal.constants"
POOL = "ray.data._internal.execution.operators.actor_pool_map_operator"
SCALER = "ray.data._internal.cluster_autoscaler.rate_based_cluster_autoscaler"
FAKE = "ray.data._internal.cluster_autoscaler.fake_autoscaling_coordinator"
STATS = "ray.data._internal.stats"
COUNTING = ("register_dataset_to_stats_actor", "update_execution_metrics", "update_iteration_metrics")


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
_ONCE = "a training that stops at once at what would fail again"
_QUIET = "a quiet log where there is no dashboard"
_LOGS = "what workers say, without a process that reads it"
_LEAN = "an embedded Ray without processes that do nothing"
PRIVATE_NAMES = (
    PrivateName(TRAINER, "DataParallelTrainer", "2.60.0", "a driver that does not import TensorFlow"),
    PrivateName(TRAINER, "DataParallelTrainer._create_default_callbacks", "2.60.0", _QUIET),
    PrivateName(TRAINER, "DataParallelTrainer._register_sigint_handler", "2.60.0", "a job's own Ctrl-C"),
    PrivateName(TRAINER, "PlacementGroupCleanerCallback", "2.60.0", _QUIET),
    PrivateName(TRAINER, "DataParallelTrainer._initialize_and_run_controller", "2.60.0", _EPOCHS),
    PrivateName(ELASTIC, "ElasticScalingPolicy._count_possible_workers", "2.60.0", _EPOCHS),
    PrivateName(ELASTIC, "ElasticScalingPolicy._maybe_send_resource_request", "2.60.0", _EPOCHS),
    PrivateName(ELASTIC, "ElasticScalingPolicy.make_decision_for_running_worker_group", "2.60.0", _EPOCHS),
    PrivateName(
        ELASTIC, "ElasticScalingPolicy.make_decision_for_non_running_worker_group", "2.60.0", _EPOCHS
    ),
    PrivateName(ELASTIC, "ElasticScalingPolicy.after_controller_start", "2.60.0", _QUIET),
    PrivateName(REQUESTS, "logger.name", "2.60.0", _QUIET),
    PrivateName(FAILURES, "DefaultFailurePolicy.make_decision", "2.60.0", _ONCE),
    PrivateName(FAILURES, "FailureDecision.RAISE", "2.60.0", _ONCE),
    PrivateName(ELASTIC, "NoopDecision", "2.60.0", _EPOCHS),
    PrivateName(CONSTANTS, "ENABLE_PREEMPTION_WATCHER_ENV_VAR", "2.60.0", _QUIET),
    PrivateName(CONSTANTS, "WORKER_GROUP_START_TIMEOUT_S_ENV_VAR", "2.60.0", "starts on small machines"),
    PrivateName(CONSTANTS, "HEALTH_CHECK_INTERVAL_S_ENV_VAR", "2.60.0", "checkpoints that count at once"),
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
    PrivateName("ray._private.utils", "get_dashboard_dependency_error", "2.60.0", _LEAN),
    PrivateName("ray._private.node", "Node.start_log_monitor", "2.60.0", _LEAN),
    PrivateName("ray._private.log_monitor", "LogMonitor.update_log_filenames", "2.60.0", _LOGS),
    PrivateName("ray._private.log_monitor", "LogMonitor.open_closed_files", "2.60.0", _LOGS),
    PrivateName(
        "ray._private.log_monitor", "LogMonitor.check_log_files_and_publish_updates", "2.60.0", _LOGS
    ),
    PrivateName("ray._private.log_monitor", "is_proc_alive", "2.60.0", _LOGS),
    PrivateName("ray._private.worker", "global_worker_stdstream_dispatcher.emit", "2.60.0", _LOGS),
    PrivateName("ray._private.worker", "_global_node", "2.60.0", _LOGS),
    PrivateName("ray._raylet", "persist_port", "2.60.0", _LEAN),
    PrivateName("ray._raylet", "get_port_filename", "2.60.0", _LEAN),
    PrivateName("ray._raylet", "RUNTIME_ENV_AGENT_PORT_NAME", "2.60.0", _LEAN),
    PrivateName("ray._raylet", "METRICS_AGENT_PORT_NAME", "2.60.0", _LEAN),
    PrivateName("ray._raylet", "METRICS_EXPORT_PORT_NAME", "2.60.0", _LEAN),
    PrivateName("ray._raylet", "DASHBOARD_AGENT_LISTEN_PORT_NAME", "2.60.0", _LEAN),
    PrivateName(POOL, "get_or_create_actor_location_tracker", "2.60.0", _LEAN),
    PrivateName(POOL, "get_actor_locations", "2.60.0", _LEAN),
    PrivateName(SCALER, "DefaultAutoscalingCoordinator", "2.60.0", _LEAN),
    PrivateName(FAKE, "FakeAutoscalingCoordinator", "2.60.0", _LEAN),
    PrivateName(STATS, "_StatsManager.gen_dataset_id_from_stats_actor", "2.60.0", _LEAN),
    *(PrivateName(STATS, f"_StatsManager.{name}", "2.60.0", _LEAN) for name in COUNTING),
)


@contextmanager
def replace_attributes(owner: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """While this lasts, attributes of a module or class have other values."""
    before = {name: vars(owner)[name] for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
