"""The memory of a preprocess job over its time, on many names of the same clips; asserts nothing.

python -m tests.benchmarks.memory --input CLIPS [--copies 200] [-- more words of jobs/preprocess.py]

Every clip is linked under ``--copies`` names and ``catalog.dedupe`` is off, so that each is decoded. While
the job runs, the proportional set size (Pss: shared pages are divided among those who share them) of all its
processes is added up again and again. Printed are the peaks of the first and of the second half of the
videos, their ratio, and what Ray's raylet counted as spilled.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from deepfake.catalog.media import is_footage
from tests import running
from tests.processes import descendants

SECONDS = 2.0  # between two looks
SPILLED = re.compile(r"^- (?:num|cumulative).*spill.*: *(\d+)", re.M | re.I)


@dataclass(frozen=True)
class Look:
    """One moment of the job."""

    seconds: float  # since its start
    videos: int  # in finished units
    mib: float  # Pss of all processes


def linked(clips: Path, names: Path, copies: int) -> int:
    """Link every video below ``clips`` under so many names, folders kept; how many names there are."""
    count = 0
    for clip in sorted(path for path in clips.rglob("*") if is_footage(path.name)):
        for number in range(copies):
            name = names / clip.relative_to(clips).with_stem(f"{clip.stem}_{number:04d}")
            name.parent.mkdir(parents=True, exist_ok=True)
            name.symlink_to(clip.resolve())
            count += 1
    return count


def mib(pid: int, alone: bool = False) -> float:
    """MiB of a process, and of all below it unless it is looked at ``alone``."""
    total = 0
    for each in (pid, *(() if alone else descendants(pid))):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total / 1024


def finished(output: Path) -> int:
    """Videos in the units that are complete."""
    count = 0
    for path in (output / "_work" / "videos").glob("*.parquet"):
        try:
            count += pq.read_metadata(path).num_rows
        except (OSError, ValueError):  # joined away meanwhile
            continue
    return count


def watch(job: subprocess.Popen[bytes], output: Path) -> list[Look]:
    """Looks at the job until it ends."""
    began, looks = time.monotonic(), []
    while job.poll() is None:
        looks.append(Look(time.monotonic() - began, finished(output), mib(job.pid)))
        time.sleep(SECONDS)
    return looks


def spilled(ray_folder: Path) -> dict[str, int]:
    """What the raylets' last reports of their state say of spilling, by the report's words."""
    found: dict[str, int] = {}
    for report in ray_folder.rglob("debug_state.txt"):
        for match in SPILLED.finditer(report.read_text(errors="replace")):
            found[match[0].rpartition(":")[0].strip("- ")] = int(match[1])
    return found


def main() -> int:
    """Run the job and print the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--input", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mem") as name:  # a short name: Ray's sockets lie in it
        folder = Path(name)
        videos = linked(options.input, folder / "in", options.copies)
        output = folder / "out"
        command = running.command(
            "preprocess", "--input", folder / "in", "--output", output, "--catalog.dedupe", "false",
            *options.words,
        )  # fmt: skip
        environment = running.environment({"RAY_TMPDIR": str(folder / "ray")})
        (folder / "ray").mkdir()
        with (folder / "log").open("wb") as log:
            job = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            looks = watch(job, output)
        if job.returncode:
            print((folder / "log").read_text(errors="replace"), file=sys.stderr)
            return 1
        middle = next(number for number, look in enumerate(looks) if look.videos >= videos / 2)
        first, second = (max(look.mib for look in half) for half in (looks[:middle], looks[middle:]))
        tenths = looks[:: max(1, len(looks) // 10)]
        print(json.dumps({
            "videos": videos,
            "seconds": round(looks[-1].seconds, 1),
            "peak_first_half_mib": round(first),
            "peak_second_half_mib": round(second),
            "second_over_first": round(second / first, 3),
            "spilled": spilled(folder / "ray"),
            "looks": [{"seconds": round(x.seconds), "videos": x.videos, "mib": round(x.mib)} for x in tenths],
        }))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
