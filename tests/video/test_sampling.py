"""Which frames are looked at: properties that hold for every video and every setting."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.config import SamplingConfig
from deepfake.video.sampling import choose_frames

LENGTHS = st.integers(1, 2000)
# Milliseconds between frames, as containers store them: steady, varying, repeated, with long holds.
GAPS = st.lists(st.one_of(st.just(40), st.integers(0, 100), st.integers(0, 20_000)), max_size=150)


def times_of(gaps: list[int], start: float = 0.0) -> np.ndarray:
    return start + np.cumsum([0, *gaps]) / 1000


def steady(n: int, fps: float = 25.0) -> np.ndarray:
    return np.arange(n) / fps


def chosen(times: np.ndarray, keyframes: Any = None, **options: Any) -> list[int]:
    if keyframes is None:
        keyframes = np.arange(len(times)) % 250 == 0
    return choose_frames(times, np.asarray(keyframes, bool), SamplingConfig(**options)).tolist()


@given(
    GAPS,
    st.sampled_from(["every_n", "per_second", "count", "keyframes"]),
    st.integers(1, 200),
    st.floats(0.01, 200),
    st.integers(1, 200),
    st.integers(1, 50),
    st.data(),
)
def test_indices_rise_strictly_within_the_video_and_their_number_is_bounded(
    gaps: list[int], policy: str, every_n: int, rate: float, count: int, most: int, data: st.DataObject
) -> None:
    times = times_of(gaps)
    keyframes = data.draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times)))
    options: dict[str, Any] = {
        "policy": policy, "every_n": every_n, "per_second": rate, "count": count, "max_frames": most
    }  # fmt: skip
    found = chosen(times, keyframes, **options)
    assert 1 <= len(found) <= most
    assert all(a < b for a, b in pairwise(found))
    assert found[0] >= 0 and found[-1] < len(times)


def test_a_video_without_frames_has_nothing_to_look_at() -> None:
    for policy in ("every_n", "per_second", "count", "keyframes"):
        assert chosen(np.empty(0), policy=policy) == []


@given(LENGTHS, st.integers(1, 300))
def test_every_n_is_frame_0_n_2n_and_so_on_to_the_end(n: int, every: int) -> None:
    assert chosen(steady(n), policy="every_n", every_n=every) == [i for i in range(n) if i % every == 0]


@given(LENGTHS, st.integers(1, 300))
def test_count_gives_as_many_as_asked_for_spread_evenly(n: int, count: int) -> None:
    found = chosen(steady(n), policy="count", count=count)
    assert len(found) == min(n, count)
    gaps = set(np.diff(found).tolist())
    assert not gaps or max(gaps) - min(gaps) <= 1
    if len(found) > 1:  # the ends are treated alike: half a gap on each side, rounded down or up
        assert abs(found[0] - (n - 1 - found[-1])) <= 1


@given(GAPS, st.floats(0.05, 60), st.floats(-1000, 1000))
def test_per_second_shows_what_is_on_display_at_each_tick(gaps: list[int], rate: float, start: float) -> None:
    times = times_of(gaps)
    shown = []
    tick = 0
    while tick / rate <= times[-1] + 1e-6:  # the frame whose turn has come, and not yet the next one's
        shown.append(max(i for i, time in enumerate(times) if time <= tick / rate + 1e-6))
        tick += 1
    assert chosen(times, policy="per_second", per_second=rate) == sorted(set(shown))
    assert chosen(times_of(gaps, start), policy="per_second", per_second=rate) == sorted(set(shown))


@pytest.mark.parametrize("fps", [24, 25, 30, 50, 60, 24000 / 1001, 30000 / 1001])
@pytest.mark.parametrize("rate", [1, 2, 5, 0.5])
def test_per_second_of_a_steady_video_gives_the_rate(fps: float, rate: float) -> None:
    times = np.round(steady(round(fps * 60), fps), 6)  # a minute, as stored in microseconds
    assert abs(len(chosen(times, policy="per_second", per_second=rate)) - 60 * rate) <= 1


def test_a_rate_above_the_videos_own_gives_every_frame_once() -> None:
    assert chosen(steady(50), policy="per_second", per_second=1000) == list(range(50))


def test_a_frame_held_for_many_ticks_is_looked_at_once() -> None:
    assert chosen(np.array([0.0, 0.04, 10.0, 10.04]), policy="per_second", per_second=1) == [0, 1, 2]


@given(st.lists(st.booleans(), min_size=1, max_size=300))
def test_keyframes_are_all_key_frames_or_the_first_frame_where_none_is_marked(marks: list[bool]) -> None:
    expected = [i for i, mark in enumerate(marks) if mark] or [0]
    assert chosen(steady(len(marks)), marks, policy="keyframes") == expected


@given(LENGTHS, st.integers(1, 40), st.integers(1, 100))
def test_too_many_frames_are_thinned_evenly_out_of_those_that_the_policy_chose(
    n: int, every: int, most: int
) -> None:
    whole = chosen(steady(n), policy="every_n", every_n=every)
    found = chosen(steady(n), policy="every_n", every_n=every, max_frames=most)
    assert len(found) == min(len(whole), most)
    places = [whole.index(i) for i in found]
    gaps = set(np.diff(places).tolist())
    assert not gaps or max(gaps) - min(gaps) <= 1
