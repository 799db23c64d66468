"""How a training job divides a cluster's CPUs between its workers and the tasks that feed them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerResources:
    """What one training worker asks of Ray, for itself and for its input."""

    worker_cpus: float  # reserved by the worker process
    data_cpus: float  # reserved by one decoding task
    data_tasks: int  # decoding tasks of one worker that may run at once
    threads: int  # TensorFlow threads of a CPU worker


_MOST_DATA_TASKS = 8  # of one worker; decoding is far faster than training, so more only hold memory
_MOST_WORKER_CPUS = 0.9
_MOST_DATA_CPUS = 0.01


def divide(
    cpus: float, workers: int, threads: int | None = None, threads_shared: bool = True
) -> WorkerResources:
    """Share ``cpus`` so that every worker and at least two of its decoding tasks can always run.

    A decoding task whose output nobody takes yet keeps its CPU. If the workers' tasks could ever wait for
    each other's CPUs, a worker that waits for its batch while the others wait for it in the all-reduce would
    wait for ever. So the tasks that may run at once are bounded in number for each worker, and ask for next
    to nothing: what is left beside the workers lies in pieces on several machines, and larger tasks might
    fit into none. The workers leave a tenth of a CPU even where half of ``cpus`` are those of a machine that
    has died and that Ray still counts. Ray counts CPUs, it does not bind them: fractions cost nothing.
    """
    share = cpus / workers
    worker_cpus = _floor(min(_MOST_WORKER_CPUS, _MOST_WORKER_CPUS / 2 * share))
    left = share - worker_cpus
    data_tasks = min(max(2, int(left)), _MOST_DATA_TASKS)
    return WorkerResources(
        worker_cpus=worker_cpus,
        data_cpus=min(_MOST_DATA_CPUS, _floor(left / data_tasks)),
        data_tasks=data_tasks,
        threads=threads or max(1, int(cpus // workers if threads_shared else cpus)),
    )


def _floor(share: float) -> float:
    """Rounded down to what Ray can count."""
    return math.floor(share * 1000) / 1000
