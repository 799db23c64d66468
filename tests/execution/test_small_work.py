"""Small work is done in the job's own process, with the rows that workers would have written."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepfake.config import CropConfig, RayConfig
from deepfake.errors import UsageError
from deepfake.execution import session
from deepfake.execution.session import SMALL_SECONDS
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.model.bundle import Bundle
from deepfake.outcome import ACCOUNTING
from tests import running, small_bundle
from tests.clips import write_clip
from tests.jobs import Job
from tests.small_network import list_small_model_words

TIMES = ("_seconds", "_per_second", "_per_hour")
STAGES = {  # of the job, and one of its workers'
    "preprocess": ({"list", "plan", "start", "work", "join", "report"}, "detect"),
    "evaluate": ({"plan", "work", "measure", "report"}, "score"),
    "leakcheck": ({"plan", "work", "measure", "report"}, "other"),
}
OPTIONS = ("--detector.name", "haar", "--sampling.every_n", "15", "--limit", "6")


@pytest.fixture(autouse=True)
def _no_cluster_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_workers_are_started_for_more_than_starting_them_costs() -> None:
    assert session.is_small(RayConfig(), SMALL_SECONDS)
    assert not session.is_small(RayConfig(), SMALL_SECONDS + 0.1)
    assert not session.is_small(RayConfig(start="always"), 0.0)
    assert session.is_small(RayConfig(start="never"), 1e6)


def test_a_cluster_does_all_that_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not session.is_small(RayConfig(address="127.0.0.1:1"), 0.0)
    with pytest.raises(UsageError, match=r"ray\.start never: leave out --ray\.address and RAY_ADDRESS"):
        session.is_small(RayConfig(address="127.0.0.1:1", start="never"), 0.0)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert not session.is_small(RayConfig(), 0.0)


def rows(output: Path, table: str) -> pd.DataFrame:
    """A table without the columns that tell of time."""
    found = pd.read_parquet(output / table if table != "videos" else output / "_manifest.parquet")
    return found[[name for name in found if not name.endswith(TIMES)]]


def require_seconds_of_stages(output: Path, job: str) -> None:
    told = json.loads((output / "_summary.json").read_text())
    (stages, working), spent = STAGES[job], told[ACCOUNTING]["job_seconds"]
    assert stages <= spent.keys() and sum(spent.values()) <= told["wall_seconds"]
    assert told[ACCOUNTING]["worker_seconds"][working] > 0


def summary(output: Path) -> dict[str, object]:
    """Its last words, without those that tell of time and place."""
    found = json.loads((output / "_summary.json").read_text())
    assert found.pop("done_by") == {"never": "this process", "always": "workers"}[output.name]
    for name in [name for name in found if name.endswith(TIMES) or name == ACCOUNTING]:
        found.pop(name)
    return {name: value for name, value in found.items() if name != "output"}


@pytest.mark.slow
def test_both_ways_write_the_same_crops(ffpp_small: Path, tmp_path: Path) -> None:
    for start in ("never", "always"):
        words = ("--input", ffpp_small, "--output", tmp_path / start, "--ray.start", start, *OPTIONS)
        said = running.run(running.command("preprocess", *words), tmp_path)
        assert ("is done in this process" in said) == (start == "never")
        require_seconds_of_stages(tmp_path / start, "preprocess")
    for table in ("", "videos"):
        pd.testing.assert_frame_equal(rows(tmp_path / "never", table), rows(tmp_path / "always", table))
    assert summary(tmp_path / "never") == summary(tmp_path / "always")


@pytest.mark.slow
def test_both_ways_write_the_same_scores_and_pages(ffpp_small: Path, tmp_path: Path) -> None:
    small_bundle.red_is_fake(str(tmp_path / "bundle"), crop=CropConfig())
    for start in ("never", "always"):
        words = (
            "--input", ffpp_small, "--bundle", tmp_path / "bundle", "--output", tmp_path / start,
            "--ray.start", start, *OPTIONS,
        )  # fmt: skip
        running.run(running.command("score", *words), tmp_path)
    for table in ("video_scores", "face_scores", "track_scores", "segments", "videos"):
        mine, theirs = (rows(tmp_path / start, table) for start in ("never", "always"))
        pd.testing.assert_frame_equal(mine, theirs, rtol=1e-6, check_exact=False)
    folders = [tmp_path / start / "video_pages" for start in ("never", "always")]
    pages = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert pages[0] == pages[1] and any(name.endswith("-heat.jpg") for name in pages[0])


@pytest.mark.slow
def test_both_ways_evaluate_and_check_for_leaks_alike(ffpp_small: Path, tmp_path: Path) -> None:
    crops = tmp_path / "crops"
    words = ("--input", ffpp_small, "--output", crops, "--ray.start", "never", "--detector.name", "haar")
    running.run(running.command("preprocess", *words), tmp_path)
    small_bundle.red_is_fake(str(tmp_path / "bundle"), crop=CropConfig())
    options = {
        "evaluate": (
            "--bundle", tmp_path / "bundle", "--evaluation.bootstrap", "20", "--evaluation.split", "all",
            "--evaluation.robustness", "true", "--evaluation.robustness_videos", "4",
            "--evaluation.allow_overlap", "true",
        ),
        "leakcheck": ("--leakcheck.bootstrap", "20"),
    }  # fmt: skip
    for job, more in options.items():
        for start in ("never", "always"):
            command = running.command(
                job, "--input", crops, "--output", tmp_path / job / start, "--ray.start", start, *more
            )
            done = subprocess.run(command, env=running.environment(), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert ("is done in this process" in done.stderr) == (start == "never")
            require_seconds_of_stages(tmp_path / job / start, job)
    found = [
        json.loads((tmp_path / f"evaluate/{start}/metrics.json").read_text()) for start in ("never", "always")
    ]
    assert found[0]["video"] == found[1]["video"] and found[0]["robustness"] == found[1]["robustness"]
    checks = [(tmp_path / f"leakcheck/{start}/overlaps.csv").read_text() for start in ("never", "always")]
    assert checks[0] == checks[1]


def trained(folder: Path) -> tuple[pd.DataFrame, list[np.ndarray]]:
    """A training's history without times, and its weights."""
    return rows(folder, "history.parquet"), Bundle.load(str(folder), Storage()).network.get_weights()


