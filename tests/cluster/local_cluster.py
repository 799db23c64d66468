"""A real Ray cluster on this machine: a head that runs no work, its job server, and raylets that come and go.

Every node has its own ports and its own logical resources; all are told one token, which nothing outside the
cluster's folder knows. Nodes are started in the foreground (``ray start --block``) and end with that process.

A process that joins Ray looks for a raylet in the list of processes, and prefers the head's. So that it finds
that of its own node, as on machines of their own, each node has a list of its own (``unshare``).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from urllib.error import URLError
from urllib.request import Request, urlopen

from tests import running
from tests.processes import descendants, wait_until

SCRIPTS = sysconfig.get_path("scripts")
OBJECT_STORE_BYTES = 80 * 2**20  # Ray's least
START_SECONDS = 120
STOP_SECONDS = 30
# A namespace of process ids, with its own /proc; what is later mounted on shared mounts is seen in it too.
# The shell in it is its init, which reaps orphans; what HIDDEN names is an empty folder there.
ISOLATED = ("unshare", "--pid", "--fork", "--mount-proc", "--propagation", "slave", "--kill-child")
INIT = ("sh", "-c", 'for at in $HIDDEN; do mount -t tmpfs hidden "$at" || exit; done; "$@" & wait $!', "init")


@dataclass
class Node:
    """One ``ray start --block`` process and what it listens to."""

    name: str
    process: subprocess.Popen[bytes]
    agent_port: int
    metrics_port: int
    log: Path

    def kill(self) -> None:
        """End the node as a lost machine ends: its raylet, workers and agents all at once."""
        victims = descendants(self.process.pid)
        for pid in victims:
            _signal(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End the node in order; by force what that leaves after a while."""
        started = descendants(self.process.pid)
        for pid in started[1:2]:  # ``ray start``: it ends what it started, and stays
            _signal(pid, signal.SIGTERM)
        with suppress(TimeoutError):
            wait_until(lambda: not any(map(_runs, started[2:])), STOP_SECONDS)
        self.kill()


class StillRunning(AssertionError):
    """A command has not ended in time; says what it had printed."""


