"""How the workers of a training run learn each other's addresses: Ray Train's backend for TensorFlow.

``ray.train.tensorflow`` does the same, but imports TensorFlow in the job's process and in Ray Train's
controller, which need none of it (seconds of a start, half a gigabyte), and asks the workers for Keras 2.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import ray
from ray.train.backend import Backend, BackendConfig


class AddressBackend(Backend):
    """Sets ``TF_CONFIG`` on every worker, before any of them trains.

    https://www.tensorflow.org/guide/distributed_training#setting_up_the_tf_config_environment_variable
    """

    def on_start(self, worker_group: Any, backend_config: BackendConfig) -> None:
        """Ask all workers for an address, and tell each of them all."""
        addresses = worker_group.execute(free_address)
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


def free_address() -> str:
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
