"""A Ray that is embedded in a job: without the processes that have nothing to do in it."""

import functools
import importlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
import ray._private.log_monitor
import ray._private.node
import ray._private.services
import ray._private.utils
import ray._private.worker
from ray._private import ray_constants

from deepfake.execution.ray_compat.private_names import (
    COUNTING,
    FAKE,
    POOL,
    SCALER,
    STATS,
    replace_attributes,
)
from deepfake.imports import list_import_path
from deepfake.progress import repeat

LOG_SECONDS = 0.1  # as often as Ray's own log monitor looks
# So long the agent of environments may take to start, once it is asked; then Ray's node ends.
AGENT_SECONDS = 600
# So long a worker may take to end by itself once Ray has ended. Most take a tenth of a second.
END_SECONDS = 2.0


def make_embedded_options(modules: Sequence[str] = ()) -> dict[str, Any]:
    """Options of ``ray.init`` for a Ray without a dashboard: nobody reads its metrics and task events.

    They take 3 % of a core. Workers import the ``modules`` when they start. The agent that sets up
    environments is waited for longer than Ray's 30 s, since it starts beside the work. ``_system_config`` is
    Ray's own for tests; seen in 2.60.0.
    """
    system: dict[str, Any] = {
        "enable_metrics_collection": False,
        "task_events_report_interval_ms": 0,
        "agent_register_timeout_ms": 1000 * AGENT_SECONDS,
    }
    return {"include_dashboard": False, "_system_config": system | {"preload_python_modules": list(modules)}}


@contextmanager
def start_no_idle_processes(workers: int | None = None) -> Iterator[None]:
    """While an embedded Ray starts: leave out those of its processes that have nothing to do in it.

    The dashboard and its agent, which Ray starts without a page as well, the autoscaler, and what reads the
    workers' logs (see ``show_logs``). The agent that sets up environments starts where one is asked for. Each
    is a Python that imports Ray, and Ray waits for most of them one after the other. Of workers no more than
    ``workers`` are started before they are asked for. They find this process's code, wherever they start.
    """
    services = ray._private.services
    start_process = services.start_ray_process

    @functools.wraps(start_process)
    def start(command: list[str], process_type: str, *arguments: Any, **named: Any) -> Any:
        if process_type == ray_constants.PROCESS_TYPE_RAYLET:
            command = _replace_agents(command)
            if workers is not None:
                command = [_limit(word, workers) for word in command]
            places = {"PYTHONPATH": os.pathsep.join(list_import_path())}
            named["env_updates"] = {**(named.get("env_updates") or {}), **places}
        return start_process(command, process_type, *arguments, **named)

    skipped = dict.fromkeys(("start_monitor", "start_api_server", "start_log_monitor"), lambda *_, **__: None)
    with (
        replace_attributes(services, {"start_ray_process": start}),
        replace_attributes(ray._private.node.Node, skipped),
        # Ray imports all that a dashboard needs to see whether its agent could be started.
        replace_attributes(ray._private.utils, {"get_dashboard_dependency_error": lambda: None}),
    ):
        yield


_AHEAD = "--num_prestart_python_workers="


def _limit(word: str, workers: int) -> str:
    """A word of the command of Ray's node, which starts no more workers ahead."""
    return f"{_AHEAD}{min(workers, int(word.removeprefix(_AHEAD)))}" if word.startswith(_AHEAD) else word


_DASHBOARD_AGENT, _ENVIRONMENT_AGENT = "--dashboard_agent_command=", "--runtime_env_agent_command="
# Ray's node ends with these processes, so they are there, and they end with the node.
_PLACEHOLDER = "import os, time; node = os.getppid()\nwhile os.getppid() == node: time.sleep(0.5)"
# Tells its port in a file, as the agent does, and becomes the agent when the node calls, which does so again
# until it is answered.
_UNTIL_ASKED = """
import os, select, socket, sys
node, (told, address, *agent) = os.getppid(), sys.argv[1:]
family, kind, _, _, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
with socket.socket(family, kind) as door:
    door.bind(place)
    door.listen()
    port = door.getsockname()[1]
    with open(told + ".new", "w") as file:
        file.write(str(port))
    os.replace(told + ".new", told)
    while not select.select([door], [], [], 0.5)[0]:
        if os.getppid() != node:
            sys.exit()
os.execv(agent[0], [*agent, f"--runtime-env-agent-port={port}"])
"""


def _replace_agents(command: list[str]) -> list[str]:
    """The command of Ray's node with processes that only wait in place of its agents.

    That of the dashboard has no ports. The other has one, for the node.
    """
    options = dict(word[2:].split("=", 1) for word in command if word.startswith("--") and "=" in word)
    folder, node_id, names = options["session_dir"], options["node_id"], ray._raylet
    for name in ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME"):
        names.persist_port(folder, node_id, getattr(names, name), -1)
    told = Path(folder, names.get_port_filename(node_id, names.RUNTIME_ENV_AGENT_PORT_NAME))
    python = [sys.executable, "-I", "-S", "-c"]
    dashboard = subprocess.list2cmdline([*python, _PLACEHOLDER])
    ahead = subprocess.list2cmdline([*python, _UNTIL_ASKED, str(told), options["node_ip_address"]])
    return [
        _DASHBOARD_AGENT + dashboard
        if word.startswith(_DASHBOARD_AGENT)
        else word.replace(_ENVIRONMENT_AGENT, f"{_ENVIRONMENT_AGENT}{ahead} ", 1)
        if word.startswith(_ENVIRONMENT_AGENT)
        else word
        for word in command
    ]


