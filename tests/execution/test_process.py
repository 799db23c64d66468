"""What a process may use of its machine, and how it ends."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops.extraction import ExtractConfig
from deepfake.execution import process
from deepfake.execution.process import count_cpus
from tests.running import ROOT

JOB = (
    "from deepfake import cli, config, outcome; "
    "cli.run(config.JobConfig, lambda _: outcome.Outcome(), ['--dry-run'])"
)


@pytest.mark.parametrize(
    ("work", "frozen"),
    [
        ("0", False),
        ("from deepfake.execution import process; process.skip_final_gc(); process.skip_final_gc()", True),
        ("from deepfake.__main__ import run_job; run_job('score', 'deepfake score', ['--help'])", True),
        (JOB, False),
    ],
    ids=["as ever", "asked for", "a job's program", "a job inside another program"],
)
def test_only_our_own_programs_end_without_a_last_garbage_collection(work: str, frozen: bool) -> None:
    seen = "import atexit, gc; atexit.register(lambda: print('frozen', gc.get_freeze_count() > 0))"
    done = subprocess.run(
        [sys.executable, "-c", f"{seen}; {work}", "--dry-run"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == f"frozen {frozen}"


def test_a_process_counts_the_cpus_that_it_is_bound_to() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from deepfake.execution.process import count_cpus; print(count_cpus())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "150000 100000"}, [1.5]),
        ("0::/\n", {"sys/fs/cgroup/cpu.max": "max 100000"}, []),
        (
            "0::/pod/box\n",
            {"sys/fs/cgroup/pod/box/cpu.max": "max 100000", "sys/fs/cgroup/pod/cpu.max": "50000 100000"},
            [0.5],
        ),
        (
            "3:cpuset:/\n1:cpu,cpuacct:/box\n0::/\n",
            {
                "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us": "400000",
                "sys/fs/cgroup/cpu/box/cpu.cfs_period_us": "100000",
            },
            [4.0],
        ),
        ("1:cpu:/box\n", {"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, []),
        ("nonsense\n", {}, []),
    ],
    ids=["v2", "v2 without", "v2 above", "v1", "v1 without", "unknown"],
)
def test_a_container_s_quota_bounds_the_cpus(
    tmp_path: Path, groups: str, files: dict[str, str], expected: list[float]
) -> None:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    mine = len(os.sched_getaffinity(0))
    assert count_cpus(tmp_path) == max(1, min([mine, *map(math.ceil, expected)]))
    assert process.read_quotas(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/meminfo": "MemTotal:  33554432 kB\nMemFree: 1 kB\n"}, 32768),
        (
            {"proc/meminfo": "MemTotal: 33554432 kB\n", "sys/fs/cgroup/pod/memory.max": str(28 * 2**30)},
            28 * 1024,
        ),
        ({"proc/meminfo": "MemTotal: 1048576 kB\n", "sys/fs/cgroup/pod/memory.max": "max\n"}, 1024),
        ({"sys/fs/cgroup/memory/pod/memory.limit_in_bytes": str(2**30)}, 1024),
        ({}, 0),
    ],
    ids=["a machine", "v2", "v2 without", "v1", "unknown"],
)
def test_a_container_s_limit_bounds_the_memory(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in {"proc/self/cgroup": "3:memory:/pod\n0::/pod\n", **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert process.count_memory_mb(tmp_path) == expected


def test_the_children_of_all_workers_together_leave_memory_to_others() -> None:
    config = ExtractConfig(SamplingConfig(max_memory_mb=10**6), DetectorConfig(name="haar"), CropConfig())
    fitted = process.fit_to_machine(config)
    assert fitted.sampling.max_memory_mb * count_cpus() < process.count_memory_mb()
    small = dataclasses.replace(config, sampling=SamplingConfig(max_memory_mb=256))
    assert process.fit_to_machine(small) == small
