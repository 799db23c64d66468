"""Killed at a random moment, worker, raylet or job, scoring ends with the very rows of an undisturbed run.

Once each by default; ``DEEPFAKE_KILLS=20`` has it twenty times.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from deepfake.io import tables
from tests import running
from tests.small_bundle import save_untrained

TIMES = int(os.environ.get("DEEPFAKE_KILLS", "1"))
TABLES = ("video_scores", "track_scores", "face_scores", "segments")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("bundle"))
    save_untrained(uri)
    return uri


def _command(source: Path, output: Path, bundle: str, start: str = "always") -> list[str]:
    return running.command(
        "score", "--input", source, "--output", output, "--bundle", bundle,
        "--detector.name", "haar", "--sampling.every_n", "4", "--report.pages", "0",
        "--ray.num_cpus", "2", "--ray.object_store_mb", "100", "--ray.start", start,
    )  # fmt: skip


def _at_work(command: list[str], output: Path, rng: random.Random) -> subprocess.Popen[bytes]:
    """A job that has finished some of its units, and not all."""
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert running.wait_for_units(job, output, rng.randrange(1, 4))
    return job


def _rows(output: Path) -> list[pd.DataFrame]:
    """All tables, without what differs from run to run: seconds spent."""
    made = []
    for name in TABLES:
        timed = [column for column in tables.list_columns(name) if column.endswith("_seconds")]
        made.append(pd.read_parquet(output / name).drop(columns=timed))
    return made


def _assert_same(output: Path, expected: list[pd.DataFrame]) -> None:
    for found, wanted in zip(_rows(output), expected, strict=True):
        pd.testing.assert_frame_equal(found, wanted)


@pytest.fixture(scope="module")
def undisturbed(
    ffpp_small: Path, bundle: str, tmp_path_factory: pytest.TempPathFactory
) -> list[pd.DataFrame]:
    output = tmp_path_factory.mktemp("undisturbed") / "scores"
    subprocess.run(_command(ffpp_small, output, bundle, "never"), check=True, capture_output=True)
    return _rows(output)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
def test_a_killed_scoring_worker_changes_nothing(
    undisturbed: list[pd.DataFrame], ffpp_small: Path, bundle: str, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    job = _at_work(_command(ffpp_small, tmp_path / "scores", bundle), tmp_path / "scores", rng)
    running.kill_a_worker(job, "CutAndScoreUnit", rng)
    assert job.wait(timeout=running.HANGS_SECONDS) == 0
    _assert_same(tmp_path / "scores", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
def test_a_scoring_job_whose_raylet_was_killed_stops_and_goes_on_when_started_again(
    undisturbed: list[pd.DataFrame], ffpp_small: Path, bundle: str, tmp_path: Path, seed: int
) -> None:
    command = _command(ffpp_small, tmp_path / "scores", bundle)
    job = _at_work(command, tmp_path / "scores", random.Random(2000 + seed))
    running.kill_the_raylet(job)
    assert job.wait(timeout=running.HANGS_SECONDS) != 0
    subprocess.run(command, check=True, capture_output=True)
    _assert_same(tmp_path / "scores", undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
def test_a_killed_scoring_job_goes_on_when_started_again(
    undisturbed: list[pd.DataFrame], ffpp_small: Path, bundle: str, tmp_path: Path, seed: int
) -> None:
    command = _command(ffpp_small, tmp_path / "scores", bundle, "never")
    job = _at_work(command, tmp_path / "scores", random.Random(1000 + seed))
    job.kill()
    job.wait()
    assert (tmp_path / "scores/_lock.json").exists()
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "left by a job that has died; taken over" in again.stderr
    assert "units were finished before" in again.stderr
    _assert_same(tmp_path / "scores", undisturbed)
    assert not (tmp_path / "scores/_lock.json").exists()
