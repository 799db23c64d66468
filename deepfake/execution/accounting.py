"""What a job's time went into: of each worker the seconds by stage, and what came out of a core's hour.

A loader shares the cores of the training worker that it decodes for, which that worker's account has.

A worker's thread keeps a ``StageClock``. After each block it leaves what that says with Ray's head, for the
job, and on a cluster with Ray's metrics. The job takes it at the end of each round of work, and counts a
worker idle from its last word until then. Without workers the job's own thread has a second clock for work.
"""

from __future__ import annotations  # Ray imports its Data, and pandas, where its name is met

import functools
import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa
import ray

from deepfake.execution import nodes, ray_compat
from deepfake.outcome import IDLE, StageClock, get_clock, start_clock, use_clock

Answer: TypeAlias = "pa.Table | Iterator[pa.Table]"  # of a block: one table, or several as they come

START, OTHER = "start", "other"  # loading what a worker needs; in a block, and in no stage that has a name
_KEY = "account/"
# Metrics of a cluster, as cluster/kuberay/dashboard.json asks for them (Ray puts ``ray_`` before a name).
STAGE_METRIC = "deepfake_stage_seconds"  # by ``stage``
COUNT_METRICS = {
    "videos": ("deepfake_videos", "Videos whose rows were written."),
    "crops": ("deepfake_crops", "Crops cut, scored or learned from."),
    "bytes_read": ("deepfake_bytes_read", "Bytes read of videos."),
}
SECONDS_PER_HOUR = 3600


@dataclass
class WorkerAccount:
    """What one worker's thread spent by stage and counted, in all rounds of a job."""

    cpus: float
    loads: bool = False  # a loader
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    counts: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def measure_core_hours(self, *stages: str) -> float:
        """Hours of its cores in some stages; default: all."""
        spent = [self.seconds.get(stage, 0.0) for stage in stages or self.seconds]
        return self.cpus * sum(spent) / SECONDS_PER_HOUR

    def add(self, seconds: Mapping[str, float], counts: Mapping[str, float]) -> None:
        """Add what it spent and counted meanwhile."""
        for mine, more in ((self.seconds, seconds), (self.counts, counts)):
            for name, value in more.items():
                mine[name] += value


@dataclass
class Ledger:
    """The accounts of one job: that of its own thread, and those of its workers by id."""

    job: StageClock
    workers: dict[str, WorkerAccount] = field(default_factory=dict)

    def get_worker(self, name: str, cpus: float, loads: bool = False) -> WorkerAccount:
        """The account of a worker that holds so many CPUs."""
        return self.workers.setdefault(name, WorkerAccount(cpus, loads))

    def take_all(self, idle_since: bool = True) -> None:
        """Take what workers have left with Ray's head; ``idle_since``: they had nothing to do since then."""
        now = time.time()
        for key in ray_compat.list_values(_KEY) if ray.is_initialized() else ():
            data = ray_compat.get_value(key)
            ray_compat.delete_value(key)
            if data is None:
                continue
            left = json.loads(data)
            seconds = defaultdict(float, left["seconds"])
            seconds[IDLE] += max(0.0, now - left["told"]) if idle_since else 0.0
            worker = self.get_worker(key.removeprefix(_KEY), left["cpus"], left["loads"])
            worker.add(seconds, left["counts"])

    def summarize(self, price_core_hour: float | None = None) -> dict[str, Any]:
        """The job's ``accounting``, as docs/scale.md has it; rates leave out the start."""
        total, loaders = WorkerAccount(0.0), WorkerAccount(0.0)
        for one in self.workers.values():
            (loaders if one.loads else total).add(one.seconds, one.counts)
        counts = total.counts
        hours = sum(one.measure_core_hours() for one in self.workers.values())
        begun = hours - sum(one.measure_core_hours(START) for one in self.workers.values())
        found: dict[str, Any] = {
            "job_seconds": _round_all(self.job.copy_seconds()),
            "worker_seconds": _round_all(total.seconds),
            **({"loader_seconds": _round_all(loaders.seconds)} if loaders.seconds else {}),
            "core_hours": round(hours, 6),
            **{name: int(counts[name]) for name in COUNT_METRICS if name in counts},
        }
        for name in COUNT_METRICS:
            if counts[name] and begun:
                found[f"{name}_per_core_hour"] = round(counts[name] / begun)
        if price_core_hour is not None:
            found["cost"] = float(f"{hours * price_core_hour:.4g}")
            if counts["video_seconds"]:
                cost = 1000 * begun * price_core_hour * SECONDS_PER_HOUR / counts["video_seconds"]
                found["cost_of_1000_hours_of_video"] = float(f"{cost:.4g}")
        found["workers"] = [
            {"worker": name, "cpus": one.cpus, **_round_all(one.seconds)}
            for name, one in sorted(self.workers.items())
        ]
        return found