@contextmanager
def leave_no_process() -> Iterator[None]:
    """While an embedded Ray ends: end those of its workers that do not.

    The process that leads a training of Ray Train now and then hangs after its last step (2.60.0: its log
    ends with the destruction of its core worker), and would stay for good, with 200 MB.
    """
    nodes = [pid for pid, name, parent, _ in _list_processes() if (name, parent) == ("raylet", os.getpid())]
    workers = _list_workers(nodes)
    try:
        yield
    finally:
        give_up = time.monotonic() + END_SECONDS
        while workers := workers & _list_workers(nodes):
            if time.monotonic() > give_up:
                for pid, _ in workers:
                    with suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.02)


def _list_workers(nodes: Sequence[int]) -> set[tuple[int, str]]:
    """Ids, and when they started, of the processes that these nodes of Ray started, and of theirs."""
    marks = [f"\0RAY_RAYLET_PID={node}\0".encode() for node in nodes]
    found = set()
    for pid, _, _, started in _list_processes():
        with suppress(OSError):  # it has ended, or is somebody else's
            variables = b"\0" + Path(f"/proc/{pid}/environ").read_bytes()
            if any(mark in variables for mark in marks):
                found.add((pid, started))
    return found


def _list_processes() -> Iterator[tuple[int, str, int, str]]:
    """Of each process of this machine: its id, name, parent, and when it started (proc_pid_stat.5)."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            before, _, after = (entry / "stat").read_text().rpartition(")")
            fields = after.split()
            yield int(entry.name), before.partition("(")[2], int(fields[1]), fields[19]


@contextmanager
def do_without_processes(nodes: Sequence[Mapping[str, float]]) -> Iterator[None]:
    """While an embedded Ray runs: what ``start_no_idle_processes`` left out and is needed is done here.

    ``nodes`` are the nodes' resources.
    """
    with show_logs(), start_no_data_actors(nodes):
        yield


@contextmanager
def show_logs() -> Iterator[None]:
    """While an embedded Ray runs: show what its workers say, which Ray has a process of its own read.

    What they say last is read at the end of the block.
    """
    worker, monitor = ray._private.worker, ray._private.log_monitor
    node = worker._global_node
    reader = monitor.LogMonitor(
        node.node_ip_address, node.get_logs_dir_path(), _Screen(), monitor.is_proc_alive
    )

    def look() -> None:
        with suppress(OSError):
            reader.update_log_filenames()
            reader.open_closed_files()
            reader.check_log_files_and_publish_updates()

    try:
        with repeat(LOG_SECONDS, look):
            yield
    finally:
        look()


class _Screen:
    """Where a log monitor sends lines: this process's screen, by the way of those that come from afar."""

    def publish_logs(self, data: dict[str, Any]) -> None:
        """Show some lines of a process."""
        worker = ray._private.worker
        worker.global_worker_stdstream_dispatcher.emit({**data, "localhost": data["ip"]})


@contextmanager
def start_no_data_actors(nodes: Sequence[Mapping[str, float]]) -> Iterator[None]:
    """While an embedded Ray runs: keep Ray Data from starting actors of its own, a process each.

    One counts for a dashboard, one shares nodes among data sets, one knows which node a worker is on. Here
    there is no dashboard, one node, and one stage at a time. They take 2.8 s of a core. ``nodes`` are the
    nodes' resources.
    """
    pool, scaler, fake, stats = map(importlib.import_module, (POOL, SCALER, FAKE, STATS))

    def make_coordinator(**_: Any) -> Any:
        return fake.FakeAutoscalingCoordinator(initial_cluster_resources=list(nodes))

    counting: dict[str, Any] = {name: staticmethod(lambda *_, **__: None) for name in COUNTING}
    counting["gen_dataset_id_from_stats_actor"] = staticmethod(lambda: uuid.uuid4().hex)
    # Where Ray Data is told of no place, it keeps what it knows of the actor itself.
    places = {"get_or_create_actor_location_tracker": _NoTracker, "get_actor_locations": lambda _: {}}
    with (
        replace_attributes(pool, places),
        replace_attributes(scaler, {"DefaultAutoscalingCoordinator": make_coordinator}),
        replace_attributes(stats._StatsManager, counting),
    ):
        yield


class _NoTracker:
    """What Ray Data's workers tell where they are, which nobody asks."""

    class update_actor_location:
        """A method of an actor."""

        @staticmethod
        def remote(*_: Any) -> None:
            """Forget it."""
