"""CPUs are divided so that no worker can wait for another's decoding tasks, wherever Ray puts them."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from deepfake.training.resources import WorkerResources, divide


def tasks_that_fit(nodes: list[int], share: WorkerResources, workers: int, rng: random.Random) -> int | None:
    """How many decoding tasks can run beside the workers, put anywhere; None where the workers do not fit."""
    free = [1000 * cpus for cpus in nodes]
    for _ in range(workers):
        able = [i for i, left in enumerate(free) if left >= round(1000 * share.worker_cpus)]
        if not able:
            return None
        free[rng.choice(able)] -= round(1000 * share.worker_cpus)
    return sum(left // round(1000 * share.data_cpus) for left in free)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=8), st.integers(1, 64), st.randoms())
def test_every_worker_and_all_its_tasks_fit_at_once_on_any_machines(
    nodes: list[int], workers: int, rng: random.Random
) -> None:
    share = divide(sum(nodes), workers)
    assert share.worker_cpus > 0 and share.data_cpus > 0 and share.data_tasks >= 1 and share.threads >= 1
    fitting = tasks_that_fit(nodes, share, workers, rng)
    assert fitting is not None and fitting >= workers * (share.data_tasks + share.readers)


@given(st.lists(st.integers(1, 16), min_size=1, max_size=8), st.integers(1, 8), st.randoms())
def test_a_machine_that_died_and_is_still_counted_stops_nobody(
    nodes: list[int], workers: int, rng: random.Random
) -> None:
    """Up to half of what Ray counts may be gone. If the workers are placed at all, they can be fed."""
    share = divide(2 * sum(nodes), workers)
    fitting = tasks_that_fit(nodes, share, workers, rng)
    assert fitting is None or fitting >= workers * (share.data_tasks + share.readers)


def test_a_gpu_gets_all_the_cores_that_are_left() -> None:
    assert divide(16, 1, use_gpu=True).data_tasks == 15 and divide(16, 1).data_tasks == 2
    assert divide(16, 1, use_gpu=True).readers == 3 and divide(2, 2, use_gpu=True).readers == 1
    assert divide(32, 4, use_gpu=True).data_tasks == 7


def test_two_workers_on_two_cores_get_one_thread_each() -> None:
    assert divide(2, 2).threads == 1
    assert divide(2, 1).threads == 2
    assert divide(8, 2, threads=3).threads == 3
