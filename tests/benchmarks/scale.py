"""What an archive of any size would take: a simulation of units on machines that come and go.

python -m tests.benchmarks.scale [--videos 100000000] [--machines 36] [--calibration 1.0] ...
python -m tests.benchmarks.scale --check OUTPUT --workers 2 --calibrate SMALLER_OUTPUT --calibrate_workers 2

The second form puts the prediction for a finished job beside the seconds that it took. The cost of a unit
is the plan's own estimate (``execution.work_units``) times ``calibration``: what a smaller job on the same
kind of videos took over what the simulation gives it. The simulation hands units to free cores, the
costliest first, as the job does; a spot machine is lost at exponential times, the units on it start again
elsewhere, and another machine comes after ``replacement`` seconds.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from deepfake.execution import work_units

SAMPLE = 200_000  # videos that stand for all others of a larger archive


@dataclass(frozen=True)
class Machines:
    """The decoding machines of a cluster."""

    count: int
    cores: int
    losses_an_hour: float  # of one machine
    replacement: float  # seconds until another one is there
    start: float  # seconds before a core does its first work


@dataclass(frozen=True)
class Outcome:
    """What the simulation says of one job."""

    seconds: float
    core_seconds: float  # of work that counted
    lost_core_seconds: float  # of work that was done again
    losses: int


def simulate(units: np.ndarray, machines: Machines, seed: int = 0) -> Outcome:
    """Run units of so many core seconds each, ``(n,) float64``, costliest first."""
    random = np.random.default_rng(seed)
    waiting = list(np.sort(units))  # the costliest is taken from the end
    rate = machines.losses_an_hour / 3600

    def next_loss(now: float) -> float:
        return now + random.exponential(1 / rate) if rate else float("inf")

    gone = [next_loss(0.0) for _ in range(machines.count)]
    free = [(machines.start, machine) for machine in range(machines.count) for _ in range(machines.cores)]
    heapq.heapify(free)
    end = counted = lost = 0.0
    losses = 0
    while waiting:
        now, machine = heapq.heappop(free)
        while gone[machine] <= now:  # it went, and came back, while this core waited
            losses += 1
            back = gone[machine] + machines.replacement + machines.start
            gone[machine] = next_loss(back)
            now = max(now, back)
        cost = waiting.pop()
        if now + cost > gone[machine]:
            lost += gone[machine] - now
            waiting.append(cost)
            heapq.heappush(free, (gone[machine], machine))
            continue
        counted += cost
        end = max(end, now + cost)
        heapq.heappush(free, (now + cost, machine))
    return Outcome(end, counted, lost, losses)


def archive_units(videos: int, megabytes: float, skew: float, seed: int = 0) -> np.ndarray:
    """(n,) float64: estimated seconds of the units of an archive whose sizes are log-normal."""
    random = np.random.default_rng(seed)
    sample = min(videos, SAMPLE)
    sizes = random.lognormal(np.log(megabytes), skew, sample)
    seconds = work_units.VIDEO_SECONDS + sizes * work_units.SECONDS_PER_MEGABYTE
    total = float(seconds.sum()) * videos / sample
    target = max(min(total / work_units.UNITS, work_units.MAX_UNIT_SECONDS), total / work_units.MOST_UNITS)
    until = np.cumsum(seconds)
    units, start = [], 0.0
    while start < until[-1]:
        stop = float(until[min(int(np.searchsorted(until, start + target)), sample - 1)])
        units.append(stop - start)
        start = stop
    return random.choice(units, round(len(units) * videos / sample))


def predict(options: argparse.Namespace) -> str:
    """The table for an archive that does not exist yet."""
    units = archive_units(options.videos, options.megabytes, options.skew)
    machines = Machines(options.machines, options.cores, options.losses, options.replacement, options.start)
    one = simulate(units * options.calibration, machines)
    hours = one.seconds / 3600
    bytes_read = options.videos * options.megabytes * 1e6 * np.exp(options.skew**2 / 2)
    video_hours = bytes_read * 8 / (options.megabits * 1e6) / 3600
    crops = options.videos * options.crops
    staged = len(units)
    rows = {
        "videos": f"{options.videos:,}",
        "bytes": f"{bytes_read / 1e12:,.1f} TB",
        "hours of video": f"{video_hours:,.0f}",
        "units": f"{staged:,.0f} of {units.mean() * options.calibration:,.0f} s",
        "machine hours": f"{hours * options.machines:,.0f} ({options.machines} for {hours:,.1f} h)",
        "work done twice": f"{one.lost_core_seconds / one.core_seconds:.2%}",
        "crops": f"{crops:,.0f}, {crops * options.crop_kb / 1e9:,.2f} TB",
        "part files": f"{np.ceil(crops * options.crop_kb * 1e3 / (256 * 2**20)):,.0f}",
        # a HEAD, a ranged GET for each 5 MB of a video; a unit writes two files, which are read back once
        "S3 GET and HEAD": f"{options.videos * 2 + bytes_read / 5e6 + staged * 4:,.0f}",
        "S3 PUT, LIST": f"{staged * 2 + staged / 500 + crops * options.crop_kb * 1e3 / 50e6:,.0f}",
        "manifest in memory": f"{options.videos * options.row_bytes / 1e9:,.1f} GB",
        "cost per 1000 h of video": f"{hours * options.machines / video_hours * 1000 * options.price:,.2f} "
        f"at {options.price} a machine hour",
    }
    return "\n".join(f"{name:<26} {value}" for name, value in rows.items())


@dataclass(frozen=True)
class Finished:
    """A finished preprocess job: its units as planned, and what it took."""

    videos: int
    units: np.ndarray  # (n,) float64, estimated core seconds
    seconds: float  # from the first unit handed out to the last one done

    def simulated(self, workers: int) -> float:
        """Seconds that the simulation gives it with calibration 1."""
        return simulate(self.units, Machines(1, workers, 0.0, 0.0, 0.0)).seconds


def finished(output: Path) -> Finished:
    """What a finished preprocess job left about itself."""
    manifest = pq.read_table(output / "_manifest.parquet", columns=["video_id", "size_bytes"])
    summary = json.loads((output / "_summary.json").read_text())
    plan = work_units.plan_units(manifest.append_column("modified", manifest["size_bytes"]), "0" * 64)
    units = np.array([unit.seconds for unit in plan])
    return Finished(manifest.num_rows, units, summary["working_seconds"])


def check(output: Path, workers: int, calibration: float) -> str:
    """Predicted and measured seconds of a finished job, and the calibration that it shows itself."""
    job = finished(output)
    simulated = job.simulated(workers)
    return (
        f"{job.videos} videos, {len(job.units)} units, {workers} workers: predicted "
        f"{simulated * calibration:.1f} s with calibration {calibration:.3f}, measured {job.seconds:.1f} s "
        f"(predicted / measured {simulated * calibration / job.seconds:.2f}); "
        f"its own calibration: {job.seconds / simulated:.3f}"
    )


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    numbers = {
        "videos": 100_000_000, "machines": 36, "cores": 16, "losses": 0.05, "replacement": 180.0,
        "start": 15.0, "calibration": 1.0, "megabytes": 10.0, "skew": 1.0, "megabits": 2.0, "crops": 20.0,
        "crop_kb": 60.0, "row_bytes": 200.0, "price": 0.3, "workers": 2,
    }  # fmt: skip
    for name, value in numbers.items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--check", type=Path)
    parser.add_argument("--calibrate", type=Path)
    parser.add_argument("--calibrate_workers", type=int, default=2)
    options = parser.parse_args()
    if options.calibrate:
        smaller = finished(options.calibrate)
        options.calibration = smaller.seconds / smaller.simulated(options.calibrate_workers)
    done = check(options.check, options.workers, options.calibration) if options.check else predict(options)
    sys.stdout.write(done + "\n")


if __name__ == "__main__":
    main()
