"""The demo: its data set is made on the spot, then every job runs on it as a user would run it."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from deepfake.config import DemoJobConfig
from deepfake.errors import Stopped, UsageError
from deepfake.io import lock
from deepfake.io.storage import Storage
from deepfake.outcome import Outcome
from deepfake.pipelines.demo.dataset import DISCLAIMER, Summary, make_archive, make_dataset
from deepfake.pipelines.demo.tour import (
    Step,
    format_command,
    list_groups,
    list_steps,
    locate_archive,
    locate_data,
)

# Of its clips, as of a cheap camera: few and small frames are to be made and decoded.
FPS = 15
SECONDS = 1.6
SCALE = 8 / 15  # 256 x 192 pixels, in which all three faces have detail
LOOK_SECONDS = 0.2  # how often the words of a job that runs beside another are looked for
JOBS = Path(__file__).resolve().parents[3] / "jobs"  # of the repository; not there where a wheel is installed


def run(config: DemoJobConfig) -> Outcome:
    """Make the data, run the jobs, say what there is to look at.

    Raises ``UsageError`` for an output that is not local, and ``SystemExit`` with a failed job's status.
    """
    if "://" in config.output:
        raise UsageError(f"--output {config.output}: the demo writes to a local folder")
    tour = list_steps(config)
    jobs = os.path.relpath(JOBS) if JOBS.is_dir() else None
    commands = [step.make_command(os.path.relpath(sys.executable), jobs) for step in tour]
    if config.dry_run:
        print("\n".join(["", *map(format_command, commands)]))
        return Outcome()
    with lock.hold(config.output, Storage()):
        return run_tour(config, tour, commands)


def run_tour(config: DemoJobConfig, tour: Sequence[Step], commands: Sequence[Sequence[str]]) -> Outcome:
    """Make the data, then run each command."""
    seconds: dict[str, str] = {}
    started = time.monotonic()
    _print_heading(1, len(tour) + 1, f"data: {DISCLAIMER}")
    data = make_dataset(
        locate_data(config.output), config.seed, identities_per_split=config.identities,
        fakes_per_identity=1, seconds=SECONDS, fps=FPS, scale=SCALE,
    )  # fmt: skip
    _print_data(data)
    make_archive(locate_archive(config.output), _list_held_out(data))
    seconds["data"] = f"{time.monotonic() - started:.0f} s"

    waiting = iter(zip(range(2, len(tour) + 2), tour, commands, strict=True))
    for group in list_groups(tour):
        some = list(islice(waiting, len(group)))
        started = time.monotonic()
        with start_jobs([command for _, _, command in some]) as jobs:
            for (number, step, command), job in zip(some, jobs, strict=True):
                began = ", begun with the one before" if step.beside else ""
                _print_heading(number, len(tour) + 1, f"{step.name}: {step.says}{began}")
                print(f"$ {format_command(command)}", flush=True)
                status = job.finish()
                if status != 0:
                    said = f"\n{step.name} ended with exit status {status}; the demo stops here"
                    print(said, file=sys.stderr)
                    raise SystemExit(status)
                seconds[step.name] = f"{time.monotonic() - started:.0f} s"
    print(f"\n{DISCLAIMER}")
    found = [str(Path(config.output, name)) for step in tour for name in step.look_at]
    return Outcome({"took": seconds}, look_at=found)


class Job:
    """A job's process. What it says is shown at once, or by ``finish`` where it runs beside another."""

    def __init__(self, command: Sequence[str], beside: bool) -> None:
        self._said = tempfile.TemporaryFile() if beside else None  # noqa: SIM115 - finish() closes it
        errors = subprocess.STDOUT if beside else None
        self.process = subprocess.Popen(command, process_group=0, stdout=self._said, stderr=errors)

    def finish(self) -> int:
        """Wait for its end, and show what it says; its exit status."""
        if self._said is None:
            return self.process.wait()
        with self._said:
            shown, ended = 0, False
            while not ended:
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(LOOK_SECONDS)
                    ended = True  # all that it said is there
                # at a place of our own: the file's position is that of the job's next word
                while text := os.pread(self._said.fileno(), 2**16, shown):
                    shown += len(text)
                    sys.stdout.buffer.write(text)
                sys.stdout.flush()
        return self.process.returncode


@contextmanager
def start_jobs(commands: Sequence[Sequence[str]]) -> Iterator[list[Job]]:
    """Jobs that run at the same time; the first speaks at once.

    A stop is passed on to each once. Whoever still runs at the end of the block is stopped, and waited for.
    """
    # Nothing is raised while a job is started or stopped: that would leave a process that nobody knows.
    came: list[int] = []
    raises = False

    def stop(signum: int, _frame: object) -> None:
        came.append(signum)
        if raises and len(came) == 1:
            raise Stopped(signum)

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGINT, signal.SIGTERM)}
    jobs: list[Job] = []
    try:
        for command in commands:
            jobs.append(Job(command, beside=bool(jobs)))
        raises = True
        if came:
            raise Stopped(came[0])
        yield jobs
    finally:
        raises = False
        for job in jobs:
            job.process.send_signal(came[0] if came else signal.SIGTERM)  # nothing where it has ended
        for job in jobs:
            job.process.wait()
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _print_heading(number: int, of: int, text: str) -> None:
    print(f"\n=== {number}/{of} {text}", flush=True)


def _print_data(data: Summary) -> None:
    made = "found complete" if data.reused else "made"
    print(
        f"{data.originals} originals and {data.fakes} fakes {made} in {data.root}, "
        f"{data.bytes / 1e6:.1f} MB; splits in {data.splits_dir}",
        flush=True,
    )


def _list_held_out(data: Summary) -> list[Path]:
    """The clips of the test person."""
    pairs = json.loads((data.splits_dir / "test.json").read_text())
    identities = {identity for pair in pairs for identity in pair}
    return [path for path in data.root.rglob("*.mp4") if path.stem.partition("_")[0] in identities]
