"""The quick metrics of a resample, against the plain ones on the resample itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake.metrics import (
    bootstrap_auc,
    bootstrap_metrics,
    find_equal_error_rate,
    measure_binary,
    resampling,
)

SCORE = st.one_of(st.integers(0, 10).map(lambda i: i / 10), st.floats(0, 1))
ROWS = st.lists(st.tuples(st.integers(0, 1), SCORE, st.integers(0, 3)), max_size=40)


@settings(max_examples=80, deadline=None)
@given(ROWS, SCORE)
def test_weights_count_rows_as_repeating_them_does(
    rows: list[tuple[int, float, int]], threshold: float
) -> None:
    y = np.array([row[0] for row in rows], np.int8)
    s = np.array([row[1] for row in rows], np.float64)
    weights = np.array([row[2] for row in rows], np.int64)
    found = resampling.WeightedMetrics(y, s, threshold)(weights)
    plain = measure_binary(np.repeat(y, weights), np.repeat(s, weights), threshold)
    assert set(found) == set(resampling.METRICS)
    for name, value in found.items():
        expected = plain[name]
        assert value == (None if expected is None else pytest.approx(expected, abs=1e-9)), name


def test_every_metric_has_the_interval_that_resampling_the_rows_gives() -> None:
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 3)
    y = groups % 2
    s = np.round(np.clip(random.normal(0.4 + 0.2 * y, 0.25), 0, 1), 2)
    found = bootstrap_metrics(y, s, groups, 0.5, n=60, seed=4)
    drawn = np.random.default_rng(4)
    samples = []
    for _ in range(60):
        counts = np.bincount(drawn.integers(0, 30, 30), minlength=30)
        rows = np.repeat(np.arange(y.size), counts[groups])
        error = find_equal_error_rate(y[rows], s[rows])
        samples.append({**measure_binary(y[rows], s[rows], 0.5), "eer": error and error[0]})
    for name in resampling.METRICS:
        expected = np.quantile([sample[name] for sample in samples], [0.025, 0.975])
        assert found[name] == pytest.approx(tuple(expected), abs=1e-9), name
    assert bootstrap_auc(y, s, groups, n=60, seed=4) == found["auc"]


def test_there_are_no_intervals_where_a_class_has_one_group() -> None:
    found = bootstrap_metrics([0, 0, 1, 1], [0.5] * 4, list("abcc"), n=20)
    assert found == dict.fromkeys(resampling.METRICS)
