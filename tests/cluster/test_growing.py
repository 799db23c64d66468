"""Jobs on clusters that start empty and grow, and beside a driver that holds CPUs.

Run where ``DEEPFAKE_CLUSTER_TESTS`` is set: on a busy machine of two cores this takes many minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deepfake.config import CropConfig, PreprocessJobConfig
from deepfake.pipelines.preprocess import pipeline
from tests import running, small_bundle
from tests.benchmarks.growing import sampled
from tests.cluster.growing_cluster import GrowingCluster
from tests.cluster.local_cluster import LocalCluster, finished
from tests.pipelines.test_s3_jobs import rows
from tests.running import ROOT

pytestmark = [
    pytest.mark.skipif(
        not os.environ.get("DEEPFAKE_CLUSTER_TESTS"), reason="set DEEPFAKE_CLUSTER_TESTS=1 to have this run"
    ),
    pytest.mark.slow,
]
SMALL = ("--detector.name", "haar", "--sampling.isolate", "false", "--sampling.every_n", "5")


def run(cluster: GrowingCluster, job: str, *words: object) -> subprocess.CompletedProcess[str]:
    """A job that joins the cluster."""
    return subprocess.run(
        running.command(job, *words, "--ray.address", cluster.address),
        env=cluster.variables, text=True, capture_output=True, timeout=running.HANGS_SECONDS,
    )  # fmt: skip


def preprocess_here(archive: Path, output: Path) -> None:
    """What a run without that cluster writes."""
    config = {
        "input": str(archive), "output": str(output), "detector": {"name": "haar"},
        "sampling": {"isolate": False, "every_n": 5},
    }  # fmt: skip
    pipeline.run(PreprocessJobConfig.model_validate(config))


@pytest.mark.parametrize("autoscaler", [1, 2])
def test_a_job_takes_what_the_cluster_starts_and_writes_the_rows_of_an_embedded_run(
    autoscaler: int, ffpp_small: Path, tmp_path: Path, ray_session: None
) -> None:
    at_work = [0.0]
    with (
        GrowingCluster(cpus=1, most_nodes=2, autoscaler=autoscaler) as cluster,
        sampled(cluster, lambda _at, _there, used: at_work.append(used)),
    ):
        done = run(cluster, "preprocess", "--input", ffpp_small, "--output", tmp_path / "grown", *SMALL)
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path / 'grown'} is a path of this job's node" in done.stderr
    assert 2.0 in at_work, at_work  # of two that may be started; what is read while one joins may be more
    preprocess_here(ffpp_small, tmp_path / "plain")
    for table in ("crops", "videos"):
        assert rows(str(tmp_path / "grown"), table) == rows(str(tmp_path / "plain"), table)


def test_a_bad_node_that_the_cluster_starts_later_costs_no_row(
    ffpp_small: Path, tmp_path: Path, ray_session: None
) -> None:
    archive, output = tmp_path / "archive", tmp_path / "grown"
    shutil.copytree(ffpp_small, archive)
    with GrowingCluster(cpus=1, most_nodes=2, hidden=archive) as cluster:
        done = run(cluster, "preprocess", "--input", archive, "--output", output, *SMALL)
        assert done.returncode == 0, done.stderr + cluster.log()
    assert "units were handed back and are done by other nodes" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
    preprocess_here(archive, tmp_path / "plain")
    for table in ("crops", "videos"):
        assert rows(str(output), table) == rows(str(tmp_path / "plain"), table)


def test_a_gpu_that_no_type_of_node_has_ends_the_job_with_both_sides_named(
    ffpp_small: Path, tmp_path: Path
) -> None:
    small_bundle.red_is_fake(str(tmp_path / "bundle"), crop=CropConfig())
    with GrowingCluster(most_nodes=1) as cluster:
        done = run(
            cluster, "score", "--input", ffpp_small, "--bundle", tmp_path / "bundle",
            "--output", tmp_path / "out", "--scoring.use_gpu", "true", *SMALL,
        )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "a worker needs 1 GPU" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """What travels with a submitted job."""
    for name in ("deepfake", "jobs", "configs"):
        shutil.copytree(ROOT / name, tmp_path / "project" / name)
    return tmp_path / "project"


def test_a_driver_that_holds_the_last_cpu_is_told_so(project: Path, ffpp_small: Path, tmp_path: Path) -> None:
    with LocalCluster({"RAY_AUTH_MODE": "token"}) as cluster:
        cluster.wait_for([cluster.start_raylet("a", 1)])
        job = cluster.submit(
            "python", "jobs/preprocess.py", "--input", str(ffpp_small), "--output", str(tmp_path / "out"),
            *SMALL, working_dir=project, job_id="full", options=("--entrypoint-num-cpus", "1"),
        )  # fmt: skip
        status, _ = finished(job)
        said = str(cluster.ask("/api/jobs/full/logs")["logs"])
    assert status == 1
    assert "this job's own process holds 1 of the cluster's 1 CPUs" in said and "Traceback" not in said


def test_evaluate_ends_beside_a_driver_that_holds_one_of_four_cpus(
    project: Path, ffpp_small: Path, tmp_path: Path
) -> None:
    small_bundle.red_is_fake(str(tmp_path / "bundle"), crop=CropConfig())
    crops = tmp_path / "crops"
    words = running.command("preprocess", "--input", ffpp_small, "--output", crops, *SMALL)
    running.run(words, tmp_path)
    with LocalCluster() as cluster:
        cluster.wait_for([cluster.start_raylet("a", 4)])
        job = cluster.submit(
            "python", "jobs/evaluate.py", "--input", str(crops), "--bundle", str(tmp_path / "bundle"),
            "--output", str(tmp_path / "out"), "--evaluation.split", "all",
            "--evaluation.allow_overlap", "true", "--evaluation.bootstrap", "20",
            working_dir=project, job_id="beside", options=("--entrypoint-num-cpus", "1"),
        )  # fmt: skip
        status, said = finished(job, 900)
    assert status == 0, said
