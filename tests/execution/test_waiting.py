"""What is said of a cluster that has no room, and when waiting is given up."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import ray

from deepfake.errors import JobError
from deepfake.execution import waiting
from deepfake.execution.waiting import Holder, Node, Room
from tests.processes import wait_until

CPU, GPU = {"CPU": 1.0}, {"GPU": 1.0}


def node(cpus: float, free: float, name: str = "a") -> Node:
    return Node(name, {"CPU": cpus}, {"CPU": free})


def holder(cpus: float, who: str, drives: bool = False, own: bool = False) -> Holder:
    return Holder("a", who, drives, own, {"CPU": cpus})


def room(nodes: list[Node], holders: list[Holder], starting: Mapping[str, int] | None = None) -> Room:
    return Room(nodes, holders, starting or {})


def test_words_say_what_is_free_who_holds_the_rest_and_what_is_started() -> None:
    words = room([node(4, 0)], [holder(3, "job 02 (train.py)")], {"cpu": 2}).put_in_words(CPU)
    assert "0 of the cluster's 4 CPUs are free" in words
    assert "held by job 02 (train.py) (3)" in words
    assert "nodes being started: 2 cpu" in words


def test_what_another_job_holds_comes_free_one_day() -> None:
    assert not waiting.is_hopeless(room([node(1, 0)], [holder(1, "job 02")]), CPU)


def test_a_driver_that_holds_the_last_cpu_is_named_with_what_to_do() -> None:
    full = room([node(1, 0)], [holder(1, "this job's own process", drives=True, own=True)])
    assert waiting.is_hopeless(full, CPU)
    refusal = waiting.word_refusal(full, CPU)
    assert "needs 1 CPU" in refusal and "this job's own process holds 1 of the cluster's 1 CPUs" in refusal
    assert "without --entrypoint-num-cpus" in refusal


def test_a_node_that_is_being_started_is_hope() -> None:
    assert waiting.is_hopeless(room([], []), CPU)
    assert not waiting.is_hopeless(room([], [], {"cpu": 1}), CPU)


def test_a_gpu_that_no_node_has_is_refused_with_both_sides() -> None:
    refusal = waiting.word_refusal(room([node(4, 4)], []), GPU)
    assert "needs 1 GPU" in refusal and "largest node of the cluster has 0 GPUs" in refusal


def test_a_worker_s_share_of_a_node_leaves_out_what_others_hold() -> None:
    shared = room([node(4, 0)], [holder(1, "driver", drives=True, own=True), holder(2, "this job", own=True)])
    assert shared.subtract_others(shared.nodes[0]) == {"CPU": 3.0}


def test_room_is_waited_for_until_another_gives_it_back(ray_session: None) -> None:
    class Holds:
        def here(self) -> bool:
            return True

    other = ray.remote(num_cpus=ray.cluster_resources()["CPU"])(Holds).remote()
    assert ray.get(other.here.remote())
    wait_until(lambda: not waiting.look_at_cluster().free_for(CPU))
    (found,) = [one for one in waiting.look_at_cluster().holders if one.own]
    assert found.held == {"CPU": ray.cluster_resources()["CPU"]}
    ray.kill(other)
    waiting.wait_for_room(CPU, 2)


def test_what_a_cluster_will_never_have_ends_the_waiting(
    ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "FIRST_WORD_SECONDS", 0.0)
    monkeypatch.setattr(waiting, "GIVE_UP_SECONDS", 1.0)
    with pytest.raises(JobError, match="needs 1 GPU, and the largest node of the cluster has 0 GPUs"):
        waiting.wait_for_room(GPU, 1)


def test_a_job_that_has_lost_its_last_worker_says_what_it_waits_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WORD_SECONDS", 0.01)
    seen = room([node(2, 0)], [holder(2, "job 02 (train.py)")])
    monkeypatch.setattr(waiting, "look_at_cluster", lambda: seen)
    with waiting.tell_where_none_works(CPU):
        wait_until(lambda: "waiting for a worker's 1 CPU: 0 of the cluster's 2 CPUs are free" in caplog.text)
    assert "held by job 02 (train.py) (2)" in caplog.text

    caplog.clear()
    looks = []
    mine = room([node(2, 0)], [holder(1, "this job", own=True), holder(1, "job 02 (train.py)")])
    monkeypatch.setattr(waiting, "look_at_cluster", lambda: looks.append(1) or mine)
    with waiting.tell_where_none_works(CPU):
        wait_until(lambda: len(looks) > 2)
    assert not caplog.text, "one that works is enough"
