"""What a job does where our own code raises in the child: for every video, or for those of one archive."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests import running
from tests.clips import write_clip

MARK = "hits the bug"
# PyAV as a version with another interface would be, in every process of the job.
BROKEN_PYAV = f"""
import os, av
working = av.open

def broken(file, mode="r", **options):
    if mode == "r" and "format_whitelist" in options.get("options", {{}}):
        found = os.environ["BROKEN"] == "always" or {MARK.encode()!r} in file.read()
        file.seek(0)
        if found:
            raise TypeError("open() got an unexpected keyword argument 'options'")
    return working(file, mode, **options)

av.open = broken
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """24 clips of different content, whose titles hold the mark."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for i in range(24):
        write_clip(folder / f"{i:02}.mp4", frames=5, size=(64, 48), title=f"{MARK} {i}")
    return folder


def preprocess(archive: Path, output: Path, broken: str | None) -> subprocess.CompletedProcess[str]:
    more = {}
    if broken:
        patch = output.parent / "patch"
        patch.mkdir(exist_ok=True)
        (patch / "sitecustomize.py").write_text(BROKEN_PYAV)
        more = {"PYTHONPATH": str(patch), "BROKEN": broken}
    command = running.command("preprocess", "--input", archive, "--output", output, "--detector.name", "haar")
    return subprocess.run(
        command, env=running.environment(more), timeout=running.HANGS_SECONDS, text=True, capture_output=True
    )


def test_a_job_whose_program_can_open_nothing_stops_and_is_done_again_once_that_is_mended(
    archive: Path, tmp_path: Path
) -> None:
    output = tmp_path / "crops"
    done = preprocess(archive, output, "always")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "videos ended in a fault of this program, and so did a clip that this job made: " in last
    assert (
        "TypeError: open() got an unexpected keyword argument 'options' (deepfake/video/container.py:" in last
    )
    assert "Traceback (most recent call last)" in done.stdout + done.stderr
    assert not (output / "_manifest.parquet").exists()

    mended = preprocess(archive, output, None)
    assert mended.returncode == 0, mended.stderr
    assert set(pd.read_parquet(output / "_manifest.parquet")["status"]) == {"no_face"}


def test_files_that_hit_a_bug_do_not_stop_an_archive(archive: Path, tmp_path: Path) -> None:
    write_clip(archive / "good.mp4", frames=5, size=(64, 48))
    output = tmp_path / "crops"
    done = preprocess(archive, output, "by mark")
    assert done.returncode == 3, done.stderr
    summary = json.loads((output / "_summary.json").read_text())
    assert (summary["videos"], summary["failed"], summary["program_faults"]) == (25, 24, 24)
    rows = pd.read_parquet(output / "_manifest.parquet").set_index("video_id")
    assert rows.loc["good.mp4", "status"] == "no_face"
    bad = rows.drop(index="good.mp4")
    assert set(bad["status"]) == {"decode_error"}
    assert bad["status_detail"].str.startswith("a fault of this program: TypeError: ").all()
