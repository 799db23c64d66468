"""Killed at a random moment, worker or job, preprocessing ends with the very rows of an undisturbed run.

The undisturbed run has no workers; a job is killed once with workers and once without.

Twice each by default; ``DEEPFAKE_KILLS=20`` has it twenty times.
"""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests import running

TIMES = int(os.environ.get("DEEPFAKE_KILLS", "2"))


def _command(source: Path, output: Path, start: str = "always") -> list[str]:
    return running.command(
        "preprocess", "--input", source, "--output", output, "--catalog.splits_dir", source / "splits",
        "--detector.name", "haar", "--sampling.every_n", "4",
        "--ray.num_cpus", "2", "--ray.object_store_mb", "100", "--ray.start", start,
    )  # fmt: skip


def _start(source: Path, output: Path, start: str = "always") -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _command(source, output, start), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.fixture(scope="module")
def undisturbed(ffpp_small: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    output = tmp_path_factory.mktemp("undisturbed") / "crops"
    subprocess.run(_command(ffpp_small, output, "never"), check=True, capture_output=True)
    return pd.read_parquet(output)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
def test_a_killed_worker_changes_nothing(
    undisturbed: pd.DataFrame, ffpp_small: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    job = _start(ffpp_small, tmp_path / "crops")
    assert running.wait_for_units(job, tmp_path / "crops", rng.randrange(0, 3))
    running.kill_a_worker(job, "MakeUnit", rng)
    assert job.wait(timeout=running.HANGS_SECONDS) == 0
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "crops"), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(TIMES))
def test_a_killed_job_goes_on_when_started_again(
    undisturbed: pd.DataFrame, ffpp_small: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(1000 + seed)
    start = ("always", "never")[seed % 2]
    job = _start(ffpp_small, tmp_path / "crops", start)
    reached = rng.randrange(1, 4)
    assert running.wait_for_units(job, tmp_path / "crops", reached)
    job.kill()
    job.wait()
    again = subprocess.run(
        _command(ffpp_small, tmp_path / "crops", start), check=True, capture_output=True, text=True
    )
    assert "units were finished before" in again.stderr
    assert "core_worker.cc" not in again.stderr and "RAY_BACKEND_LOG_LEVEL" not in again.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "crops"), undisturbed)
