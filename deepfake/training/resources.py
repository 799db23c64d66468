"""What a training worker asks of Ray for its place, and how it divides the node on which it then lies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Cores of a CPU worker that one process feeds: a crop of 70 kB is decoded and augmented in 2 ms, one of a
# self-blended pair in 4 (virtual AMD EPYC), and a core learns from one in 70 or more.
_CORES_FED = 8
# What a worker asks for is less than its core, so that the job's own process finds a place beside it, and
# less than half of its share of all CPUs: Ray still counts nodes that have died.
_OF_A_CORE, _OF_A_SHARE = 0.9, 0.45


@dataclass(frozen=True)
class WorkerResources:
    """What one training worker takes of its node, for itself and for its input."""

    data_tasks: int  # processes that decode for the worker
    threads: int  # TensorFlow threads of a CPU worker

    @property
    def readers(self) -> int:
        """Tasks of one worker that read stored crops, which takes a tenth of the time that decoding takes."""
        return max(1, self.data_tasks // 5)

    def count_cores(self, use_gpu: bool) -> int:
        """Cores of its node that the worker and what decodes for it share."""
        return self.data_tasks + 1 if use_gpu else self.threads


@dataclass(frozen=True)
class NodeSize:
    """A node of a cluster, or one that it may start."""

    cpus: float
    gpus: float = 0.0


def reserve_cpus(
    nodes: Sequence[NodeSize],
    workers: int,
    threads: int | None = None,
    use_gpu: bool = False,
    elastic: bool = False,
) -> float:
    """CPUs that Ray sets aside for each worker, so that all workers find a place on the ``nodes``.

    Ray counts CPUs, it does not bind them: a worker asks for less than a core, and for less than its share.
    One of so many ``threads`` asks for them where all find a place without the largest node, which may be
    another job's, so that a cluster starts as many nodes. ``nodes`` may be empty: none is started yet.
    Where the number of workers is ``elastic``, what each asks for must not depend on the nodes of the moment.
    """
    if use_gpu:
        shares = [node.cpus / node.gpus for node in nodes if node.gpus]
        return _round_down(min([_OF_A_CORE, *(_OF_A_SHARE * share for share in shares)]))
    if threads:
        asked = _round_down(_OF_A_CORE * threads)
        if elastic:
            return asked
        places = sorted(math.floor(node.cpus / asked) for node in nodes)
        if sum(places[:-1]) >= workers:
            return asked
    cpus = sum(node.cpus for node in nodes) or workers
    return _round_down(min(_OF_A_CORE, _OF_A_SHARE * cpus / workers))


def divide_node(
    cpus: float, workers: int, threads: int | None = None, use_gpu: bool = False
) -> WorkerResources:
    """What each of the ``workers`` on a node of so many CPUs takes of it.

    A GPU takes all the crops that its share of the CPUs can decode. What reads and decodes asks Ray for
    nothing: a worker that waited for its batch while the others wait for it in the all-reduce, and hold what
    it waits for, would wait for ever.
    """
    share = max(1, int(cpus // workers))
    threads = threads or share
    data_tasks = max(1, share - 1) if use_gpu else min(share, math.ceil(threads / _CORES_FED))
    return WorkerResources(data_tasks, threads)


def _round_down(share: float) -> float:
    """Rounded down to what Ray can count."""
    return math.floor(share * 1000) / 1000