@pytest.mark.slow(90)
def test_both_ways_train_alike_and_each_goes_on_where_the_other_was_stopped(
    small_crops: Path, tmp_path: Path
) -> None:
    def command(output: str, start: str) -> list[str]:
        return running.command(
            "train", "--input", small_crops, "--output", tmp_path / output, "--ray.start", start,
            *list_small_model_words(), "--training.epochs", "3", "--training.head_epochs", "1",
            "--training.global_batch", "8", "--training.learning_rate", "0.0001", "--ray.num_cpus", "2",
        )  # fmt: skip

    def stop_after(job: Job, epoch: int) -> None:
        job.wait_for(re.compile(rf"epoch {epoch}/3  loss "))
        job.process.send_signal(signal.SIGTERM)
        assert job.finish() == 128 + signal.SIGTERM, job.printed

    said = running.run(command("here", "never"), tmp_path)
    assert "is done in this process" in said and "worker 0 of 1" in said
    expected, weights = trained(tmp_path / "here")
    stop_after(Job(command("both", "never"), tmp_path), 1)
    stop_after(Job(command("both", "always"), tmp_path), 2)
    assert "going on after epoch 2" in running.run(command("both", "never"), tmp_path)
    found, theirs = trained(tmp_path / "both")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, check_exact=False)
    for mine, other in zip(weights, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4)
    assert not (tmp_path / "both" / "_checkpoints").exists()


def test_scoring_a_clip_imports_neither_tensorflow_nor_ray_data_nor_pandas(
    ffpp_small: Path, tmp_path: Path
) -> None:
    """Nor what takes as long to import; TensorFlow exports the network once for each bundle."""
    (tmp_path / "archive").mkdir()
    clip = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))[0]
    (tmp_path / "archive/clip.mp4").write_bytes(clip.read_bytes())
    small_bundle.red_is_fake(str(tmp_path / "bundle"), crop=CropConfig())
    words = ("--input", tmp_path / "archive", "--bundle", tmp_path / "bundle", "--detector.name", "haar")
    running.run(running.command("score", *words, "--output", tmp_path / "first"), tmp_path)
    command = running.command("score", *words, "--output", tmp_path / "second")
    command[1:1] = ["-X", "importtime"]
    said = running.run(command, tmp_path)
    lines = [line for line in said.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "deepfake.pipelines.score.stages" in imported
    slow = {"tensorflow", "keras", "ray.data", "pandas.core", "scipy.stats", "sklearn", "matplotlib"}
    assert not imported & slow
    assert list((tmp_path / "second/video_pages").glob("*-heat.jpg"))


def test_a_small_job_keeps_to_its_budget(ffpp_small: Path, tmp_path: Path) -> None:
    small_bundle.red_is_fake(str(tmp_path / "bundle"), crop=CropConfig())
    words = (
        "--input", ffpp_small, "--bundle", tmp_path / "bundle", "--output", tmp_path / "never",
        "--ray.start", "never", "--budget", "0.001s", "--report.pages", "0", *OPTIONS,
    )  # fmt: skip
    running.run(running.command("score", *words), tmp_path)
    found = summary(tmp_path / "never")
    assert found["left_for_the_next_run"] == 6 - int(str(found["videos"])) > 0
    assert found["videos"], "a unit is done however short the time is"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_small_job_that_is_stopped_goes_on(tmp_path: Path, signum: signal.Signals) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for i in range(8):
        write_clip(archive / f"{i:02}.mp4", frames=90, title=str(i))
    command = running.command(
        "preprocess", "--input", archive, "--output", tmp_path / "out", "--sampling.every_n", "3",
        "--detector.name", "haar", "--ray.start", "never",
    )  # fmt: skip
    job = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert running.wait_for_units(job, tmp_path / "out", 1)
    job.send_signal(signum)
    _, said = job.communicate(timeout=running.HANGS_SECONDS)
    assert job.returncode == 128 + signum, said
    assert "run the same command again to go on" in said and "Traceback" not in said
    assert "units were finished before" in running.run(command, tmp_path)
    found = rows(tmp_path / "out", "videos")
    assert len(found) == 8 and not set(found["status"]) & set(tables.FAILURES)
