"""What Ray takes of a machine's processors while a preprocess or score job runs; asserts nothing.

python -m tests.benchmarks.ray_idle [--seconds 60]

Blocks pass through Ray Data and its workers, one worker a core, as a job's units do, but the workers only
sleep: whatever processor time is used is Ray's. What is left is the most that a job can get of what the
same processes would get without Ray.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import pyarrow as pa
import ray.data

from deepfake.config import RayConfig
from deepfake.execution import pools, session
from deepfake.execution.process import count_cpus
from tests.processes import descendants

UNIT_SECONDS = 1.5  # of a worker; a video of FaceForensics++ takes so long
WARM_UNITS = 4  # before the clock starts: workers and Ray's own helpers are imported by then
SHOWN = 0.1  # percent of a core, from which a process is listed


class Sleep:
    """A worker that does nothing."""

    def __call__(self, block: pa.Table) -> pa.Table:
        time.sleep(UNIT_SECONDS)
        return block


def processor_seconds() -> dict[int, tuple[str, float]]:
    """Name, and processor seconds so far, of this process and all below it."""
    found = {}
    for pid in (os.getpid(), *descendants(os.getpid())):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks = int(fields[11]) + int(fields[12])  # proc(5): utime and stime
        found[pid] = (name_of(pid, words), ticks / os.sysconf("SC_CLK_TCK"))
    return found


def name_of(pid: int, words: list[str]) -> str:
    """What a process is called in Ray's own words, or by the program that it runs."""
    if pid == os.getpid():
        return "the job's own process, Ray Data's scheduling in it"
    script = next((word for word in words[1:] if word.endswith(".py")), words[0])
    return words[0] if words[0].startswith("ray::") else Path(script).name


def main() -> None:
    """Let the blocks pass, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    cores = count_cpus()
    count = max(3 * WARM_UNITS, round(options.seconds / UNIT_SECONDS) * cores)
    with session.open_session(RayConfig(num_cpus=cores)):
        blocks = ray.data.from_blocks([pa.table({"unit": [number]}) for number in range(count)])
        through = blocks.map_batches(
            Sleep,
            num_cpus=1,
            batch_size=None,
            batch_format="pyarrow",
            compute=pools.make_actor_pool(pools.Workers(cores, cores, "the CPUs")),
        )
        passed = iter(
            pools.tune_for_one_stage(through).iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            )
        )
        for _ in range(WARM_UNITS):
            next(passed)
        before, began = processor_seconds(), time.perf_counter()
        for _ in range(count - 2 * WARM_UNITS):
            next(passed)
        after, seconds = processor_seconds(), time.perf_counter() - began
        for _ in passed:  # to its end, for Ray Data would go on by itself
            pass
    spent = {pid: used - before.get(pid, ("", 0.0))[1] for pid, (_, used) in after.items()}
    for pid in sorted(spent, key=lambda pid: -spent[pid]):
        if spent[pid] / seconds * 100 >= SHOWN:
            sys.stdout.write(f"{spent[pid] / seconds:7.2%} of a core  {after[pid][0]}\n")
    whole = sum(spent.values()) / seconds
    sys.stdout.write(f"{whole:7.2%} of a core, {whole / cores:.2%} of {cores} cores, over {seconds:.0f} s\n")


if __name__ == "__main__":
    main()
