"""The demo as a user runs it, smaller: every job in its own process on real clips."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.running import ROOT


def demo(output: Path) -> str:
    command = [sys.executable, "jobs/demo.py", "--output", str(output)]
    command += ["--identities", "2", "--every_n", "15", "--epochs", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return done.stdout


@pytest.mark.slow(200)
def test_every_job_of_the_demo_runs_and_leaves_what_it_names(tmp_path: Path) -> None:
    output = tmp_path / "demo_output"
    said = demo(output)
    named = [
        Path(line.split()[-1]) for line in said.rpartition("Summary")[2].splitlines() if "look at" in line
    ]
    assert len(named) >= 6
    assert [path for path in named if not path.is_file()] == []
    assert "mean nothing about real deepfakes" in said

    scores = pq.read_table(output / "scores" / "video_scores").to_pylist()
    assert {row["video_id"]: row["status"] for row in scores} == {
        **{f"clip_{number:02d}.mp4": "ok" for number in range(1, 5)},
        "rocket.jpg": "no_face",
        "broken.mp4": "unreadable",
    }
    assert all((row["score"] is None) == (row["status"] != "ok") for row in scores)
    summary = json.loads((output / "_summary.json").read_text())
    assert list(summary["took"]) == ["data", "preprocess", "leakcheck", "train", "evaluate", "score"]
