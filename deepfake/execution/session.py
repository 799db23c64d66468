"""Start or join Ray for one job. Knows nothing of what the job does."""

import logging
import math
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import ray

from deepfake.config import RayConfig
from deepfake.errors import JobError, UsageError
from deepfake.execution import nodes, ray_compat, waiting
from deepfake.execution.process import count_cpus
from deepfake.execution.ray_compat import embedded
from deepfake.execution.ray_errors import leave_out_own
from deepfake.execution.start_guard import guard_start
from deepfake.imports import import_for_good

log = logging.getLogger(__name__)

CONNECT_SECONDS = 20.0
# Less work than this, in seconds of one core by the plan's estimate, is done sooner than workers are started.
# On two virtual cores a score job of 1, 8 and 24 clips (by the plan 1, 5 and 15 s) took 5, 7 and 11 s without
# workers, 31, 24 and 21 s with them: a clip more costs 0.26 s, and twice as many cost less than workers do.
SMALL_SECONDS = 30.0
START_ATTEMPTS = 2  # an overloaded machine may need longer than Ray waits
STAGE_MODULES = ("deepfake.execution.stage_modules",)
_ROOM_BYTES = 16 * 2**20  # Ray's logs and sockets take some
THREADS = 4  # for calls that are too small for workers


@contextmanager
def open_session(
    config: RayConfig, core_seconds: float = math.inf, small: float = SMALL_SECONDS, units: int = 0
) -> Iterator[None]:
    """Ray, ready to use: the one already running in this process, a cluster, or an embedded one.

    An embedded Ray is stopped at the end of the block, and not started for so little work that this process
    does it sooner by itself: see ``is_small``. A cluster is only left; its nodes are examined before.
    ``units``: for so many an embedded Ray starts workers at once, as far as it has CPUs, and they import what
    all stages need while this process still starts; 0: as many as it has CPUs, and they import nothing.
    """
    if ray.is_initialized():
        quieten_ray()
        yield
        return
    if is_small(config, core_seconds, small):
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not sys.stdout.isatty():  # a file or a job's log: no colours before the workers' lines
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray_compat.quiet_autoscaler()
    _start(config, units)
    for signum, handler in handlers.items():  # Ray puts its own in their place
        signal.signal(signum, handler)
    quieten_ray()
    log.info("Ray on %g CPUs, %g GPUs", nodes.sum_resource("CPU"), nodes.sum_resource("GPU"))
    cluster = joins_a_cluster(config)
    try:
        nodes.begin_session(cluster=cluster)
        resources = [node["Resources"] for node in ray.nodes()]
        with nullcontext() if cluster else embedded.do_without_processes(resources):
            yield
    finally:
        with suppress(Exception):  # a cluster that is gone
            nodes.end_session()
        with nullcontext() if cluster else embedded.leave_no_process():
            ray.shutdown()


def is_small(config: RayConfig, core_seconds: float, small: float = SMALL_SECONDS) -> bool:
    """Whether work of so many seconds of one core is done in this process, and says so.

    ``small``: up to which it is.

    ``UsageError`` where ``ray.start never`` meets a cluster's address.
    """
    if joins_a_cluster(config):
        if config.start == "never":
            raise UsageError("ray.start never: leave out --ray.address and RAY_ADDRESS, which name a cluster")
        return False
    if config.start == "always" or (config.start == "auto" and core_seconds > small):
        return False
    more = "" if math.isinf(core_seconds) else f" of about {core_seconds:.0f} s"
    log.info("work%s is done in this process; --ray.start always has Ray's workers do it", more)
    return True


def workers_exist() -> bool:
    """Whether Ray's workers do the work of this session, and not this process."""
    return bool(ray.is_initialized())


def _start(config: RayConfig, units: int = 0) -> None:
    """Join the cluster that is asked for, or start an embedded Ray; ``JobError`` where neither works."""
    if address := _get_cluster_address(config):
        try:
            _check_port(address)
            with guard_start(), ray_compat.quiet_driver():
                ray.init(address=address, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, TimeoutError, OSError) as error:
            raise JobError(
                f"no Ray cluster answers at {address!r} ({_take_first_line(error)}); start one, or leave out "
                "--ray.address and RAY_ADDRESS to run on this machine"
            ) from error
        _warn_on_a_head_that_should_not_work()
        return
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            with (
                guard_start(),
                ray_compat.quiet_driver(),
                embedded.start_no_idle_processes(units or None),
            ):
                ray.init(
                    address="local",
                    num_cpus=config.num_cpus or count_cpus(),
                    object_store_memory=config.object_store_mb * 2**20,
                    logging_level=logging.ERROR,
                    **embedded.make_embedded_options(STAGE_MODULES if units else ()),
                )
            return
        except Exception as error:  # Ray waits half a minute for its processes, then raises a plain Exception
            ray.shutdown()
            folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"  # Ray takes no other
            if Path(folder).is_dir() and shutil.disk_usage(folder).free < _ROOM_BYTES:
                raise JobError(
                    f"{folder}: no space is left there, which Ray needs to start; free some, or let "
                    "RAY_TMPDIR name another folder"
                ) from error
            if "AF_UNIX path length" in str(error):
                raise UsageError(
                    f"{folder}: too long a path for the sockets that Ray makes below it; name a shorter "
                    "folder with TMPDIR or RAY_TMPDIR"
                ) from error
            if attempt == START_ATTEMPTS:
                raise JobError(
                    f"Ray did not start on this machine ({_take_first_line(error)}); it may be overloaded or "
                    "out of memory: free some, or lower --ray.num_cpus and --ray.object_store_mb"
                ) from error
            log.warning("Ray did not start (%s); trying once more", _take_first_line(error))


