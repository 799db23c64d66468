"""A training whose workers come and go with the cluster's nodes, with the numbers of an undisturbed one.

Run where ``DEEPFAKE_CLUSTER_TESTS`` is set, as the other tests that make clusters.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from deepfake.io.storage import Storage
from deepfake.model.bundle import Bundle
from tests import running
from tests.cluster.local_cluster import LocalCluster
from tests.running import ROOT
from tests.small_network import list_small_model_words

EPOCHS = 100
WORKERS = re.compile(r"worker (\d) of (\d): process")
OPTIONS = {
    "model.dropout": 0, "model.head_dropout": 0, "training.epochs": EPOCHS, "training.head_epochs": EPOCHS,
    "training.fine_tune": "none", "training.global_batch": 8, "training.head_learning_rate": 0.0001,
    "training.threads_per_worker": 1, "training.checkpoint_minutes": "null", "training.max_failures": -1,
    "training.select": "last",
}  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("DEEPFAKE_CLUSTER_TESTS"), reason="set DEEPFAKE_CLUSTER_TESTS=1 to have this run"
    ),
]


class Watched:
    """A submitted job's lines, and after which epoch how many workers trained."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process, self.lines, self.said = process, iter(process.stdout), ""
        self.groups: list[tuple[int, int]] = []  # epochs complete, workers

    def wait_for(self, pattern: str) -> None:
        for line in self.lines:
            self.said += line
            if found := WORKERS.search(line):
                done = [int(number) for number in re.findall(r"epoch (\d+)/\d+  loss ", self.said)]
                if found[1] == "0":
                    self.groups.append((max(done, default=0), int(found[2])))
            if re.search(pattern, line):
                return
        raise AssertionError(f"{pattern} never came:\n{self.said}")


def history(output: Path) -> list[dict[str, Any]]:
    rows = pq.read_table(output / "history.parquet").to_pylist()
    return [{name: value for name, value in row.items() if not name.endswith("_seconds")} for row in rows]


def test_workers_follow_the_nodes_from_epoch_to_epoch_and_change_no_number(
    small_crops: Path, tmp_path: Path
) -> None:
    words = ("--input", small_crops, *list_small_model_words(), *running.flags(OPTIONS))
    output = tmp_path / "elastic"
    # How long Ray waits for a worker on a node that it does not yet know to be lost.
    with LocalCluster({"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "60"}) as cluster:
        cluster.wait_for([cluster.start_raylet("a", 1, {"driver": 1})])
        job = Watched(
            cluster.submit(
                "python", "jobs/train.py", "--ray.address", "auto", *map(str, words), "--output", str(output),
                "--training.workers", "1,2", working_dir=ROOT,
                options=("--entrypoint-resources", '{"driver": 1}'),
            )
        )  # fmt: skip
        job.wait_for(r"epoch 2/\d+  loss")
        joined = cluster.start_raylet("b", 1)
        job.wait_for(r"worker 1 of 2: process")
        job.wait_for(r"epoch \d+/\d+  loss")
        job.wait_for(r"epoch \d+/\d+  loss")
        joined.kill()
        job.wait_for(r"worker 0 of 1: process")
        job.wait_for("Summary")
        assert job.process.wait() == 0, job.said

    assert [workers for _, workers in job.groups] == [1, 2, 1]
    epochs = [int(number) for number in re.findall(r"epoch (\d+)/\d+  loss ", job.said)]
    assert sorted(set(epochs)) == list(range(1, EPOCHS + 1))

    alone = tmp_path / "alone"
    running.run(running.command("train", *words, "--output", alone, "--ray.start", "never"), tmp_path)
    mine, undisturbed = history(output), history(alone)
    assert len(mine) == EPOCHS
    for one, other in zip(mine, undisturbed, strict=True):
        for name, value in other.items():
            assert one[name] == (pytest.approx(value, rel=1e-5, abs=1e-5) if type(value) is float else value)
    weights = [Bundle.load(str(folder), Storage()).network.get_weights() for folder in (output, alone)]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
