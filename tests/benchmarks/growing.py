"""CPUs there and CPUs at work by the second, while a job runs on a cluster that starts empty and grows.

``python -m tests.benchmarks.growing score --input ... --bundle ... --output ...`` starts a cluster of up to
four nodes of two CPUs (Ray's provider of pretended nodes), runs the job there, and prints a line whenever the
numbers change. Nodes are processes of this machine: rates say nothing of a real cluster, the numbers do.
With ``--gpus 1`` each node pretends to have a GPU, which ``--scoring.use_gpu true`` takes: TensorFlow, which
sees none, makes the GPUs' stage the slow one, and the numbers show whether the fast one before starves it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ray._private.state import GlobalState
from ray._raylet import GcsClientOptions

from tests import running
from tests.cluster.growing_cluster import GrowingCluster

EVERY_SECONDS = 0.5


@contextmanager
def sampled(
    cluster: GrowingCluster, report: Callable[[float, float, float], None], resource: str = "CPU"
) -> Iterator[None]:
    """Call ``report(seconds, there, at_work)`` whenever the CPUs of the cluster, or those in use, change.

    With another ``resource`` of those.
    """
    state = GlobalState()
    state._initialize_global_state(GcsClientOptions.create(cluster.address, None, True, False))
    ended = threading.Event()
    began = time.monotonic()

    def watch() -> None:
        last = None
        while not ended.wait(EVERY_SECONDS):
            there = state.cluster_resources().get(resource, 0.0)
            numbers = (there, there - state.available_resources().get(resource, 0.0))
            if numbers != last:
                report(time.monotonic() - began, *numbers)
                last = numbers

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        state.disconnect()


def say(at: float, words: str) -> None:
    print(f"{at:6.1f} s  {words}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--autoscaler", type=int, default=1, choices=(1, 2))
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--gpus", type=int, default=0, help="of a node, pretended")
    parser.add_argument("--after", type=float, default=30, help="seconds to watch when the job has ended")
    parser.add_argument("--log", default=os.devnull, help="file for what the job prints")
    parser.add_argument("job")
    options, words = parser.parse_known_args()
    with (
        GrowingCluster(
            options.cpus,
            options.nodes,
            autoscaler=options.autoscaler,
            resources={"GPU": options.gpus} if options.gpus else {},
        ) as cluster,
        sampled(cluster, lambda at, there, used: say(at, f"{there:g} CPUs, {used:g} at work")),
        sampled(cluster, lambda at, there, used: say(at, f"{there:g} GPUs, {used:g} at work"), "GPU"),
        Path(options.log).open("w") as log,
    ):
        began = time.monotonic()
        command = running.command(options.job, *words, "--ray.address", cluster.address)
        done = subprocess.run(command, env=cluster.variables, stdout=log, stderr=log)
        say(time.monotonic() - began, f"the job has ended with status {done.returncode}")
        time.sleep(options.after)


if __name__ == "__main__":
    main()
