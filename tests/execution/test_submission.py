"""What a job that `ray job submit` has started may take as its output."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake import cli
from deepfake.config import PreprocessJobConfig
from deepfake.errors import UsageError
from deepfake.execution.submission import JOB_VARIABLE, require_lasting
from deepfake.outcome import Outcome

SESSION = "session_2026-11-29_15-40-46_488848_3250"


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ray starts the process of a submitted job."""
    monkeypatch.setenv(JOB_VARIABLE, "{}")


@pytest.mark.parametrize("output", ["out/crops", "./out", "../out", "."])
def test_a_relative_output_of_a_submitted_job_is_refused(submitted: None, output: str) -> None:
    with pytest.raises(UsageError, match="own copy of the working directory, which is removed; give s3://"):
        require_lasting(output)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_an_output_in_rays_own_folders_is_refused_however_it_is_reached(
    submitted: None, tmp_path: Path, scheme: str
) -> None:
    (tmp_path / SESSION / "runtime_resources").mkdir(parents=True)
    (tmp_path / "session_latest").symlink_to(SESSION)
    (tmp_path / "elsewhere").symlink_to(f"{SESSION}/runtime_resources")
    for folder in (SESSION, "session_latest", "elsewhere"):
        with pytest.raises(UsageError, match="lies in a folder of Ray's"):
            require_lasting(f"{scheme}{tmp_path / folder / 'out'}")


@pytest.mark.parametrize(
    "output", ["s3://bucket/out", "/data/out", "~/out", "file:///data/session_of_may/out"]
)
def test_other_outputs_of_a_submitted_job_are_taken(submitted: None, output: str) -> None:
    require_lasting(output)


def test_a_job_that_was_not_submitted_may_write_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(JOB_VARIABLE, raising=False)
    require_lasting("out/crops")


def test_a_submitted_job_ends_with_status_2_before_it_begins(
    submitted: None, capsys: pytest.CaptureFixture[str]
) -> None:
    def job(config: PreprocessJobConfig) -> Outcome:
        raise AssertionError("it began")

    assert cli.run(PreprocessJobConfig, job, ["--input", "/data", "--output", "out"]) == 2
    assert "--output out: a relative path" in capsys.readouterr().err
