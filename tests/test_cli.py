"""The jobs as commands: what each answers, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from deepfake import __main__, cli
from deepfake.config import JobConfig, ScoreJobConfig
from deepfake.config.help import format_help
from deepfake.config.parse import load_config
from deepfake.errors import JobError, UsageError
from deepfake.io.tables import TableError
from deepfake.outcome import Outcome
from tests.running import ROOT

JOBS = sorted(path.name for path in (ROOT / "jobs").glob("*.py"))
RunJob = Callable[..., subprocess.CompletedProcess[str]]

# How a job ends.


class EchoConfig(JobConfig):
    """Says how it is told to end."""

    row_sections = ()
    limit: int | None = None


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., int]:
    """``run(job, *argv)`` runs a job in this process and answers its exit status."""

    def call(job: Callable[[EchoConfig], Outcome], *argv: str) -> int:
        return cli.run(EchoConfig, job, ["--output", str(tmp_path / "out"), *argv])

    return call


def test_a_job_that_did_its_work_answers_0_and_leaves_its_summary(run, tmp_path, capsys):
    found = Outcome(
        {"videos": 3, "by_status": {"ok": 2, "no_face": 1}, "frames_per_second": 12.3456}, 0.05, ["p"]
    )
    assert run(lambda config: found) == 0
    summary = json.loads((tmp_path / "out/_summary.json").read_text())
    assert summary.items() >= {"videos": 3, "by_status": {"ok": 2, "no_face": 1}, "exit_status": 0}.items()
    assert {"job", "version", "wall_seconds"} <= set(summary)
    printed = capsys.readouterr().out
    for line in (
        "videos                 3",
        "by status              ok 2, no_face 1",
        "look at                p",
    ):
        assert line in printed


@pytest.mark.parametrize(
    ("error", "status"), [(JobError, 1), (UsageError, 2), (TableError, 2)], ids=lambda value: str(value)
)
def test_a_job_that_cannot_work_says_why_in_one_line_and_answers_1_or_2(run, tmp_path, capsys, error, status):
    def job(config: EchoConfig) -> Outcome:
        raise error("a/clip.mp4: what is wrong")

    assert run(job) == status
    said = capsys.readouterr().err.splitlines()  # Ray's own processes may say something beside it
    (line,) = [line for line in said if line.startswith("job: ")]
    assert re.fullmatch(r"job: a/clip\.mp4: what is wrong", line)
    assert not any("Traceback" in line for line in said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("error", [JobError, UsageError])
def test_no_sentence_that_a_job_ends_with_repeats_a_password(run, capsys, error):
    """Libraries name the address that was tried, and so does what is said of ``--config``."""

    def job(config: EchoConfig) -> Outcome:
        raise error("cannot connect to http://somebody:hunter2@host:9000/a")

    run(job)
    run(job, "--config", "s3://somebody:hunter2@bucket/c.yaml")
    said = capsys.readouterr().err
    assert "http://***@host:9000/a" in said and "s3://***@bucket/c.yaml" in said
    assert "hunter2" not in said and "somebody" not in said


def test_a_job_over_its_error_budget_answers_3_and_still_leaves_its_summary(run, tmp_path, capsys):
    assert run(lambda config: Outcome({"videos": 10}, failed_share=0.2)) == 3
    assert json.loads((tmp_path / "out/_summary.json").read_text())["exit_status"] == 3
    assert "20.0% of the videos failed, more than --max-failed 5.0%" in capsys.readouterr().err
    assert run(lambda config: Outcome({"videos": 10}, failed_share=0.2), "--max-failed", "0.2") == 0


def test_a_dry_run_prints_the_configuration_as_yaml_and_writes_nothing(run, tmp_path, capsys):
    assert run(lambda config: Outcome({"videos": 3}), "--dry-run", "--limit", "7") == 0
    printed = capsys.readouterr().out.partition("\nSummary")[0]
    assert yaml.safe_load(printed).items() >= {"limit": 7, "dry-run": True}.items()
    assert not (tmp_path / "out").exists()
    (tmp_path / "again.yaml").write_text(printed)
    again = load_config(EchoConfig, ["--config", str(tmp_path / "again.yaml")])
    assert again == load_config(EchoConfig, ["--output", str(tmp_path / "out"), "--limit", "7", "--dry-run"])


def test_a_bug_is_not_dressed_up_as_bad_usage(run):
    with pytest.raises(KeyError):
        run(lambda config: {}["missing"])


def test_signal_handlers_are_put_back_when_a_job_ends(run):
    before = [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]
    run(lambda config: Outcome())
    assert [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_a_ray_task_raised_is_told_without_its_traceback(run, ray_session, capsys):
    import ray

    @ray.remote(num_cpus=1)
    def task() -> None:
        raise UsageError("a/clip.mp4: what is wrong")

    assert run(lambda config: ray.get(task.remote())) == 2
    said = capsys.readouterr().err.splitlines()  # Ray's own processes may say something beside it
    (line,) = [line for line in said if line.startswith("job: ")]
    assert re.fullmatch(r"job: a/clip\.mp4: what is wrong", line)
    assert not any("Traceback" in line for line in said)


WAITS = """
import pathlib, sys, time
from deepfake import __main__, __version__, cli
from deepfake.config import JobConfig

