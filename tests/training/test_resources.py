"""CPUs are divided so that no worker can wait for another's decoding tasks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from deepfake.resources import divide


@given(st.integers(1, 512), st.integers(1, 64))
def test_every_worker_and_all_its_tasks_fit_at_once(cpus: int, workers: int) -> None:
    share = divide(cpus, workers)
    assert share.worker_cpus > 0 and share.data_cpus > 0 and share.data_tasks >= 2
    assert workers * (share.worker_cpus + share.data_tasks * share.data_cpus) <= cpus + 1e-9
    assert share.threads >= 1


def test_two_workers_on_two_cores_get_one_thread_each() -> None:
    assert divide(2, 2).threads == 1
    assert divide(2, 1).threads == 2
    assert divide(8, 2, threads=3).threads == 3
