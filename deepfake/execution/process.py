"""What a process of a job may use of its machine, and how it ends."""

from __future__ import annotations

import atexit
import dataclasses
import gc
import math
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line is read without what it imports
    from deepfake.crops.extraction import ExtractConfig

# Of a machine's memory, what the children that decode may take together. The rest is for the workers,
# the system, and what Ray's object store really holds: units' numbers, never videos.
CHILDREN_SHARE = 0.7
LEAST_MEMORY_MB = 256


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


def count_memory_mb(system: Path = Path("/")) -> int:
    """MiB that this machine has, or its container's limit where that is less; 0: it does not say."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        found.append(int((system / "proc/meminfo").read_text().split("MemTotal:")[1].split()[0]) // 2**10)
    for group in _list_groups(system, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # "max": none
                found.append(int((group / name).read_text()) // 2**20)
    return min(found, default=0)


@cache
def _share_memory_mb() -> int:
    has = count_memory_mb()
    return max(LEAST_MEMORY_MB, int(CHILDREN_SHARE * has / count_cpus())) if has else sys.maxsize


def fit_to_machine(config: ExtractConfig) -> ExtractConfig:
    """The configuration with no more memory for a worker's child than its share of this machine's."""
    most = min(config.sampling.max_memory_mb, _share_memory_mb())
    return dataclasses.replace(config, sampling=config.sampling.model_copy(update={"max_memory_mb": most}))


def read_quotas(system: Path) -> list[float]:
    """CPUs' worth of time that each control group grants."""
    quotas = []
    for group in _list_groups(system, "cpu"):
        quotas += _read_version_2(group) or _read_version_1(group)
    return quotas


def _list_groups(system: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups of this process and those above them, versions 2 and 1."""
    with suppress(OSError, ValueError):
        for line in (system / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            root = system / "sys/fs/cgroup" / (controller if controllers else "")
            group = root / path.strip("/")
            # A container may see its own group as the root, under another name than the machine's.
            yield from {root, group, *(above for above in group.parents if above.is_relative_to(root))}


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
