"""Medians, ratios and the table; and what machine they were measured on."""

import os
import platform
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import ray

from deepfake import __version__
from deepfake.execution.process import count_cpus
from deepfake.pipelines.benchmark.baselines import Tally

UNTHREADED = "naive_unthreaded"
FLOOR_ALONE = "floor_one_process"
QUIET_LOAD = 0.5  # above this something else is running, and the numbers say little


@dataclass
class Measurement:
    """One thing, in every run."""

    name: str
    what: str
    processes: int
    whole: bool  # from the clips to their crops, or what stands for it; not one stage
    seconds: list[float] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @property
    def median(self) -> float:
        """Median of the runs' seconds."""
        return statistics.median(self.seconds)

    def describe(self) -> dict[str, Any]:
        """Its entry in ``benchmark.json``."""
        return {
            "name": self.name,
            "what": self.what,
            "processes": self.processes,
            "seconds": [round(value, 4) for value in self.seconds],
            "median_seconds": round(self.median, 4),
            "frames": self.tally.frames,
            "crops": self.tally.crops,
        }


def name_job(detector: str, workers: int, all_workers: int) -> str:
    """Name of the whole job with that detector and so many workers."""
    words = {1: "_one_worker", 2: "_two_workers"}
    return f"job_{detector}" + ("" if workers == all_workers else words[workers])


def compute_ratios(
    measured: Mapping[str, Measurement], configured: str, detectors: Iterable[str], workers: int
) -> dict[str, float | None]:
    """How many times the second's rate the first has; without a suffix for the configured detector.

    ``job_over_naive`` is beside the loop as it is written; where ``naive_unthreaded`` is faster,
    ``job_over_naive_unthreaded`` is the stricter ratio.
    ``two_workers_over_one`` is null on a machine of one core; ``floor_over_one_process`` is what as many
    processes as the job has workers bring where nothing but decoding is done.
    """
    result: dict[str, float | None] = {
        "floor_over_one_process": _divide_medians(measured, "floor", FLOOR_ALONE)
    }
    for detector in (None, *detectors):
        name = detector or configured
        job, suffix = f"job_{name}", f"_{name}" if detector else ""
        for other in ("naive", UNTHREADED, "floor"):
            result[f"{job if detector else 'job'}_over_{other}"] = _divide_medians(measured, job, other)
        result[f"two_workers_over_one{suffix}"] = _divide_medians(
            measured, name_job(name, 2, workers), name_job(name, 1, workers)
        )
    return result


def _divide_medians(measured: Mapping[str, Measurement], first: str, second: str) -> float | None:
    if first not in measured or second not in measured:
        return None
    return round(measured[second].median / measured[first].median, 3)


def format_table(measured: Mapping[str, Measurement]) -> str:
    """Everything measured, for people; ratios are rates, of the whole work only."""
    head = ("", "processes", "median s", "min", "max", "frames/s", "crops/s", "over naive", "over floor")
    rows: list[tuple[str, ...]] = [head]
    for one in measured.values():
        seconds = (one.median, min(one.seconds), max(one.seconds))
        rates = (one.tally.frames / one.median, one.tally.crops / one.median)
        over = [
            _divide_medians(measured, one.name, other) if one.whole else None for other in ("naive", "floor")
        ]
        rows.append(
            (
                one.name,
                str(one.processes),
                *(f"{value:.2f}" for value in seconds),
                *(f"{value:.1f}" if value else "-" for value in rates),
                *("-" if value is None else f"{value:.2f}" for value in over),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


def describe_machine() -> dict[str, Any]:
    """Cores, CPU, versions, and the load average of the last minute; null where the system has none."""
    return {
        "cores": os.cpu_count(),
        "cores_usable": count_cpus(),
        "cpu": _read_cpu(),
        "system": platform.platform(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": {
            "python": platform.python_version(),
            "deepfake": __version__,
            "ray": ray.__version__,
            "av": av.__version__,
            "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
            "opencv": cv2.__version__,
            "numpy": np.__version__,
            "pyarrow": pa.__version__,
        },
    }


def _read_cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
