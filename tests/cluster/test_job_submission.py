"""Every job through ``ray job submit`` to a real cluster of three nodes, reading and writing S3.

One cluster for all tests: a head without CPUs and two raylets, one of which is for the jobs' own processes.
Run where ``DEEPFAKE_CLUSTER_TESTS`` is set: on a busy machine of two cores this takes many minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from deepfake.config import PreprocessJobConfig
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.pipelines.preprocess import pipeline
from tests.cluster.local_cluster import LocalCluster, finished
from tests.conftest import S3Server
from tests.pipelines.test_s3_jobs import rows
from tests.running import ROOT
from tests.secret_scan import files_with
from tests.small_network import list_small_model_words

ON_DRIVER = ("--entrypoint-resources", '{"driver": 1}')
SITE = ("--config", "configs/sites/cluster.yaml")
pytestmark = pytest.mark.skipif(
    not os.environ.get("DEEPFAKE_CLUSTER_TESTS"), reason="set DEEPFAKE_CLUSTER_TESTS=1 to have this run"
)
SMALL = ("--detector.name", "haar", "--sampling.isolate", "false")


@pytest.fixture(scope="module")
def s3(s3_server: S3Server) -> Iterator[str]:
    """URI of an empty folder; this process has the owner's credentials while the module runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        yield f"s3://{s3_server.bucket}/submitted"


