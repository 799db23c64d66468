"""The order in which the demo runs the jobs, each with the command line that a user would type."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfake.config import DemoJobConfig

CROP_SIZE = 96  # pixels; faces of the clips are of 80
TITLE = "Demo: these scores mean nothing about real deepfakes"


@dataclass(frozen=True)
class Step:
    """One job of the tour."""

    name: str
    says: str
    arguments: tuple[str, ...]
    look_at: tuple[str, ...]  # relative to the demo's output
    beside: bool = False  # it needs nothing of the job before it, and runs at the same time

    def make_command(self, python: str, jobs: str | None) -> list[str]:
        """The command, with the interpreter and any folder of the jobs as the user would write them."""
        job = ["-m", "deepfake", self.name] if jobs is None else [f"{jobs}/{self.name}.py"]
        return [python, *job, *self.arguments]


def locate_data(output: str) -> Path:
    """Where the data set is made."""
    return Path(output, "data")


def locate_archive(output: str) -> Path:
    """Where the unlabelled archive is made."""
    return Path(output, "archive")


def list_steps(config: DemoJobConfig) -> list[Step]:
    """Every job after the data set is there, in order."""
    output = Path(config.output)
    data, crops, model = locate_data(config.output), output / "crops", output / "model"
    splits, archive = data / "splits", locate_archive(config.output)
    leaks, evaluation, scores = output / "leakcheck", output / "evaluation", output / "scores"
    sheets = ("crops/_contact_sheets/train-real.jpg", "crops/_contact_sheets/train-Deepfakes.jpg")
    sampling = {"catalog.splits_dir": splits, "sampling.every_n": config.every_n, "crop.size": CROP_SIZE}
    recipe: dict[str, object] = {"config": "recipe:mesonet"}
    size = {"epochs": config.epochs, "workers": config.workers, "seed": config.seed}
    recipe |= {f"training.{name}": value for name, value in size.items()}
    title = {"report.title": TITLE}
    return [
        Step(
            "preprocess",
            "videos to face crops",
            _make_options({"input": data, "output": crops, **sampling}),
            sheets,
        ),
        Step(
            "leakcheck",
            "what the splits share, and what gives fakes away without looking at faces",
            _make_options({"input": crops, "output": leaks, **title}),
            ("leakcheck/report.html",),
        ),
        Step(
            "train",
            f"a small network from random weights, {config.epochs} epochs; validation shows its people, too",
            _make_options({"input": crops, "output": model, **recipe}),
            ("model/plots/accuracy.png", "model/plots/loss.png"),
            beside=True,
        ),
        Step(
            "evaluate",
            "numbers on the person that neither training nor validation saw",
            _make_options(
                {"input": crops, "bundle": model, "output": evaluation, "evaluation.split": "test", **title}
            ),
            ("evaluation/report.html",),
        ),
        Step(
            "score",
            "an unlabelled archive, with a picture that shows nobody and a file that is no video",
            _make_options({"input": archive, "bundle": model, "output": scores, "max-failed": 0.2, **title}),
            ("scores/report.html", "scores/video_scores.csv"),
            beside=True,
        ),
    ]


def list_groups(steps: Sequence[Step]) -> list[list[Step]]:
    """The steps in order, those together that run at the same time."""
    groups: list[list[Step]] = []
    for step in steps:
        groups[-1:] = [[*groups[-1], step]] if step.beside else [*groups[-1:], [step]]
    return groups


def format_command(command: Sequence[str]) -> str:
    """A command as one line for the shell."""
    return shlex.join(command)


def _make_options(values: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(word for name, value in values.items() for word in (f"--{name}", str(value)))