def _get_cluster_address(config: RayConfig) -> str | None:
    """The address of the cluster to join, if any; ``UsageError`` where it is one for Ray Client."""
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address and address.startswith("ray://"):
        raise UsageError(
            f"{address!r} is for interactive use of Ray, through which no job runs: send the same command to "
            "the cluster with ray job submit"
        )
    return address


def _warn_on_a_head_that_should_not_work() -> None:
    """Say so where this process, which plans, joins and writes pages, sits on a head without CPUs."""
    here = ray.get_runtime_context().get_node_id()
    for node in ray.nodes():
        resources = node["Resources"]
        if node["NodeID"] == here and "node:__internal_head__" in resources and not resources.get("CPU"):
            log.warning(
                "this job's own process runs on the cluster's head node, which is to do no work; "
                "ray job submit --entrypoint-num-cpus 1 puts it on another"
            )


def _check_port(address: str) -> None:
    """Raise ``OSError`` where nothing listens at ``host:port``: Ray itself would try for many minutes."""
    host, separator, port = address.rpartition("://")[2].rpartition(":")
    if separator and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _take_first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def joins_a_cluster(config: RayConfig) -> bool:
    """Whether Ray is a running cluster, which may grow, and not embedded in this process."""
    return _get_cluster_address(config) is not None


def require_gpus(config: RayConfig, option: str, wanted: int = 1) -> int:
    """GPUs of the cluster, at least ``wanted``, which ``option`` asks for.

    A cluster that has fewer may start machines for them; the log says that the job waits for it. An embedded
    Ray gets no more than it has: ``UsageError``.
    """
    found = int(nodes.sum_resource("GPU"))
    if found < wanted:
        words = f"--{option} needs {wanted} GPU{'s' * (wanted > 1)}, Ray has {found}"
        if not _get_cluster_address(config):
            raise UsageError(f"{words} on this machine; leave it out to work on CPUs")
        log.warning("%s now: waiting until the cluster has as many", words)
    return max(found, wanted)


def spread(function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], small: bool) -> list[Any]:
    """The answers to calls of a function, in their order, worked at in parallel.

    Each is a Ray task of one CPU; where they are ``small``, so that starting workers would take longer than
    the calls, or there are no workers, they are done in threads of this process.
    """
    if small or not workers_exist():
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(lambda arguments: function(*arguments), calls))
    calls = list(calls)
    if calls and nodes.get_nodes().of_a_cluster:
        waiting.wait_for_room({"CPU": 1.0}, len(calls))
    place = nodes.get_nodes().make_selector()
    remote: Callable[..., Any] = ray.remote(num_cpus=1, label_selector=place)(function).remote
    return ray.get([remote(*arguments) for arguments in calls])


def spread_in_order(
    function: Callable[..., Any], calls: Sequence[tuple[Any, ...]], cpus: float
) -> Iterator[Any]:
    """The answers to calls, in their order, from Ray's workers with so many ``cpus`` a call, or from here.

    A worker's death is an answer as well: an exception.
    """
    if not workers_exist():
        yield from (function(*arguments) for arguments in calls)
        return
    place = nodes.get_nodes().make_selector()
    task = ray.remote(num_cpus=cpus, max_retries=0, label_selector=place)(function)
    for answer in [task.remote(*arguments) for arguments in calls]:
        try:
            yield ray.get(answer)
        except ray.exceptions.RayError as error:
            yield error


def share(value: Any) -> Any:
    """Put a value where every worker of this session can ``fetch`` it; what to hand them.

    The reference is serialised by hand: Ray warns at length of references among an actor's arguments, which
    could be lost before a restart; one that was serialised so stays until the job ends.
    """
    return ray.cloudpickle.dumps(ray.put(value)) if workers_exist() else value


def fetch(shared: Any) -> Any:
    """What was shared."""
    return ray.get(ray.cloudpickle.loads(shared)) if isinstance(shared, bytes) else shared


def quieten_ray() -> None:
    """Let Ray's libraries speak of errors only, in this process."""
    with import_for_good():
        context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.train"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):  # what is shown; the file of the session keeps all
            handler.addFilter(leave_out_own)
