"""A video that takes its worker down each time is found and left out, and the rest goes on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import ray

from deepfake.execution import attempts
from deepfake.execution.attempts import Attempt
from tests import running
from tests.clips import write_clip

MARK = "takes its worker down"
# Every Ray worker that opens a file with the mark is killed, as by a kernel that is out of memory.
DEADLY = f"""
import os, signal, av
working = av.open

def deadly(file, mode="r", **options):
    if mode == "r" and hasattr(file, "read"):
        if {MARK.encode()!r} in file.read():
            os.kill(os.getpid(), signal.SIGKILL)
        file.seek(0)
    return working(file, mode, **options)

av.open = deadly
"""


@pytest.mark.slow
def test_a_job_leaves_out_the_video_that_its_workers_died_of(tmp_path: Path) -> None:
    archive, output, patch = (tmp_path / name for name in ("archive", "out", "patch"))
    archive.mkdir()
    patch.mkdir()
    (patch / "sitecustomize.py").write_text(DEADLY)
    for i in range(5):
        write_clip(archive / f"{i}.mp4", frames=5, size=(64, 48), title=MARK if i == 3 else f"clip {i}")
    command = running.command(
        "preprocess", "--input", archive, "--output", output, "--detector.name", "haar",
        "--sampling.isolate", "false", "--ray.num_cpus", "1", "--max-failed", "0.5",
        "--ray.start", "always",
    )  # fmt: skip
    done = subprocess.run(
        command, env=running.environment({"PYTHONPATH": str(patch)}), text=True, capture_output=True,
        timeout=running.HANGS_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(output / "_manifest.parquet").set_index("video_id")
    assert found["status"].drop("3.mp4").unique().tolist() == ["no_face"]
    assert found.loc["3.mp4", "status"] == "decode_error"
    assert found.loc["3.mp4", "status_detail"] == attempts.LEFT_OUT
    assert found.loc["3.mp4", "retry"]


def die_at(unit: str, video: str | None) -> str:
    """What a worker does that takes a unit over: how far it gets before it dies, or nothing."""

    def work() -> str:
        with Attempt(unit) as attempt:
            for name in ("a", "b", "c"):
                if not attempt.begin(name):
                    return f"left out {name}"
                if name == video:
                    os._exit(1)
            attempt.rest()
            if video == "rest":
                os._exit(1)
        return "whole"

    task = ray.remote(num_cpus=0, max_retries=0)(work)
    try:
        return str(ray.get(task.remote()))
    except ray.exceptions.WorkerCrashedError:
        return "died"


def test_the_third_death_shows_the_video(ray_session: None) -> None:
    assert [die_at("video", "b") for _ in range(4)] == ["died", "died", "died", "left out b"]


def test_deaths_at_different_videos_are_no_video_s_fault(ray_session: None) -> None:
    assert [die_at("several", name) for name in ("a", "b", "c")] == ["died"] * 3
    assert die_at("several", None) == "whole"
    assert [die_at("several", "b") for _ in range(2)] == ["died"] * 2, "what was done well is forgotten"


def test_a_unit_that_dies_after_its_videos_comes_to_an_end(ray_session: None) -> None:
    found = [die_at("scores", "rest") for _ in range(attempts.MOST_DEATHS + 2)]
    assert found == ["died"] * (attempts.MOST_DEATHS + 1) + ["left out a"]
