"""One command for all jobs: ``deepfake JOB ...``, which is ``python -m deepfake`` and ``python jobs/JOB.py``.

A job's pipeline is imported when it runs, so that ``--help`` is answered at once.
"""

import difflib
import logging
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

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
    ScoreJobConfig,
    TrainJobConfig,
    VerdictsJobConfig,
    VerifyJobConfig,
)
from deepfake.config.completion import write_completion
from deepfake.execution.process import skip_final_gc
from deepfake.outcome import Outcome

# What decides rows and scores, as pip knows it.
_VERSIONS = (
    "ray", "tensorflow", "tensorflow-cpu", "keras", "openvino", "av", "opencv-python-headless", "numpy",
    "pyarrow",
)  # fmt: skip


def preprocess(config: PreprocessJobConfig) -> Outcome:
    """Videos to face crops."""
    from deepfake.pipelines.preprocess import pipeline

    return pipeline.run(config)


def train(config: TrainJobConfig) -> Outcome:
    """Crops to a model bundle, or several recipes side by side."""
    if config.compare:
        from deepfake.pipelines.train.compare import run
    else:
        from deepfake.pipelines.train.pipeline import run
    return run(config)


def evaluate(config: EvaluateJobConfig) -> Outcome:
    """A bundle's numbers on labelled crops."""
    from deepfake.pipelines.evaluate import pipeline

    return pipeline.run(config)


def score(config: ScoreJobConfig) -> Outcome:
    """Scores for every video of an archive."""
    from deepfake.pipelines.score import pipeline

    return pipeline.run(config)


def verify(config: VerifyJobConfig) -> Outcome:
    """Some videos of a finished output scored again."""
    from deepfake.pipelines.score import verify

    return verify.run(config)


def verdicts(config: VerdictsJobConfig) -> Outcome:
    """Verdicts made again from a finished output's face scores, under another rule."""
    from deepfake.pipelines.score import verdicts

    return verdicts.run(config)


def export(config: ExportJobConfig) -> Outcome:
    """A bundle's network for services and phones: ONNX, OpenVINO, LiteRT or SavedModel."""
    from deepfake.pipelines.export import pipeline

    return pipeline.run(config)


def adopt(config: AdoptJobConfig) -> Outcome:
    """A detector that was made elsewhere, from ONNX or Keras, to a bundle."""
    from deepfake.pipelines.adopt import pipeline

    return pipeline.run(config)


def leakcheck(config: LeakcheckJobConfig) -> Outcome:
    """What the splits share, and what gives fakes away without looking at faces."""
    from deepfake.pipelines.leakcheck import pipeline

    return pipeline.run(config)


def benchmark(config: BenchmarkJobConfig) -> Outcome:
    """The rate of preprocessing beside the naive loop and the decoding floor."""
    from deepfake.pipelines.benchmark import pipeline

    logging.getLogger("deepfake").setLevel(logging.WARNING)  # what a job that is measured says is no news
    logging.getLogger("deepfake.pipelines.benchmark").setLevel(logging.INFO)
    return pipeline.run(config)


def demo(config: DemoJobConfig) -> Outcome:
    """Every job in turn, on a small data set made on the spot."""
    from deepfake.pipelines.demo import pipeline

    return pipeline.run(config)


JOBS: Mapping[str, tuple[type[JobConfig], Callable[[Any], Outcome]]] = {
    "preprocess": (PreprocessJobConfig, preprocess),
    "leakcheck": (LeakcheckJobConfig, leakcheck),
    "train": (TrainJobConfig, train),
    "evaluate": (EvaluateJobConfig, evaluate),
    "score": (ScoreJobConfig, score),
    "score --verify": (VerifyJobConfig, verify),
    "verdicts": (VerdictsJobConfig, verdicts),
    "export": (ExportJobConfig, export),
    "adopt": (AdoptJobConfig, adopt),
    "benchmark": (BenchmarkJobConfig, benchmark),
    "demo": (DemoJobConfig, demo),
}


def run_job(name: str, program: str, argv: Sequence[str]) -> int:
    """Run one job as this process's whole task; its exit status."""
    if name == "score" and any(word.partition("=")[0] == "--verify" for word in argv):
        name = "score --verify"
    model, job = JOBS[name]
    skip_final_gc()
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # no call starts a Ray by the way
    return cli.run(model, job, argv, program)


def main(argv: Sequence[str] | None = None) -> int:
    """The command itself; its exit status."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if name in JOBS:
        return run_job(name, f"deepfake {name}", rest)
    if name == "--version":
        cli.say(describe_versions())
    elif name == "completion" and rest == ["bash"]:
        cli.say(write_completion({name: model for name, (model, _) in JOBS.items()}))
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
    lines = [f"  {name:<18} {job.__doc__}" for name, (_, job) in JOBS.items()]
    return "\n".join(
        [
            "usage: deepfake JOB [--section.key value ...]",
            "",
            *lines,
            "",
            "  JOB --help         a job's keys",
            '  completion bash    a script that completes jobs and keys: eval "$(deepfake completion bash)"',
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
