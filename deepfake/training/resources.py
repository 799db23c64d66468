"""How a training job divides a cluster's CPUs between its workers and the tasks that feed them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerResources:
    """What one training worker asks of Ray, for itself and for its input."""

    worker_cpus: float  # reserved by the worker process
    data_cpus: float  # reserved by one process that decodes, or task that reads
    data_tasks: int  # processes that decode for one worker
    threads: int  # TensorFlow threads of a CPU worker

    @property
    def readers(self) -> int:
        """Tasks of one worker that read stored crops, which takes a tenth of the time that decoding takes."""
        return max(1, self.data_tasks // 5)


# Cores of a CPU worker that one process feeds: a crop of 70 kB is decoded and augmented in 2 ms, one of a
# self-blended pair in 4 (virtual AMD EPYC), and a core learns from one in 70 or more.
_CORES_FED = 8
_MOST_WORKER_CPUS = 0.9
_MOST_DATA_CPUS = 0.01


def divide(
    cpus: float,
    workers: int,
    threads: int | None = None,
    use_gpu: bool = False,
) -> WorkerResources:
    """Share ``cpus`` so that every worker, its readers and what decodes can always run.

    A reading task whose output nobody takes yet keeps its CPU, and so does a process that decodes. If the
    workers' could ever wait for each other's CPUs, a worker that waits for its batch while the others wait
    for it in the all-reduce would wait for ever. So those that may run at once are bounded in number for each
    worker, and ask for next to nothing: what is left beside the workers lies in pieces on several machines,
    and larger ones might fit into none. The workers leave a tenth of a CPU even where half of ``cpus`` are
    those of a machine that has died and that Ray still counts. Ray counts CPUs, it does not bind them:
    fractions cost nothing. A GPU takes all the crops that its share of ``cpus`` can decode.
    """
    share = cpus / workers
    worker_cpus = _floor(min(_MOST_WORKER_CPUS, _MOST_WORKER_CPUS / 2 * share))
    left = share - worker_cpus
    threads = threads or max(1, int(cpus // workers))
    data_tasks = max(1, int(left) if use_gpu else min(int(left), math.ceil(threads / _CORES_FED)))
    readers = WorkerResources(0, 0, data_tasks, 0).readers
    return WorkerResources(
        worker_cpus=worker_cpus,
        data_cpus=min(_MOST_DATA_CPUS, _floor(left / (data_tasks + readers))),
        data_tasks=data_tasks,
        threads=threads,
    )


def _floor(share: float) -> float:
    """Rounded down to what Ray can count."""
    return math.floor(share * 1000) / 1000
