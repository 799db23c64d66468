"""The demo's way through the jobs."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake import config
from deepfake.config import parse
from deepfake.errors import UsageError
from deepfake.pipelines.demo import Summary, pipeline, tour
from deepfake.pipelines.demo.dataset import make_archive
from tests.processes import HANGS_SECONDS

MODELS: dict[str, type[config.JobConfig]] = {
    "preprocess": config.PreprocessJobConfig,
    "leakcheck": config.LeakcheckJobConfig,
    "train": config.TrainJobConfig,
    "evaluate": config.EvaluateJobConfig,
    "score": config.ScoreJobConfig,
}


def test_every_command_line_is_one_that_its_job_understands() -> None:
    tour_steps = tour.list_steps(config.DemoJobConfig(output="some where", epochs=7))
    for step in tour_steps:
        parsed = parse.load_config(MODELS[step.name], step.arguments)
        assert parsed.output.startswith("some where/")
        if isinstance(parsed, config.TrainJobConfig):
            assert parsed.training.epochs == 7
    assert [step.name for step in tour_steps] == list(MODELS)


def test_a_shown_command_can_be_pasted_into_a_shell() -> None:
    step = tour.list_steps(config.DemoJobConfig(output="some where"))[0]
    assert "--output 'some where/crops'" in tour.format_command(step.make_command("python", "jobs"))


def test_it_stops_at_the_first_failure_with_that_job_s_status(
    ffpp_small: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    made = Summary(ffpp_small, ffpp_small / "splits", originals=6, fakes=6, bytes=1, reused=True)

    def fails_in_training(step: tour.Step, *_: object) -> list[str]:
        return [
            sys.executable,
            "-c",
            f"print('ran {step.name}'); raise SystemExit({3 * (step.name == 'train')})",
        ]

    monkeypatch.setattr(pipeline, "make_dataset", lambda *_, **__: made)
    monkeypatch.setattr(tour.Step, "make_command", fails_in_training)
    with pytest.raises(SystemExit) as stopped:
        pipeline.run(config.DemoJobConfig(output=str(tmp_path)))
    assert stopped.value.code == 3
    out, err = capfd.readouterr()
    assert re.findall(r"^ran (.+)", out, re.MULTILINE) == ["preprocess", "leakcheck", "train"]
    assert "train ended with exit status 3" in err
    assert "mean nothing about real deepfakes" in out


# Jobs that stop the process that started them: none of the tests', which has threads of many libraries.
STOPPED = """
import os, signal, socket, subprocess, sys
from deepfake.errors import Stopped
from deepfake.pipelines.demo import pipeline

when = sys.argv[1]
child = "import os, signal; os.kill(os.getppid(), signal.SIGTERM); signal.pause()"
signals, arriving = socket.socketpair()
signals.settimeout(60)
arriving.setblocking(False)
made = []

class Recorded(subprocess.Popen):
    def __init__(self, command, **options):
        super().__init__(command, **options)
        made.append(self)
        if when == "while it is being started":
            signals.recv(1)

    def send_signal(self, signum):
        if when == "and another one as it ends":
            signal.raise_signal(signal.SIGTERM)
        super().send_signal(signum)

def stop(signum, _frame):
    raise Stopped(signum)

pipeline.subprocess.Popen = Recorded
signal.signal(signal.SIGTERM, stop)
signal.set_wakeup_fd(arriving.fileno())
try:
    with pipeline.start_jobs([[sys.executable, "-c", child]] * 2) as jobs:
        jobs[0].finish()
except Stopped as stopped:
    print(stopped.signum, [process.returncode for process in made])
"""


@pytest.mark.parametrize("when", ["while it runs", "while it is being started", "and another one as it ends"])
def test_a_stop_is_passed_on_to_the_running_job(when: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, when],
        timeout=HANGS_SECONDS, text=True, capture_output=True,
    )  # fmt: skip
    assert done.stdout == "15 [-15, -15]\n", done.stderr


def test_jobs_that_run_at_the_same_time_speak_in_turn(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = (
        "import sys, time, pathlib\nwhile not pathlib.Path('second').exists(): time.sleep(0.01)\nprint('1')"
    )
    second = (
        "import pathlib, sys; print('2 says', flush=True); print('2 warns', file=sys.stderr, flush=True); "
        "pathlib.Path('second').touch(); print('2' * 200_000); sys.exit(4)"
    )
    with (
        contextlib.chdir(tmp_path),
        pipeline.start_jobs([[sys.executable, "-c", code] for code in (first, second)]) as jobs,
    ):
        assert [job.finish() for job in jobs] == [0, 4]
    assert capfd.readouterr().out.splitlines() == ["1", "2 says", "2 warns", "2" * 200_000]


def test_a_job_that_still_runs_when_another_has_failed_is_stopped() -> None:
    waits = [sys.executable, "-c", "import signal; signal.pause()"]
    with pytest.raises(SystemExit), pipeline.start_jobs([[sys.executable, "-c", ""], waits]) as jobs:
        raise SystemExit(jobs[0].finish())
    assert jobs[1].process.returncode == -signal.SIGTERM


def test_an_output_that_is_not_a_local_folder_is_refused() -> None:
    with pytest.raises(UsageError, match="writes to a local folder"):
        pipeline.run(config.DemoJobConfig(output="s3://bucket/demo"))


def test_the_archive_has_a_picture_without_a_face_and_a_broken_file(ffpp_small: Path, tmp_path: Path) -> None:
    clips = sorted(ffpp_small.glob("original_sequences/*/*/videos/*.mp4"))[:2]
    assert make_archive(tmp_path / "archive", clips) == 4
    assert sorted(path.name for path in (tmp_path / "archive").iterdir()) == [
        "broken.mp4",
        "clip_01.mp4",
        "clip_02.mp4",
        "rocket.jpg",
    ]
