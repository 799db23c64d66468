"""How a process ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.running import ROOT

JOB = "from deepfake import cli, config, outcome; cli.run(config.JobConfig, lambda _: outcome.Outcome(), {})"


@pytest.mark.parametrize(
    ("work", "frozen"),
    [
        ("0", False),
        ("from deepfake.execution import process; process.skip_final_gc(); process.skip_final_gc()", True),
        (JOB.format("None"), True),
        (JOB.format("['--dry-run']"), False),
    ],
    ids=["as ever", "asked for", "a job's program", "a job inside another program"],
)
def test_only_our_own_programs_end_without_a_last_garbage_collection(work: str, frozen: bool) -> None:
    seen = "import atexit, gc; atexit.register(lambda: print('frozen', gc.get_freeze_count() > 0))"
    done = subprocess.run(
        [sys.executable, "-c", f"{seen}; {work}", "--dry-run"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"frozen {frozen}"
