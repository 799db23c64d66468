"""A thread's clock: its stages are all of its time, and what another process says takes from them alone."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from deepfake.outcome import StageClock, describe_accounting, get_clock, start_clock, use_clock


def burn(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_the_stages_of_a_clock_are_all_of_its_time() -> None:
    began = time.monotonic()
    clock = StageClock()
    with clock.on("decode"):
        burn(0.02)
        with clock.on("read"):
            burn(0.01)
        burn(0.01)
    with pytest.raises(ZeroDivisionError), clock.on("score"):
        1 / 0  # noqa: B018
    burn(0.01)
    spent = clock.copy_seconds()
    assert sum(spent.values()) == pytest.approx(time.monotonic() - began, rel=0.03)
    assert spent["decode"] >= 0.03 and spent["read"] >= 0.01 and spent["idle"] >= 0.01
    assert spent.keys() == {"decode", "read", "score", "idle"}


def test_what_another_process_spent_is_taken_from_the_wait_for_it_and_no_more_than_that() -> None:
    began, clock = time.monotonic(), StageClock()
    with clock.on("isolate"):
        burn(0.02)
        clock.divide({"decode": 0.006, "detect": 0.002}, most=0.02)
    before = clock.copy_seconds()
    assert (before["decode"], before["detect"]) == (0.006, 0.002)
    assert before["isolate"] >= 0.012 and sum(before.values()) >= 0.02
    with clock.on("isolate"):
        clock.divide({"decode": 3e6, "detect": 1e6}, most=0.004)
    after = clock.copy_seconds()
    assert sum(after.values()) == pytest.approx(time.monotonic() - began, rel=0.03)
    assert after["decode"] - before["decode"] == pytest.approx(0.003)
    assert after["detect"] - before["detect"] == pytest.approx(0.001)


def test_what_was_taken_is_not_taken_again() -> None:
    clock = StageClock()
    clock.count(videos=2, bytes_read=5)
    clock.count(videos=1)
    clock.enter("score")
    burn(0.002)
    seconds, counts = clock.take()
    assert counts == {"videos": 3, "bytes_read": 5} and seconds["score"] >= 0.002
    again, none = clock.take()
    assert again.keys() == {"score"} and again["score"] < seconds["score"] and none == {}


def test_each_thread_has_a_clock_of_its_own_and_may_have_another_for_a_while() -> None:
    mine, other = start_clock(), StageClock()
    assert get_clock() is mine
    with use_clock(other):
        assert get_clock() is other
    assert get_clock() is mine
    found = []
    thread = threading.Thread(target=lambda: found.append(get_clock()))
    thread.start()
    thread.join()
    assert found[0] is not mine


def test_few_words_say_where_the_time_went() -> None:
    told: dict[str, Any] = {
        "worker_seconds": {"decode": 61.2, "detect": 22.0, "idle": 16.6, "write": 0.2},
        "videos_per_core_hour": 3412,
    }
    assert describe_accounting(told) == {
        "worker's time": "decode 61%, detect 22%, idle 17%",
        "videos a core-hour": "3,412",
    }
    assert describe_accounting({}) == {}
