"""A Ray cluster on this machine that starts empty and grows and shrinks, as those that people pay for do.

The head's autoscaler starts and ends raylets by Ray's own provider of pretended nodes. They are ended by
their process ids, since ``ray stop`` would end every Ray of the machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import yaml
from ray.util import get_node_ip_address as node_ip_address

from tests import running
from tests.cluster.local_cluster import SCRIPTS, START_SECONDS, free_ports
from tests.processes import descendants, wait_until
from tests.running import ROOT

HEAD = "ray.head.default"  # what Ray's provider calls it
HEAD_ID = "f" * 51 + "00000"
AS_HEAD = {"RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_NODE_TYPE_NAME": HEAD}  # what autoscaler 2 knows it by
OBJECT_STORE_BYTES = 100 * 2**20
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
BLIND_PROVIDER = "tests.cluster.blind_provider.BlindProvider"


@dataclass
class GrowingCluster:
    """Use as a context manager: a head without CPUs, and up to ``most_nodes`` nodes where they are asked for.

    ``autoscaler`` is 1, as on machines that Ray's launcher starts, or 2, as on Kubernetes.
    """

    cpus: int = 2
    most_nodes: int = 4
    idle_seconds: float = 10
    autoscaler: int = 1
    resources: Mapping[str, float] = field(default_factory=dict)  # of each node, beside its CPUs
    head_cpus: int = 0
    hidden: Path | None = None  # a folder that the second node does not see

    def __enter__(self) -> GrowingCluster:
        # Short, since the paths of Unix sockets may have no more than 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="grow-"))
        gcs, client, agent, grpc, runtime_env, metrics, node_manager, objects = free_ports(8)
        self.address = f"{node_ip_address()}:{gcs}"
        config = self.folder / "autoscaling.yaml"
        config.write_text(yaml.safe_dump(self._config()))
        command = [
            str(Path(SCRIPTS, "ray")), "start", "--block", "--head", f"--port={gcs}",
            f"--num-cpus={self.head_cpus}", "--num-gpus=0",
            "--include-dashboard=false", f"--ray-client-server-port={client}",
            f"--object-store-memory={OBJECT_STORE_BYTES}", f"--dashboard-agent-listen-port={agent}",
            f"--dashboard-agent-grpc-port={grpc}", f"--runtime-env-agent-port={runtime_env}",
            f"--metrics-export-port={metrics}", f"--node-manager-port={node_manager}",
            f"--object-manager-port={objects}", f"--temp-dir={self.folder / 'ray'}",
            f"--autoscaling-config={config}",
        ]  # fmt: skip
        self.client_address = f"ray://127.0.0.1:{client}"
        self._log = self.folder / "log.txt"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, env=self.variables | AS_HEAD, cwd=self.folder
            )
        try:
            self._wait()
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
        """The environment of the cluster, and of jobs that join it."""
        return running.environment(
            {
                "PATH": f"{SCRIPTS}{os.pathsep}{os.environ.get('PATH', '')}",
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_FAKE_CLUSTER": "1",
                "RAY_enable_autoscaler_v2": str(int(self.autoscaler == 2)),
                "AUTOSCALER_UPDATE_INTERVAL_S": "1",
                "RAY_AUTH_MODE": "disabled",
                "PYTHONPATH": str(ROOT),
                "HIDDEN": str(self.hidden or ""),
            }
        )

    def stop(self) -> None:
        """End all of it and remove what it wrote."""
        for signum in (signal.SIGSTOP, signal.SIGKILL):  # frozen first, so that none starts another meanwhile
            for pid in [*descendants(self._process.pid), self._process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signum)
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the autoscaler and the start said, for a failure."""
        logs = sorted(self.folder.glob("ray/session_latest/logs/monitor*"))
        return "\n".join(path.read_text()[-3000:] for path in [self._log, *logs])

    def _config(self) -> dict[str, object]:
        worker = {"CPU": self.cpus, "object_store_memory": OBJECT_STORE_BYTES, **self.resources}
        return {
            "cluster_name": "growing",
            "max_workers": self.most_nodes,
            "upscaling_speed": 1.0,
            "idle_timeout_minutes": self.idle_seconds / 60,
            "provider": {
                "type": "external", "module": BLIND_PROVIDER if self.hidden else PROVIDER,
                "gcs_address": self.address, "head_node_id": HEAD_ID,
                "launch_multiple": True, "use_node_id_as_ip": True, "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "auth": {"ssh_user": "nobody"}, "docker": {}, "setup_commands": [], "initialization_commands": [],
            "head_setup_commands": [], "worker_setup_commands": [], "head_start_ray_commands": [],
            "worker_start_ray_commands": [], "file_mounts": {}, "cluster_synced_files": [],
            "file_mounts_sync_continuously": False, "rsync_exclude": [], "rsync_filter": [],
            "head_node_type": HEAD,
            "available_node_types": {
                HEAD: {"resources": {"CPU": self.head_cpus}, "node_config": {}, "max_workers": 0},
                "worker": {
                    "resources": worker, "node_config": {}, "min_workers": 0, "max_workers": self.most_nodes,
                },
            },
        }  # fmt: skip

    def _wait(self) -> None:
        def started() -> bool:
            return "Ray runtime started" in self._log.read_text()

        with suppress(TimeoutError):
            wait_until(lambda: started() or self._process.poll() is not None, START_SECONDS)
        if not started():
            raise RuntimeError(f"the cluster did not start\n{self.log()}")
