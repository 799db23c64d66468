"""The command line of the jobs: what it takes, what it refuses and how, and how a job ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepfake import __main__, cli
from deepfake.config import JobConfig, PreprocessJobConfig, SamplingConfig, ScoreJobConfig, TrainJobConfig
from deepfake.config.help import format_default, format_help
from deepfake.config.parse import list_options, list_recipes, load_config
from deepfake.errors import JobError, UsageError
from deepfake.io.tables import TableError
from deepfake.outcome import Outcome
from tests.running import ROOT

JOBS = sorted(path.name for path in (ROOT / "jobs").glob("*.py"))
RunJob = Callable[..., subprocess.CompletedProcess[str]]
IO = ("--input", "videos", "--output", "crops")


def preprocess(*argv: str) -> PreprocessJobConfig:
    return load_config(PreprocessJobConfig, [*IO, *argv])


@pytest.fixture
def yaml_file(tmp_path: Path) -> Callable[..., str]:
    """``yaml_file(content, name=...)`` writes a configuration file and returns its path."""

    def write(content: Any, name: str = "config.yaml") -> str:
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


# Values.


def test_defaults_yield_to_yaml_and_yaml_to_the_command_line(yaml_file):
    path = yaml_file({"sampling": {"every_n": 10, "count": 7}, "crop": {"size": 256}, "limit": 5})
    found = preprocess("--sampling.every_n", "3", "--config", path)
    assert found.sampling == SamplingConfig(every_n=3, count=7)
    assert (found.crop.size, found.crop.margin, found.limit) == (256, 0.15, 5)


def test_a_later_file_goes_before_an_earlier_one_key_by_key(yaml_file):
    first = yaml_file({"sampling": {"every_n": 10, "count": 7}}, "first.yaml")
    second = yaml_file({"sampling": {"every_n": 20}}, "second.yaml")
    assert preprocess("--config", first, "--config", second).sampling == SamplingConfig(every_n=20, count=7)


def test_required_keys_may_stand_in_the_file(yaml_file):
    found = load_config(PreprocessJobConfig, ["--config", yaml_file({"input": "a", "output": "b"})])
    assert (found.input, found.output) == ("a", "b")


def test_a_section_without_keys_keeps_its_defaults(yaml_file):
    path = yaml_file("sampling:\n  # every_n: 3\ncrop:\n  size: 64\n")
    assert preprocess("--config", path).sampling == SamplingConfig()


def test_an_empty_file_changes_nothing(yaml_file):
    assert preprocess("--config", yaml_file("# nothing yet\n")) == preprocess()


@pytest.mark.parametrize("spelling", ["dry-run", "dry_run"])
def test_hyphens_and_underscores_are_the_same_on_the_command_line_and_in_a_file(yaml_file, spelling):
    assert preprocess(f"--{spelling}").dry_run
    path = yaml_file({spelling: True, spelling.replace("dry", "max").replace("run", "failed"): 0.5})
    assert preprocess("--config", path).dry_run
    assert not preprocess("--config", path, "--dry-run", "false").dry_run
    assert preprocess("--config", path, "--max-failed", "0.1").max_failed == 0.1


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--storage.anonymous"], True),
        (["--storage.anonymous", "true"], True),
        (["--storage.anonymous=yes"], True),
        (["--no-storage.anonymous"], False),
        (["--storage.anonymous", "False"], False),
        (["--storage.anonymous=false"], False),
    ],
)
def test_a_flag_is_given_bare_negated_or_with_a_value_like_any_key(yaml_file, argv, value):
    path = yaml_file({"storage": {"anonymous": not value}})
    assert preprocess("--config", path, *argv).storage.anonymous is value


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--catalog.methods", "A,B"], ["A", "B"]),
        (["--catalog.methods", "A", "--catalog.methods", "B"], ["A", "B"]),
        (["--catalog.methods", '["A", "B, C"]'], ["A", "B, C"]),
        ([], None),
    ],
)
def test_a_list_is_given_with_commas_by_repetition_or_as_json(argv, value):
    assert preprocess(*argv).catalog.methods == value


def test_a_mapping_is_given_as_json():
    found = preprocess("--catalog.assign_splits", '{"real/a*": "val", "b": "test"}')
    assert found.catalog.assign_splits == {"real/a*": "val", "b": "test"}


@pytest.mark.parametrize(
    "path", ["a b", "x,y", "[1]", '{"a": 1}', 'it\'s "so"', "=", "s3://b/k=v", "-3", "ü\n"]
)
def test_a_path_is_taken_as_it_is_typed(path):
    assert load_config(PreprocessJobConfig, [f"--input={path}", "--output", path]).input == path


def test_a_key_of_a_section_that_has_no_default_makes_the_section():
    found = load_config(ScoreJobConfig, [*IO, "--bundle", "model", "--detector.name", "haar"])
    assert (found.detector and found.detector.name, found.crop) == ("haar", None)


# Refusals.


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--sampling.every", "3"], "unknown option --sampling.every; did you mean sampling.every_n?"),
        (["--every_n", "3"], "unknown option --every_n; did you mean sampling.every_n?"),
        (["--crop.every_n=3"], "unknown option --crop.every_n; did you mean sampling.every_n?"),
        (["--inptu", "x"], "unknown option --inptu; did you mean input?"),
        (["--in", "x"], "unknown option --in; did you mean input?"),
        (["--zzzzzz", "x"], "unknown option --zzzzzz; --help lists every option"),
        (["clip.mp4"], "unexpected 'clip.mp4'; options are written --section.key value"),
        (["--limit"], "argument --limit: expected one argument"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest_one(argv, message):
    with pytest.raises(UsageError) as caught:
        preprocess(*argv)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"sampling": {"every": 3}}, "unknown key sampling.every; did you mean sampling.every_n?"),
        ({"every_n": 3}, "unknown key every_n; did you mean sampling.every_n?"),
        ({"samplng": {"every_n": 3}}, "unknown key samplng; did you mean sampling?"),
        ({"zzzzzz": 3}, "unknown key zzzzzz; --help lists every option"),
    ],
)
def test_an_unknown_key_in_a_file_is_answered_with_the_nearest_one(yaml_file, content, message):
    with pytest.raises(UsageError) as caught:
        preprocess("--config", yaml_file(content))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("sampling", "every_n", "often"),
        ("sampling", "every_n", "2.5"),
        ("sampling", "policy", "all"),
        ("crop", "margin", "wide"),
        ("storage", "anonymous", "maybe"),
        ("catalog", "assign_splits", "{broken"),
        ("catalog", "split_fractions", "half"),
    ],
)
def test_a_value_of_the_wrong_type_names_its_key_wherever_it_stands(yaml_file, section, key, value):
    for argv in (
        [f"--{section}.{key}={value}"],
        ["--config", yaml_file({section: {key: value}})],
    ):
        with pytest.raises(UsageError, match=re.escape(f"{section}.{key}")):
            preprocess(*argv)


def test_every_mistake_is_told_at_once():
    with pytest.raises(UsageError) as caught:
        load_config(PreprocessJobConfig, ["--output", "b", "--limit", "0", "--crop.size", "big"])
    message = str(caught.value)
    for part in (
        "--input is required",
        "limit: Input should be greater",
        "crop.size: Input should be a valid int",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n", "expected 'section: ...' at the top, found a list"),
        ("sampling: [\n", "not valid YAML"),
        ("sampling: 3\n", "sampling: Input should be a valid dictionary"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(yaml_file, content, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        preprocess("--config", yaml_file(content))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "absent.yaml", tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(UsageError, match=re.escape(str(path))):
            preprocess("--config", str(path))


# How a job ends.


class EchoConfig(JobConfig):
    """Says how it is told to end."""

    row_sections = ()


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


def test_a_job_over_its_error_budget_answers_3_and_still_leaves_its_summary(run, tmp_path, capsys):
    assert run(lambda config: Outcome({"videos": 10}, failed_share=0.2)) == 3
    assert json.loads((tmp_path / "out/_summary.json").read_text())["exit_status"] == 3
    assert "20.0% of the videos failed, more than --max-failed 5.0%" in capsys.readouterr().err
    assert run(lambda config: Outcome({"videos": 10}, failed_share=0.2), "--max-failed", "0.2") == 0


def test_a_dry_run_prints_the_configuration_as_yaml_and_writes_nothing(run, tmp_path, capsys, yaml_file):
    assert run(lambda config: Outcome({"videos": 3}), "--dry-run", "--limit", "7") == 0
    printed = capsys.readouterr().out.partition("\nSummary")[0]
    assert yaml.safe_load(printed).items() >= {"limit": 7, "dry-run": True}.items()
    assert not (tmp_path / "out").exists()
    again = load_config(EchoConfig, ["--config", yaml_file(printed)])
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


@pytest.mark.parametrize("name", JOBS)
def test_help_has_the_common_keys_and_help_all_every_one_with_its_default(name):
    model = model_of(name)
    said = format_help(model, f"jobs/{name}", everything=True)
    assert not re.search("default.*default", said)
    everything = " ".join(said.split())
    for option, field in list_options(model):
        default = "required" if field.is_required() else format_default(field).strip("[]")
        words = f"{field.description} [{default}]" if default else field.description
        assert re.search(rf" --{option} (\S+ )*?{re.escape(words)}", everything), option
    short = format_help(model, f"jobs/{name}", everything=False)
    assert short.count("\n") < 80
    shown = re.findall(r"^  --(\S+)", short, re.M)
    needed = [option for option, _ in list_options(model) if "." not in option]
    assert sorted(shown) == sorted([*needed, *model.common, "config"])


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
        (("train", "--config", "recipe:sbii"), "recipe:sbii: no such recipe; there are recipe:honest, "),
    ],
)
def test_what_the_command_does_not_know_is_named_and_answered_with_2(argv, said):
    done = command(*argv)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_recipe_is_a_file_of_the_package_with_a_name():
    needed = ["--input", "crops", "--output", "model"]
    assert {"recipe:honest", "recipe:sbi", "recipe:seed"} <= set(list_recipes())
    found = load_config(TrainJobConfig, [*needed, "--config", "recipe:sbi", "--training.epochs", "3"])
    assert (found.augment.fakes, found.training.epochs) == ("sbi", 3)


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
    script = f"{command('completion', 'bash').stdout}\n" + (
        'COMP_WORDS=(deepfake "$@"); COMP_CWORD=$#; _deepfake; echo "${COMPREPLY[*]}"'
    )
    done = subprocess.run(["bash", "-c", script, "bash", *typed], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (offered, "")


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
