"""How a process of a job ends."""

import atexit
import gc
import math
import os
from contextlib import suppress
from pathlib import Path


def skip_final_gc() -> None:
    """Spare this process its last garbage collection: 0.4 s where Ray is imported, for what ends anyway.

    For programs and workers that are the project's own. Some libraries call it a leak (nanobind's).
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)  # what is frozen is not looked at


def count_cpus(system: Path = Path("/")) -> int:
    """CPUs that this process may use: those it is bound to, and no more than its container's quota.

    The quota is that of its control group or of one above it (cgroups.7, version 2 and 1), rounded up;
    ``system`` is where ``proc`` and ``sys`` lie.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *map(math.ceil, read_quotas(system))]))


def read_quotas(system: Path) -> list[float]:
    """CPUs' worth of time that each control group grants."""
    quotas = []
    with suppress(OSError, ValueError):
        for line in (system / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            root = system / "sys/fs/cgroup" / ("cpu" if controllers else "")
            group = root / path.strip("/")
            # A container may see its own group as the root, under another name than the machine's.
            for folder in {root, group, *(above for above in group.parents if above.is_relative_to(root))}:
                quotas += _read_version_2(folder) if not controllers else _read_version_1(folder)
    return quotas


def _read_version_2(folder: Path) -> list[float]:
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return [int(quota) / int(period)]  # "max": none
    return []


def _read_version_1(folder: Path) -> list[float]:
    with suppress(OSError, ValueError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        if quota > 0:
            return [quota / int((folder / "cpu.cfs_period_us").read_text())]
    return []