@dataclass
class LocalCluster:
    """Use as a context manager. ``environment`` is what the nodes' processes, and so the jobs, see."""

    environment: Mapping[str, str] = field(default_factory=dict)
    object_store_bytes: int = OBJECT_STORE_BYTES
    nodes: dict[str, Node] = field(default_factory=dict)

    def __enter__(self) -> LocalCluster:
        # Short, since the paths of Unix sockets may have no more than 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="ray-"))
        (self.folder / "token").write_text(secrets.token_urlsafe(32))
        try:
            self.start_head()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def variables(self) -> dict[str, str]:
        """The environment of nodes, and of commands that speak to the cluster."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "AWS_"))}
        return {
            **kept,
            **running.FAIR,
            "PATH": f"{SCRIPTS}{os.pathsep}{kept.get('PATH', '')}",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray's own helpers ask for "the" cluster of this machine, of which there may be others.
            "RAY_API_SERVER_ADDRESS": self.url,
            **self.environment,
        }

    @property
    def url(self) -> str:
        """The job server."""
        return f"http://127.0.0.1:{self._dashboard_port}"

    @property
    def address(self) -> str:
        """The head, as other nodes join it."""
        return f"127.0.0.1:{self._gcs_port}"

    def start_head(self, wait: bool = True, same_ports: bool = False) -> Node:
        """A head with a job server and no CPUs; at the address of an earlier one, with ``same_ports``."""
        if not same_ports:
            self._gcs_port, self._dashboard_port = free_ports(2)
        [client_port] = free_ports(1)
        node = self._start(
            "head", ["--head", f"--port={self._gcs_port}", "--dashboard-host=127.0.0.1",
                     f"--dashboard-port={self._dashboard_port}", "--include-dashboard=true",
                     f"--ray-client-server-port={client_port}", "--num-cpus=0"],
        )  # fmt: skip
        if wait:
            self.wait_for([node])
        return node

    def start_raylet(
        self,
        name: str,
        cpus: int,
        resources: Mapping[str, float] | None = None,
        hidden: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Node:
        """One more node; it joins in its own time, see ``wait_for``. What is ``hidden`` is empty there."""
        more = {"HIDDEN": " ".join(map(str, hidden)), **(environment or {})}
        return self._start(name, [f"--address={self.address}", f"--num-cpus={cpus}"], resources or {}, more)

    def _start(
        self,
        name: str,
        options: Sequence[str],
        resources: Mapping[str, float] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Node:
        agent, grpc, runtime_env, metrics, node_manager, objects = free_ports(6)
        command = [
            *isolated(), str(Path(SCRIPTS, "ray")), "start", "--block",
            "--node-ip-address=127.0.0.1", "--num-gpus=0",
            f"--object-store-memory={self.object_store_bytes}", f"--dashboard-agent-listen-port={agent}",
            f"--dashboard-agent-grpc-port={grpc}", f"--runtime-env-agent-port={runtime_env}",
            f"--metrics-export-port={metrics}", f"--node-manager-port={node_manager}",
            f"--object-manager-port={objects}",
            # A folder of its own: each node unpacks a job's working directory, over what was there.
            f"--temp-dir={self.folder / name}",
            "--resources=" + json.dumps({name: 1, **(resources or {})}), *options,
        ]  # fmt: skip
        log = self.folder / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=output, cwd=self.folder,
                env={**self.variables, **(environment or {})},
            )  # fmt: skip
        self.nodes[name] = Node(name, process, agent, metrics, log)
        return self.nodes[name]

    def wait_for(self, nodes: Sequence[Node]) -> None:
        """Return when these nodes are up; raises with their log where one is not in time."""
        give_up = time.monotonic() + START_SECONDS
        for node in nodes:
            checks = [f"http://127.0.0.1:{node.agent_port}/api/local_raylet_healthz"]
            if node.name == "head":
                checks.append(f"{self.url}/api/gcs_healthz")
            while not all(_healthy(url) for url in checks):
                if node.process.poll() is not None or time.monotonic() > give_up:
                    raise RuntimeError(f"{node.name} did not start\n{node.log.read_text()[-3000:]}")
                try:
                    node.process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue

    def submit(
        self, *entrypoint: str, working_dir: Path, job_id: str | None = None, options: Sequence[str] = ()
    ) -> subprocess.Popen[str]:
        """``ray job submit``, as a user types it; it ends when the job does."""
        return self.command(
            "job", "submit", "--address", self.url, "--working-dir", str(working_dir),
            *(["--submission-id", job_id] if job_id else []), *options, "--", *entrypoint,
        )  # fmt: skip

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """Any ``ray`` command, outside the cluster."""
        return subprocess.Popen(
            [str(Path(SCRIPTS, "ray")), *arguments], env=self.variables, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def ask(self, path: str, token: bool = True) -> dict[str, object]:
        """The job server's JSON answer to a GET."""
        headers = {"Authorization": f"Bearer {(self.folder / 'token').read_text()}"} if token else {}
        with urlopen(Request(self.url + path, headers=headers), timeout=30) as answer:
            found: dict[str, object] = json.load(answer)
            return found

    def stop(self) -> None:
        """End every node that is left, the head last, and remove what they wrote."""
        for node in sorted(self.nodes.values(), key=lambda node: node.name == "head"):
            if node.process.poll() is None:
                node.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def finished(process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str]:
    """Exit status and output of a command, when it has ended; ``StillRunning`` if it does not in time."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise StillRunning(f"{process.args!r} ran for more than {seconds:g} s; it said:\n{output}") from None
    return process.returncode, output


@cache
def isolated() -> list[str]:
    """Words before a command that give it a list of processes of its own."""
    own = [*ISOLATED] if os.geteuid() == 0 else [*ISOLATED, "--user", "--map-root-user"]
    done = subprocess.run([*own, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"a cluster of several nodes needs Linux and {' '.join(own)}: {done.stderr.strip()}"
        )
    return [*own, *INIT]


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nothing listens to."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _healthy(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _signal(pid: int, signum: signal.Signals) -> None:
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        return