def _round_all(seconds: Mapping[str, float]) -> dict[str, float]:
    """By stage, the longest first."""
    return {name: round(spent, 3) for name, spent in sorted(seconds.items(), key=lambda one: -one[1])}


_current = Ledger(StageClock())


def open_ledger() -> Ledger:
    """Begin the accounts of a job, whose own thread this is."""
    global _current
    _current = Ledger(start_clock())
    return _current


def get_ledger() -> Ledger:
    """The accounts of the job that this process does."""
    return _current


@contextmanager
def work_here(cores: float = 1.0) -> Iterator[Callable[[], Any]]:
    """For work in the job's own thread: what gives a context in which time is that of a worker."""
    clock = StageClock()
    try:
        yield functools.partial(use_clock, clock)
    finally:
        _current.get_worker("this process", cores).add(*clock.take())


class AccountedWorker:
    """A worker of a stage, or in it a thread of several, that leaves its account after each block."""

    def __init__(self, worker: type, arguments: Mapping[str, Any], threads: int = 1) -> None:
        self._lock, self._cpus = threading.Lock(), _count_cpus() / threads
        with get_clock().on(START):
            self._work = worker(**arguments)
        self._first: StageClock | None = get_clock()  # of the thread that begins, wherever this was made

    def __call__(self, block: pa.Table) -> Answer:
        with self._lock:
            if self._first is not None:
                start_clock(self._first)
                self._first = None
        return account_for(block, self._work, self._cpus)


def make_accounted_worker(worker: type) -> type[AccountedWorker]:
    """``AccountedWorker`` by the name of the class that does the work, which Ray shows of its processes."""
    return type(worker.__name__, (AccountedWorker,), {})


def make_accounted_task(function: Callable[..., Answer]) -> Callable[..., Answer]:
    """``account_for`` a function, by its name."""

    def accounted(block: pa.Table, **arguments: Any) -> Answer:
        return account_for(block, function, **arguments)

    # Not all that it is known by, or Ray would send the function itself.
    accounted.__name__ = function.__name__
    return accounted


def account_for(
    block: pa.Table,
    work: Callable[..., Answer],
    cpus: float | None = None,
    **arguments: Any,
) -> Answer:
    """What a function answers for a block, a table or several; its account is left once it is at its end."""
    with get_clock().on(OTHER):
        found = work(block, **arguments)
    if isinstance(found, pa.Table):
        leave_account(cpus)
        return found
    return _account_for_all(iter(found), cpus)


def _account_for_all(found: Iterator[pa.Table], cpus: float | None) -> Generator[pa.Table, None, None]:
    while True:
        with get_clock().on(OTHER):
            table = next(found, None)
        if table is None:
            leave_account(cpus)
            return
        yield table


def leave_account(cpus: float | None = None, loads: bool = False) -> None:
    """Leave what this thread's clock says since the last time with Ray's head, for the job to take.

    ``cpus`` that it holds: default, those that Ray has set aside for it. ``loads``: it is a loader.
    """
    if not ray.is_initialized():
        return
    seconds, counts = get_clock().take()
    key = f"{_KEY}{ray.get_runtime_context().get_worker_id()}-{threading.get_ident()}"
    data = ray_compat.get_value(key)
    account = WorkerAccount(_count_cpus() if cpus is None else cpus, loads)
    if data is not None:
        left = json.loads(data)
        account.add(left["seconds"], left["counts"])
    elif _has_left_before():  # a process that worked in an earlier round, idle until that had ended
        seconds[IDLE] = 0.0
    account.add(seconds, counts)
    ray_compat.put_value(key, json.dumps({**vars(account), "told": time.time()}).encode())
    if not loads and nodes.on_cluster():
        _show_metrics(seconds, counts)


def _count_cpus() -> float:
    return float(ray.get_runtime_context().get_assigned_resources().get("CPU", 0.0))


_left = threading.local()


def _has_left_before() -> bool:
    before, _left.once = getattr(_left, "once", False), True
    return before


def _show_metrics(seconds: Mapping[str, float], counts: Mapping[str, float]) -> None:
    """Add to Ray's metrics, which its agent on each node of a cluster shows to Prometheus."""
    metrics = _make_metrics()
    for stage, spent in seconds.items():
        if spent > 0:
            metrics[STAGE_METRIC].inc(spent, {"stage": stage})
    for name, (metric, _) in COUNT_METRICS.items():
        if counts.get(name):
            metrics[metric].inc(counts[name])


@functools.cache
def _make_metrics() -> dict[str, Any]:
    from ray.util.metrics import Counter as Metric

    made = {STAGE_METRIC: Metric(STAGE_METRIC, "Seconds of workers by stage.", tag_keys=("stage",))}
    return made | {name: Metric(name, words) for name, words in COUNT_METRICS.values()}
