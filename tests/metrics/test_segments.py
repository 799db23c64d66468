"""Stretches of time in which a track looks fake."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.metrics.segments import Segment, find_segments, smooth_scores, sum_covered_seconds

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def spans(times: list[float], scores: list[float]) -> list[tuple[float, float]]:
    return [(found.start_s, found.end_s) for found in find_segments(times, scores, 0.5)]


def test_a_segment_reaches_halfway_to_its_neighbours() -> None:
    assert spans([0, 1, 2, 3], [0, 0.9, 0.9, 0]) == [(0.5, 2.5)]


def test_a_segment_ends_where_the_track_does() -> None:
    assert spans([4, 5, 6], [0.9, 0.5, 0.7]) == [(4.0, 6.0)]
    assert spans([7], [0.9]) == [(7.0, 7.0)]


def test_what_was_not_looked_at_is_in_no_segment() -> None:
    assert spans([0, 1, 2, 20, 21], [0.9] * 5) == [(0.0, 2.5), (19.5, 21.0)]


@given(SCORES)
def test_the_faces_in_segments_are_exactly_those_above_the_threshold(scores: list[float]) -> None:
    found = find_segments(np.arange(len(scores)), scores, 0.5)
    inside = {i for segment in found for i in range(segment.first, segment.last + 1)}
    assert inside == {i for i, score in enumerate(scores) if score >= 0.5}
    assert all(a.end_s <= b.start_s for a, b in itertools.pairwise(found))


@given(SCORES)
def test_smoothing_stays_within_the_scores_and_without_a_window_changes_nothing(
    scores: list[float],
) -> None:
    times = np.arange(len(scores)) / 2
    means = smooth_scores(times, scores, 3.0)
    assert means.min() >= min(scores) - 1e-12
    assert means.max() <= max(scores) + 1e-12
    assert smooth_scores(times, scores, 0.0).tolist() == scores


def test_smoothing_averages_over_the_window_on_both_sides() -> None:
    assert smooth_scores([0, 1, 2, 9], [0, 1, 0.5, 1], 2.0) == pytest.approx([0.5, 0.5, 0.75, 1.0])


def test_time_that_two_tracks_share_counts_once() -> None:
    made = [Segment(0, 4, 0, 0), Segment(1, 2, 0, 0), Segment(3, 6, 0, 0), Segment(8, 9, 0, 0)]
    assert sum_covered_seconds(made) == 7.0
    assert sum_covered_seconds([]) == 0.0
