"""Leaving the doubtful undecided."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.metrics import (
    choose_balanced_threshold,
    choose_uncertain_band,
    measure_at_coverages,
    measure_binary,
    measure_outside,
)

SCORE = st.one_of(st.integers(0, 10).map(lambda i: i / 10), st.floats(0, 1))
BOTH_CLASSES = st.lists(st.tuples(st.integers(0, 1), SCORE), min_size=2, max_size=40).filter(
    lambda items: len({label for label, _ in items}) == 2
)


@given(BOTH_CLASSES, st.sampled_from([0.0, 0.05, 0.2]))
def test_outside_the_band_no_class_errs_more_often_than_was_asked(items: list, error: float) -> None:
    y, s = np.array([i[0] for i in items]), np.array([i[1] for i in items])
    low, high = choose_uncertain_band(y, s, error)
    assert 0.0 <= low <= high
    assert (s[y == 0] >= high).mean() <= error + 1e-9
    assert (s[y == 1] < low).mean() <= error + 1e-9


def test_one_threshold_for_both_classes_keeps_the_promise_though_another_errs_less_in_all() -> None:
    reals, fakes = [0.1] * 93 + [0.5] * 4 + [0.9] * 3, [0.45] * 5 + [0.55] * 95
    y, s = np.repeat([0, 1], 100), np.array(reals + fakes)
    assert (s[y == 0] >= choose_balanced_threshold(y, s)).mean() == 0.07
    low, high = choose_uncertain_band(y, s, 0.05)
    assert low == high
    assert ((s[y == 0] >= high).mean(), (s[y == 1] < low).mean()) == (0.03, 0.05)


def test_separated_classes_need_no_band() -> None:
    low, high = choose_uncertain_band([0, 0, 1, 1], [0.1, 0.2, 0.7, 0.8], 0.0)
    assert 0.2 < low == high <= 0.7


def test_a_band_needs_both_classes() -> None:
    with pytest.raises(ValueError, match="both classes"):
        choose_uncertain_band([1, 1], [0.1, 0.2])


def test_what_lies_in_the_band_is_not_judged() -> None:
    found = measure_outside([0, 0, 1, 1, 1], [0.1, 0.7, 0.5, 0.9, 0.2], 0.3, 0.6)
    assert (found["judged"], found["coverage"], found["accuracy"]) == (4, 0.8, 0.5)
    assert (found["false_alarms"], found["missed"]) == (1, 1)
    assert measure_outside([], [], 0.3, 0.6)["accuracy"] is None


def test_full_coverage_is_the_plain_accuracy_and_less_takes_the_surest_first() -> None:
    y, s = [0, 0, 1, 1], [0.05, 0.55, 0.45, 0.95]
    full, half = measure_at_coverages(y, s, 0.5, (1.0, 0.5))
    assert full["accuracy"] == measure_binary(y, s, 0.5)["accuracy"] == 0.5
    assert (half["judged"], half["accuracy"]) == (2, 1.0)


def test_equally_sure_items_are_judged_together() -> None:
    assert measure_at_coverages([0, 1, 1], [0.5] * 3, 0.4, (0.3,))[0]["judged"] == 3