@pytest.fixture(scope="module")
def cluster(s3_server: S3Server) -> Iterator[LocalCluster]:
    # What the image of cluster/ sets too.
    environment = {**s3_server.environment, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
    with LocalCluster(environment) as started:
        started.wait_for([started.start_raylet("a", 2, {"driver": 1}), started.start_raylet("b", 2)])
        yield started


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git holds, with what must not travel lying beside it."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("deepfake", "jobs", "configs", "cluster", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".rayignore", "pyproject.toml", "README.md", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    for name in (".venv", ".git", "demo_output", "out", "data", "tests", "deepfake/__pycache__"):
        (folder / name).mkdir()
        (folder / name / "unwanted").write_bytes(bytes(1000))
    return folder


def info(cluster: LocalCluster, job_id: str) -> dict[str, Any]:
    return cluster.ask(f"/api/jobs/{job_id}")


def log(cluster: LocalCluster, job_id: str) -> str:
    """All that a job wrote. ``ray job submit`` may miss the last lines on a busy machine."""
    return str(cluster.ask(f"/api/jobs/{job_id}/logs")["logs"])


def run(cluster: LocalCluster, project: Path, name: str, *arguments: str) -> str:
    """Submit a job, wait, and return its log; raises unless it went well."""
    job = cluster.submit(
        "python", f"jobs/{name}.py", *SITE, *arguments,
        working_dir=project, job_id=name, options=ON_DRIVER,
    )  # fmt: skip
    status, output = finished(job)
    assert status == 0, output
    return log(cluster, name)


@pytest.fixture(scope="module")
def outputs(cluster: LocalCluster, project: Path, s3: str, ffpp_small: Path) -> dict[str, str]:
    """What each job wrote to its log; a job needs what those before it wrote."""
    Storage().upload_folder(ffpp_small, join(s3, "archive"))
    archive, crops, model = (join(s3, name) for name in ("archive", "crops", "model"))
    printed = {
        "preprocess": run(
            cluster, project, "preprocess", "--input", archive, "--output", crops, *SMALL,
            "--catalog.splits_dir", join(archive, "splits"),
        ),
        "train": run(
            cluster, project, "train", "--input", crops, "--output", model, *list_small_model_words(),
            "--training.epochs", "1", "--training.global_batch", "8", "--training.fine_tune", "none",
            "--training.threads_per_worker", "1",
        ),
    }  # fmt: skip
    printed["evaluate"] = run(
        cluster, project, "evaluate", "--input", crops, "--bundle", model,
        "--output", join(s3, "evaluation"), "--evaluation.bootstrap", "20",
    )  # fmt: skip
    printed["score"] = run(
        cluster, project, "score", "--input", archive, "--bundle", model, "--output", join(s3, "scores"),
        "--sampling.isolate", "false", "--limit", "4",
    )  # fmt: skip
    printed["leakcheck"] = run(
        cluster, project, "leakcheck", "--input", crops, "--output", join(s3, "leakcheck"),
        "--leakcheck.pixels", "false", "--leakcheck.bootstrap", "20",
    )  # fmt: skip
    return printed


@pytest.mark.slow
def test_every_job_ends_well_and_leaves_its_summary_on_s3(outputs: dict[str, str], s3: str) -> None:
    folders = {"preprocess": "crops", "train": "model", "evaluate": "evaluation", "score": "scores"}
    for name, printed in outputs.items():
        assert "Summary" in printed
        assert Storage().exists(join(s3, folders.get(name, name), "_summary.json")), name


@pytest.mark.slow
def test_the_rows_are_those_of_a_plain_local_run(
    outputs: dict[str, str], s3: str, ffpp_small: Path, tmp_path: Path, ray_session: None
) -> None:
    config = {
        "input": str(ffpp_small), "output": str(tmp_path / "crops"), "detector": {"name": "haar"},
        "catalog": {"splits_dir": str(ffpp_small / "splits")}, "sampling": {"isolate": False},
    }  # fmt: skip
    pipeline.run(PreprocessJobConfig.model_validate(config))
    for table in ("crops", "videos"):
        assert rows(join(s3, "crops"), table) == rows(str(tmp_path / "crops"), table)


@pytest.mark.slow
def test_a_log_reads_well(outputs: dict[str, str], s3_server: S3Server) -> None:
    for name, printed in outputs.items():
        assert "\r" not in printed and "Traceback" not in printed, name
        assert len(printed.splitlines()) < 150, name
        assert s3_server.environment["AWS_SECRET_ACCESS_KEY"] not in printed


@pytest.mark.slow
def test_no_secret_is_in_any_log_table_or_page(
    outputs: dict[str, str], cluster: LocalCluster, s3: str, s3_server: S3Server, tmp_path: Path
) -> None:
    Storage().download_folder(s3, tmp_path / "written")
    assert list(cluster.folder.rglob("raylet*.out")) and list(tmp_path.rglob("scores/*.parquet"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert files_with(s3_server.environment[name], [cluster.folder, tmp_path / "written"]) == []


@pytest.mark.slow
def test_nothing_worked_on_the_head(outputs: dict[str, str], cluster: LocalCluster) -> None:
    def listed(what: str) -> list[dict[str, Any]]:
        answer: Any = cluster.ask(f"/api/v0/{what}?detail=1&limit=10000")
        found: list[dict[str, Any]] = answer["data"]["result"]["result"]
        return found

    (head,) = [node["node_id"] for node in listed("nodes") if "head" in node["resources_total"]]
    tasks = [task for task in listed("tasks") if task["type"] == "NORMAL_TASK"]
    assert tasks and not [task["name"] for task in tasks if task["node_id"] == head]
    workers = [actor for actor in listed("actors") if "MapWorker" in actor["class_name"]]
    assert workers and not [actor for actor in workers if actor["node_id"] == head]
    # Ray's own book-keepers, which it puts there: they hold no resources and see no video.
    on_head = [actor for actor in listed("actors") if actor["node_id"] == head]
    of_data = {"_StatsActor", "_AutoscalingCoordinatorActor", "AutoscalingRequester"}
    of_train = {"PreemptionWatcher", "PlacementGroupCleaner"}
    assert {actor["class_name"] for actor in on_head} <= of_data | of_train
    assert not [actor["class_name"] for actor in on_head if (actor["required_resources"] or {}).get("CPU")]


@pytest.mark.slow
def test_a_job_that_was_put_on_the_head_says_so_and_how_to_put_it_elsewhere(
    cluster: LocalCluster, project: Path, outputs: dict[str, str]
) -> None:
    (project / "join.py").write_text(
        "import logging\n"
        "from deepfake import config\n"
        "from deepfake.execution.session import open_session\n"
        "logging.basicConfig()\n"
        "with open_session(config.RayConfig(address='auto')):\n"
        "    pass\n"
    )
    status, _ = finished(cluster.submit("python", "join.py", working_dir=project, job_id="on-head"))
    (project / "join.py").unlink()
    words = "runs on the cluster's head node, which is to do no work; ray job submit --entrypoint-num-cpus 1"
    assert status == 0 and words in log(cluster, "on-head")
    assert not [name for name, elsewhere in outputs.items() if "head node" in elsewhere]


@pytest.mark.slow
def test_what_travels_is_the_code_and_its_configurations(cluster: LocalCluster, project: Path) -> None:
    words = "find . -type f"
    job = cluster.submit(*words.split(), working_dir=project, job_id="find", options=ON_DRIVER)
    assert finished(job)[0] == 0
    # Ray's own line goes into the same file, and may land in the middle of another.
    found = log(cluster, "find").replace(f"Running entrypoint for job find: {words}\n", "")
    arrived = {line for line in found.splitlines() if line.startswith("./")}
    expected = {
        f"./{path.relative_to(project)}"
        for name in ("deepfake", "jobs", "configs")
        for path in (project / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert arrived == expected | {"./.gitignore", "./.rayignore", "./pyproject.toml", "./README.md"}


@pytest.mark.slow
def test_a_job_that_answers_2_is_a_failed_job_whose_own_status_is_kept(
    cluster: LocalCluster, project: Path
) -> None:
    job = cluster.submit(
        "python", "jobs/preprocess.py", "--input", "/nowhere", "--output", "/out", "--detector.nam", "x",
        working_dir=project, job_id="misspelt", options=ON_DRIVER,
    )  # fmt: skip
    assert finished(job)[0] == 1
    assert "unknown option --detector.nam; did you mean detector.name?" in log(cluster, "misspelt")
    assert (info(cluster, "misspelt")["status"], info(cluster, "misspelt")["driver_exit_code"]) == (
        "FAILED",
        2,
    )


@pytest.mark.slow
def test_an_output_in_rays_copy_of_the_working_directory_is_refused(
    cluster: LocalCluster, project: Path, ffpp_small: Path
) -> None:
    job = cluster.submit(
        "python", "jobs/preprocess.py", "--input", str(ffpp_small), "--output", "out/crops",
        working_dir=project, job_id="relative", options=ON_DRIVER,
    )  # fmt: skip
    assert finished(job)[0] == 1
    assert "--output out/crops: a relative path" in log(cluster, "relative")
    assert info(cluster, "relative")["driver_exit_code"] == 2


@pytest.mark.slow
def test_a_stopped_job_goes_on_when_it_is_submitted_again(
    cluster: LocalCluster, project: Path, s3: str, outputs: dict[str, str]
) -> None:
    command = (
        "python", "jobs/preprocess.py", *SITE, "--input", join(s3, "archive"),
        "--output", join(s3, "stopped"),
        *SMALL, "--catalog.splits_dir", join(s3, "archive", "splits"), "--sampling.every_n", "3",
        "--ray.workers", "1",
    )  # fmt: skip
    job = cluster.submit(*command, working_dir=project, job_id="stopped", options=ON_DRIVER)
    staged = join(s3, "stopped", "_work", "videos")
    give_up = time.monotonic() + 120
    while not Storage().list_files(staged):
        assert job.poll() is None and time.monotonic() < give_up
    status, printed = finished(cluster.command("job", "stop", "--address", cluster.url, "stopped"))
    assert status == 0, printed
    finished(job)
    assert "run the same command again to go on" in log(cluster, "stopped")
    assert info(cluster, "stopped")["status"] == "STOPPED"
    done = len(Storage().list_files(staged))
    assert done and not Storage().exists(join(s3, "stopped", "_manifest.parquet"))
    again = cluster.submit(*command, working_dir=project, job_id="resumed", options=ON_DRIVER)
    status, printed = finished(again)
    assert status == 0, printed
    assert f"{done} of 6 units were finished before" in log(cluster, "resumed")
    assert len(rows(join(s3, "stopped"), "videos")) == 12


@pytest.mark.slow
def test_the_job_server_turns_away_whoever_has_no_token(cluster: LocalCluster) -> None:
    with pytest.raises(HTTPError) as refused:
        cluster.ask("/api/jobs/", token=False)
    assert refused.value.code == 401
    stranger = cluster.variables | {"RAY_AUTH_TOKEN": "not-the-token"}
    done = subprocess.run(
        ["ray", "job", "submit", "--address", cluster.url, "--", "touch", str(cluster.folder / "ran")],
        env=stranger, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and "Forbidden" in done.stdout + done.stderr
    assert not (cluster.folder / "ran").exists()
