"""What bash completes: jobs, their keys, and the values of keys that have a few."""

from __future__ import annotations

import subprocess

import pytest

from deepfake.__main__ import JOBS
from deepfake.config.completion import write_completion

SCRIPT = write_completion({name: model for name, (model, _) in JOBS.items()})


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["s"], "score"),
        (["score", "--scoring.oper"], "--scoring.operating_point"),
        (["score", "--scoring.operating_point", "fpr_0.00"], "fpr_0.001"),
        (["score", "--ver"], "--verify"),
        (["train", "--config", "recipe:sb"], "recipe:sbi"),
        (["train", "--scoring.oper"], ""),
    ],
)
def test_bash_completes_jobs_keys_and_values(typed, offered):
    script = f"{SCRIPT}\n" + ('COMP_WORDS=(deepfake "$@"); COMP_CWORD=$#; _deepfake; echo "${COMPREPLY[*]}"')
    done = subprocess.run(["bash", "-c", script, "bash", *typed], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (offered, "")
