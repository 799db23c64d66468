"""One command for all jobs: ``deepfake JOB ...``, which is ``python -m deepfake`` and ``python jobs/JOB.py``.

A job's pipeline is imported when it runs, so that ``--help`` is answered at once.
"""

import difflib
import logging
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from deepfake import __version__, cli
from deepfake.config import (
    AdoptJobConfig,
    BenchmarkJobConfig,
    DemoJobConfig,
    EvaluateJobConfig,
    ExportJobConfig,
    JobConfig,
    LeakcheckJobConfig,
    PreprocessJobConfig,
    RemoveJobConfig,
    ScoreJobConfig,
    TrainJobConfig,
    VerdictsJobConfig,
    VerifyJobConfig,
    WatchJobConfig,
)
from deepfake.config.completion import SHELLS, write_completion
from deepfake.execution.process import skip_final_gc
from deepfake.imports import import_for_good
from deepfake.outcome import Outcome

# What decides rows and scores, as pip knows it.
_VERSIONS = (
    "ray", "tensorflow", "tensorflow-cpu", "keras", "openvino", "av", "opencv-python-headless", "numpy",
    "pyarrow",
)  # fmt: skip


# Each job's configuration, and the module of ``deepfake.pipelines`` whose ``run(config) -> Outcome`` does it.
JOBS: Mapping[str, tuple[type[JobConfig], str]] = {
    "preprocess": (PreprocessJobConfig, "preprocess.pipeline"),
    "leakcheck": (LeakcheckJobConfig, "leakcheck.pipeline"),
    "train": (TrainJobConfig, "train.pipeline"),
    "evaluate": (EvaluateJobConfig, "evaluate.pipeline"),
    "score": (ScoreJobConfig, "score.pipeline"),
    "score --verify": (VerifyJobConfig, "score.verify"),
    "watch": (WatchJobConfig, "watch.pipeline"),
    "verdicts": (VerdictsJobConfig, "score.verdicts"),
    "remove": (RemoveJobConfig, "remove.pipeline"),
    "export": (ExportJobConfig, "export.pipeline"),
    "adopt": (AdoptJobConfig, "adopt.pipeline"),
    "benchmark": (BenchmarkJobConfig, "benchmark.pipeline"),
    "demo": (DemoJobConfig, "demo.pipeline"),
}


def run_job(name: str, program: str, argv: Sequence[str]) -> int:
    """Run one job as this process's whole task; its exit status."""
    if name == "score" and any(word.partition("=")[0] == "--verify" for word in argv):
        name = "score --verify"
    model, module = JOBS[name]
    skip_final_gc()
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # no call starts a Ray by the way

    def run(config: JobConfig) -> Outcome:
        compares = isinstance(config, TrainJobConfig) and config.compare
        if name == "benchmark":  # what a job that is measured says is no news
            logging.getLogger("deepfake").setLevel(logging.WARNING)
            logging.getLogger("deepfake.pipelines.benchmark").setLevel(logging.INFO)
        with import_for_good():
            pipeline = import_module(f"deepfake.pipelines.{'train.compare' if compares else module}")
        outcome: Outcome = pipeline.run(config)
        return outcome

    return cli.run(model, run, name_input(name, argv), program)


def name_input(job: str, argv: Sequence[str]) -> list[str]:
    """A job's words with ``--input`` before the first, where ``watch`` may leave it out."""
    leaves_out = job == "watch" and bool(argv) and not argv[0].startswith("-")
    return ["--input", *argv] if leaves_out else list(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """The command itself; its exit status."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name in JOBS:
        return run_job(name, f"deepfake {name}", rest)
    if name == "--version":
        cli.say(describe_versions())
    elif name == "completion" and rest and rest[0] in SHELLS:
        cli.say(write_completion(rest[0], {name: model for name, (model, _) in JOBS.items()}))
    elif name in ("-h", "--help"):
        cli.say(describe_commands())
    else:
        close = difflib.get_close_matches(name, JOBS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        said = f"deepfake: no such job: {name}{hint}" if name else "deepfake: which job?"
        print(f"{said}\n\n{describe_commands()}", file=sys.stderr)
        return cli.BAD_USAGE
    return cli.DONE


def describe_commands() -> str:
    """What the command takes."""
    lines = [f"  {name:<18} {(model.__doc__ or '').splitlines()[0]}" for name, (model, _) in JOBS.items()]
    return "\n".join(
        [
            "usage: deepfake JOB [--section.key value ...]",
            "",
            *lines,
            "",
            "  JOB --help         a job's keys",
            '  completion SHELL   a script that completes jobs and keys: eval "$(deepfake completion bash)"',
            "                     (or zsh); deepfake completion fish | source",
            "  --version          the versions that matter",
        ]
    )


def describe_versions() -> str:
    """The version of this package, of Python, and of what decides rows and scores."""
    lines = [f"deepfake {__version__}", f"Python {platform.python_version()}"]
    for name in _VERSIONS:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
