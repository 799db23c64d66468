"""Workers find a place on whatever nodes there are, and divide the one on which they lie."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from deepfake.training.resources import NodeSize, divide_node, reserve_cpus


def are_placed(nodes: list[int], cpus: float, workers: int, rng: random.Random) -> bool:
    """Whether all workers find a place, wherever the first ones are put."""
    free = [1000 * node for node in nodes]
    for _ in range(workers):
        able = [i for i, left in enumerate(free) if left >= round(1000 * cpus)]
        if not able:
            return False
        free[rng.choice(able)] -= round(1000 * cpus)
    return True


@given(
    st.lists(st.integers(1, 64), min_size=1, max_size=8),
    st.integers(1, 64),
    st.none() | st.integers(1, 16),
    st.randoms(),
)
def test_every_worker_finds_a_place_on_any_nodes(
    nodes: list[int], workers: int, threads: int | None, rng: random.Random
) -> None:
    cpus = reserve_cpus([NodeSize(node) for node in nodes], workers, threads)
    assert cpus > 0 and are_placed(nodes, cpus, workers, rng)


@given(st.lists(st.integers(1, 16), min_size=1, max_size=8), st.integers(1, 8), st.randoms())
def test_nodes_that_died_and_are_still_counted_stop_nobody(
    nodes: list[int], workers: int, rng: random.Random
) -> None:
    """Up to half of what Ray counts may be gone, or another job's."""
    cpus = reserve_cpus([NodeSize(node) for node in 2 * nodes], workers)
    assert are_placed(nodes, cpus, workers, rng)


def test_workers_ask_for_their_threads_where_the_cluster_has_or_starts_nodes_for_them() -> None:
    assert reserve_cpus([NodeSize(8)] * 4, 3, threads=8) == 7.2
    assert reserve_cpus([NodeSize(8)] * 4, 4, threads=8) == 0.9  # one may be another job's
    assert reserve_cpus([NodeSize(2)], 1, threads=8) == 0.9


def test_workers_that_come_and_go_ask_for_the_same_whatever_nodes_there_are() -> None:
    for nodes in ([], [NodeSize(2)], [NodeSize(2)] * 9):
        assert reserve_cpus(nodes, 8, threads=2, elastic=True) == 1.8
    gpus = [NodeSize(16, 2)]
    assert reserve_cpus(gpus, 8, use_gpu=True, elastic=True) == reserve_cpus(gpus, 1, use_gpu=True)


def test_a_cluster_without_nodes_is_asked_for_some() -> None:
    assert 0 < reserve_cpus([], 2) < 0.5
    assert 0 < reserve_cpus([NodeSize(0)], 2, use_gpu=True) < 1


def test_a_worker_asks_for_the_cpus_of_its_gpus_share() -> None:
    assert reserve_cpus([NodeSize(64), NodeSize(4, 4)], 4, use_gpu=True) == 0.45
    assert reserve_cpus([NodeSize(64), NodeSize(0, 1)], 1, use_gpu=True) == 0


def test_a_gpu_gets_all_the_cores_that_are_left() -> None:
    assert divide_node(16, 1, use_gpu=True).data_tasks == 15 and divide_node(16, 1).data_tasks == 2
    assert divide_node(16, 1, use_gpu=True).readers == 3 and divide_node(2, 2, use_gpu=True).readers == 1
    assert divide_node(32, 4, use_gpu=True).data_tasks == 7


def test_two_workers_on_two_cores_get_one_thread_each() -> None:
    assert divide_node(2, 2).threads == 1
    assert divide_node(2, 1).threads == 2
    assert divide_node(8, 2, threads=3).threads == 3
    assert divide_node(1, 2) == divide_node(0, 1)
