"""Two jobs that meet on one output: the first goes on as if alone, the second is told who holds it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import deepfake.pipelines.benchmark.pipeline
import deepfake.pipelines.evaluate.pipeline
import deepfake.pipelines.leakcheck.pipeline
import deepfake.pipelines.preprocess.pipeline
import deepfake.pipelines.train.pipeline
from deepfake.config import (
    BenchmarkJobConfig,
    EvaluateJobConfig,
    LeakcheckJobConfig,
    PreprocessJobConfig,
    TrainJobConfig,
)
from deepfake.errors import UsageError
from deepfake.io import lock
from deepfake.io.storage import Storage
from deepfake.pipelines.train import compare
from tests import running
from tests.pipelines.evaluate.faces import two_classes, write
from tests.processes import wait_until
from tests.small_network import list_small_model_words
from tests.stored_crops import write_crops


def meet(words: list[str], output: Path, cwd: Path) -> str:
    """Start a job, and the same again once the first has its lock; what the second says.

    The first is held up meanwhile, so that it is not done before the second looks.
    """
    with (cwd / "first.log").open("w+") as said:
        first = subprocess.Popen(words, stdout=said, stderr=said, cwd=cwd, env=running.environment())
        try:
            wait_until(lambda: (output / lock.FILE).exists() or first.poll() is not None)
            first.send_signal(signal.SIGSTOP)
            second = subprocess.run(
                words, capture_output=True, text=True, cwd=cwd, env=running.environment(),
                timeout=running.HANGS_SECONDS,
            )  # fmt: skip
            first.send_signal(signal.SIGCONT)
            assert first.wait(running.HANGS_SECONDS) == 0, (cwd / "first.log").read_text()
        finally:
            first.kill()
            first.wait()
    assert second.returncode == 2, second.stderr
    assert not (output / lock.FILE).exists()
    assert f"process {first.pid} on " in second.stderr
    return second.stderr


@pytest.mark.slow
def test_of_two_preprocess_jobs_one_works_and_no_crop_is_there_twice(
    ffpp_small: Path, tmp_path: Path
) -> None:
    output = tmp_path / "crops"
    words = running.command(
        "preprocess", "--input", ffpp_small, "--output", output,
        "--catalog.splits_dir", ffpp_small / "splits", "--detector.name", "haar", "--ray.num_cpus", 2,
    )  # fmt: skip
    refusal = meet(words, output, tmp_path)
    assert f"{output}: another job is writing this output (jobs/preprocess.py, process" in refusal
    assert " UTC); wait until it has finished, or give another --output" in refusal
    keys = pd.read_parquet(output)[["video_id", "frame_index", "face_index"]]
    assert len(keys) > 12 and not keys.duplicated().any()
    assert pd.read_parquet(output / "_manifest.parquet")["faces"].sum() == len(keys)


@pytest.mark.slow
def test_of_two_trainings_one_works_and_keeps_its_checkpoints(small_crops_here: Path, tmp_path: Path) -> None:
    output = tmp_path / "model"
    words = running.command(
        "train", "--input", small_crops_here, "--output", output, *list_small_model_words(),
        "--training.epochs", 1, "--training.head_epochs", 1, "--training.global_batch", 8,
    )  # fmt: skip
    meet(words, output, tmp_path)
    assert (output / "bundle.json").exists() and not (output / "_checkpoints").exists()


@pytest.fixture(scope="module")
def small_crops_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_crops(tmp_path_factory.mktemp("two_jobs") / "crops")


def _preprocess(source: Path, crops: Path, output: str, folder: Path) -> Any:
    return deepfake.pipelines.preprocess.pipeline.run(PreprocessJobConfig(input=str(source), output=output))


def _train(source: Path, crops: Path, output: str, folder: Path) -> Any:
    return deepfake.pipelines.train.pipeline.run(
        TrainJobConfig(input=str(crops), output=output, model={"weights": "none"})
    )


def _compare(source: Path, crops: Path, output: str, folder: Path) -> Any:
    recipes = [str(running.ROOT / f"configs/recipes/{name}.yaml") for name in ("honest", "sbi")]
    return compare.run(TrainJobConfig(input=str(crops), output=output, compare=recipes))


def _evaluate(source: Path, crops: Path, output: str, folder: Path) -> Any:
    scores = write(folder / "scores", "face_scores", two_classes())
    return deepfake.pipelines.evaluate.pipeline.run(EvaluateJobConfig(input=scores, output=output))


def _leakcheck(source: Path, crops: Path, output: str, folder: Path) -> Any:
    return deepfake.pipelines.leakcheck.pipeline.run(LeakcheckJobConfig(input=str(source), output=output))


def _benchmark(source: Path, crops: Path, output: str, folder: Path) -> Any:
    return deepfake.pipelines.benchmark.pipeline.run(BenchmarkJobConfig(input=str(source), output=output))


@pytest.mark.parametrize("job", [_preprocess, _train, _compare, _evaluate, _leakcheck, _benchmark])
def test_every_job_refuses_an_output_that_another_holds_and_writes_nothing(
    job: Callable[..., Any], ffpp_small: Path, small_crops_here: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    with (
        lock.hold(str(output), Storage()),
        pytest.raises(UsageError, match="another job is writing this output"),
    ):
        job(ffpp_small, small_crops_here, str(output), tmp_path)
    assert list(output.iterdir()) == []