def job(config):
    try:
        print("working", flush=True)
        while True:  # in short sleeps: a signal between two calls is not waited out by a pause
            time.sleep(0.05)
    finally:
        pathlib.Path(config.output).write_text("cleaned up")

sys.exit(cli.run(JobConfig, job, ["--output", sys.argv[1]]))
"""


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_job_cleanly_with_the_usual_status(tmp_path, signum, status):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert f"stopped by {signum.name}; run the same command again to go on" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "out").read_text() == "cleaned up"


# The jobs themselves.


@pytest.fixture
def run_job() -> RunJob:
    """``run_job("train.py", word, ...)`` runs a job in a process of its own, and says how it ended."""

    def run(name: str, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, f"jobs/{name}", *argv],
            cwd=ROOT, capture_output=True, text=True, env={**os.environ, "COLUMNS": "10000"},
        )  # fmt: skip

    return run


def model_of(name: str) -> type[JobConfig]:
    """The configuration of a job's file."""
    return __main__.JOBS[name.removesuffix(".py")][0]


def command(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "deepfake", *argv], cwd=ROOT, capture_output=True, text=True)


def test_one_command_has_every_job_and_says_the_versions_that_matter():
    said = command("--help").stdout
    assert {f"{name}.py" for name in re.findall(r"^  (\w+)  ", said, re.M)} == set(JOBS)
    assert command("score", "--help").stdout.startswith("usage: deepfake score --bundle URI")
    assert (
        command("score", "--help").stdout.split()[2:]
        == format_help(ScoreJobConfig, "deepfake score", everything=False).split()[2:]
    )
    versions = command("--version").stdout
    assert re.match(r"deepfake \d\S+\nPython 3\.\d+\.\d+\nray \d", versions)
    assert {"keras", "openvino", "av"} <= set(versions.split())


@pytest.mark.parametrize("words", [["--help"], ["score", "--help"], ["completion", "bash"]])
def test_a_reader_may_stop_before_the_end(words):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "deepfake", *words],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "deepfake: which job?"),
        (("scroe",), "deepfake: no such job: scroe; did you mean score?"),
        (("completion", "tcsh"), "deepfake: no such job: completion"),
        (("score", "--bundel", "x"), "deepfake score: unknown option --bundel; did you mean bundle?"),
        (
            ("train", "--config", "recipe:sbii"),
            "recipe:sbii: no such recipe; there are recipe:clip_norms, recipe:honest, ",
        ),
    ],
)
def test_what_the_command_does_not_know_is_named_and_answered_with_2(argv, said):
    done = command(*argv)
    assert done.returncode == 2
    assert said in done.stderr


def test_help_is_answered_by_the_command_itself(run_job):
    for asked in ("--help", "-h", "--help-all"):
        done = run_job("score.py", "--sampling.every_n", "5", asked)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage: jobs/score.py --bundle URI --input URI --output URI ")
        assert ("--sampling.max_pixels" in done.stdout) == (asked == "--help-all")


@pytest.mark.parametrize("name", [name for name in JOBS if "input" in model_of(name).model_fields])
def test_a_job_whose_input_is_not_there_answers_2_and_names_it(run_job, name, tmp_path):
    needed = [key for key, field in model_of(name).model_fields.items() if field.is_required()]
    places = {"output": str(tmp_path / "out")}
    argv = [part for key in needed for part in (f"--{key}", places.get(key, str(tmp_path / "no such")))]
    done = run_job(name, *argv)
    assert done.returncode == 2, done.stderr
    assert f"jobs/{name}: {tmp_path}/no such" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_of_preprocess_tells_the_plan_and_writes_nothing(run_job, ffpp_small, tmp_path):
    argv = ["--input", str(ffpp_small), "--output", str(tmp_path / "out"), "--dry-run", "--limit", "5"]
    done = run_job("preprocess.py", *argv, "--catalog.splits_dir", str(ffpp_small / "splits"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"videos +5\n", done.stdout) and re.search(r"videos done +0\n", done.stdout)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_does_not_exist_answers_2_before_anything_starts(run_job, tmp_path):
    done = run_job("preprocess.py", "--input", "x", "--output", str(tmp_path / "out"), "--crop.sise", "224")
    assert done.returncode == 2
    assert done.stderr == "jobs/preprocess.py: unknown option --crop.sise; did you mean crop.size?\n"
