"""Thresholds and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.metrics import (
    choose_balanced_threshold,
    choose_threshold_at_fpr,
    predict_precision,
)

SCORE = st.one_of(st.integers(0, 10).map(lambda i: i / 10), st.floats(0, 1))
BOTH_CLASSES = st.lists(st.tuples(st.integers(0, 1), SCORE), min_size=2, max_size=40).filter(
    lambda items: len({label for label, _ in items}) == 2
)


@given(BOTH_CLASSES)
def test_no_threshold_has_a_higher_balanced_accuracy_than_the_balanced_one(items: list) -> None:
    y, s = np.array([i[0] for i in items]), np.array([i[1] for i in items])

    def balanced_accuracy(threshold: float) -> float:
        return ((s[y == 1] >= threshold).mean() + (s[y == 0] < threshold).mean()) / 2

    assert balanced_accuracy(choose_balanced_threshold(y, s)) >= max(map(balanced_accuracy, s)) - 1e-12


def test_the_balanced_threshold_lies_halfway_between_the_classes() -> None:
    assert choose_balanced_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]) == pytest.approx(0.4)


def test_the_balanced_threshold_of_equal_scores_is_that_score() -> None:
    assert choose_balanced_threshold([0, 1], [0.3, 0.3]) == 0.3


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], []])
def test_a_balanced_threshold_needs_both_classes(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="both classes"):
        choose_balanced_threshold(labels, [0.5] * len(labels))


@given(BOTH_CLASSES, st.floats(0, 1))
def test_the_threshold_at_a_rate_keeps_the_rate_and_loses_no_more_fakes_than_it_must(
    items: list, rate: float
) -> None:
    y, s = np.array([i[0] for i in items]), np.array([i[1] for i in items])
    called = s >= choose_threshold_at_fpr(y, s, rate)
    assert called[y == 0].mean() <= rate + 1e-9
    allowed = [(s >= t)[y == 1].mean() for t in s if (s >= t)[y == 0].mean() <= rate + 1e-9]
    assert called[y == 1].mean() == max(allowed, default=0.0)


def test_a_real_with_score_one_leaves_nothing_to_be_called_fake_at_rate_zero() -> None:
    assert choose_threshold_at_fpr([0, 1], [1.0, 1.0], 0.0) > 1.0


def test_a_threshold_at_a_rate_needs_reals() -> None:
    with pytest.raises(ValueError, match="needs real"):
        choose_threshold_at_fpr([1, 1], [0.2, 0.3], 0.01)


@pytest.mark.parametrize(("prevalence", "precision"), [(0.5, 0.97), (0.01, 0.24), (0.001, 0.03)])
def test_precision_falls_with_the_prevalence_as_bayes_says(prevalence: float, precision: float) -> None:
    assert predict_precision(0.95, 0.03, prevalence) == pytest.approx(precision, abs=0.005)


def test_precision_is_none_where_nothing_is_called_fake() -> None:
    assert predict_precision(0.0, 0.0, 0.5) is None
