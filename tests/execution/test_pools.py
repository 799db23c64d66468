"""How many workers a stage gets, and why no more."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import ray
import ray.data

from deepfake.config import RayConfig
from deepfake.execution import pools
from tests.processes import wait_until

CLUSTER = RayConfig(address="127.0.0.1:1")


@pytest.fixture(autouse=True)
def _no_cluster_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def test_a_cluster_is_asked_for_as_many_workers_as_there_are_units() -> None:
    workers = pools.plan_workers(CLUSTER, units=66, fitting=2)
    assert (workers.now, workers.most, workers.asked) == (2, 66, 66)
    assert str(workers) == "2 now, 66 at most (the units to do)"


def test_an_empty_cluster_has_one_worker_now_whose_place_is_waited_for() -> None:
    assert pools.plan_workers(CLUSTER, units=66, fitting=0).now == 1


def test_workers_that_are_configured_are_the_most() -> None:
    workers = pools.plan_workers(CLUSTER.model_copy(update={"workers": 3}), units=66, fitting=8)
    assert (workers.now, workers.most, workers.bound) == (3, 3, "ray.workers")


def test_a_cluster_that_says_what_it_may_start_is_asked_for_no_more() -> None:
    workers = pools.plan_workers(CLUSTER, units=66, fitting=2, could=8)
    assert str(workers) == "2 now, 8 at most (what the cluster may start)"
    assert pools.plan_workers(CLUSTER, units=5, fitting=2, could=8).most == 5
    assert pools.plan_workers(CLUSTER, units=66, fitting=2, could=0).most == 2


def test_an_embedded_ray_does_not_grow() -> None:
    workers = pools.plan_workers(RayConfig(), units=66, fitting=2)
    assert (workers.now, workers.most, workers.asked) == (2, 2, 2)


def test_no_more_workers_are_asked_for_at_once_than_a_cluster_s_head_can_bear() -> None:
    assert pools.plan_workers(CLUSTER, units=100_000, fitting=2).asked == pools.ASKED_AT_ONCE
    assert pools.plan_workers(CLUSTER, units=100_000, fitting=4096).asked == 4096


def test_a_pool_grows_from_what_has_a_place_to_what_there_is_work_for() -> None:
    strategy = pools.make_actor_pool(pools.plan_workers(CLUSTER, units=1000, fitting=2))
    assert (strategy.min_size, strategy.initial_size, strategy.max_size) == (2, pools.ASKED_AT_ONCE, 1000)


class _Unit:
    """One that lasts until a file is there, or no time at all."""

    def __call__(self, block: pa.Table) -> pa.Table:
        [until] = block["until"].to_pylist()
        if until:
            wait_until(Path(until).exists)
        return block


def test_a_worker_without_work_is_let_go_while_the_last_long_unit_runs(
    tmp_path: Path, ray_session: None
) -> None:
    end = str(tmp_path / "end")
    blocks = [pa.table({"until": [until]}) for until in [end, *[""] * 5]]
    results = ray.data.from_blocks(blocks).map_batches(
        _Unit,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=1,
        compute=pools.make_actor_pool(pools.plan_workers(RayConfig(), len(blocks), 2)),
    )
    passed = iter(pools.tune_for_one_stage(results).iter_batches(batch_size=None, prefetch_batches=0))
    for _ in range(4):  # all but the long one and the one that its worker has at hand
        next(passed)
    wait_until(lambda: ray.available_resources().get("CPU", 0) == 1)
    Path(end).touch()
    assert len(list(passed)) == 2
