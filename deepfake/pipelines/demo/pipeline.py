"""The demo: its data set is made on the spot, then every job runs on it as a user would run it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deepfake.config import DemoJobConfig
from deepfake.errors import Stopped, UsageError
from deepfake.io import lock
from deepfake.io.storage import Storage
from deepfake.outcome import Outcome
from deepfake.pipelines.demo.dataset import DISCLAIMER, Summary, make_archive, make_dataset
from deepfake.pipelines.demo.tour import Step, format_command, list_steps, locate_archive, locate_data

JOBS = Path(__file__).resolve().parents[3] / "jobs"  # of the repository; not there where a wheel is installed


def run(config: DemoJobConfig) -> Outcome:
    """Make the data, run the jobs, say what there is to look at.

    Raises ``UsageError`` for an output that is not local, and ``SystemExit`` with a failed job's status.
    """
    if "://" in config.output:
        raise UsageError(f"--output {config.output}: the demo writes to a local folder")
    if config.limit is not None:
        raise UsageError("--limit: the demo has one size; it takes no limit")
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
    data = make_dataset(locate_data(config.output), config.seed, identities_per_person=config.identities)
    _print_data(data)
    make_archive(locate_archive(config.output), _list_held_out(data))
    seconds["data"] = f"{time.monotonic() - started:.0f} s"

    for number, (step, command) in enumerate(zip(tour, commands, strict=True), start=2):
        started = time.monotonic()
        _print_heading(number, len(tour) + 1, f"{step.name}: {step.says}")
        print(f"$ {format_command(command)}", flush=True)
        status = run_command(command)
        if status != 0:
            print(f"\n{step.name} ended with exit status {status}; the demo stops here", file=sys.stderr)
            raise SystemExit(status)
        seconds[step.name] = f"{time.monotonic() - started:.0f} s"
    print(f"\n{DISCLAIMER}")
    found = [str(Path(config.output, name)) for step in tour for name in step.look_at]
    return Outcome({"took": seconds}, look_at=found)


def run_command(command: Sequence[str]) -> int:
    """Run one job with its output going where ours goes; its exit status. A stop is passed on to it once."""
    # A stop while the job is being started would otherwise leave a process that nobody knows.
    came: list[int] = []
    before = {
        signum: signal.signal(signum, lambda number, _: came.append(number))
        for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        child = subprocess.Popen(command, process_group=0)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    with child:
        try:
            if came:
                raise Stopped(came[0])
            return child.wait()
        except Stopped as stop:
            child.send_signal(stop.signum)
            raise


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
