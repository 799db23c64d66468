"""Exact intervals of rates and of the precision that follows from them."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake.metrics import precision_at_prevalence, precision_interval, share_interval


def test_no_alarm_among_forty_is_no_rate_of_zero() -> None:
    found = share_interval(0, 40)
    assert found is not None
    assert found.low == 0.0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 40))  # the rate that shows none in 2.5 % of cases


def test_of_nothing_nothing_is_known() -> None:
    assert share_interval(0, 0) is None
    assert precision_interval(0, 0, 1, 5, 0.01) is None


def test_the_precision_is_within_its_interval_and_few_reals_leave_it_wide() -> None:
    few, many = precision_interval(9, 10, 0, 40, 0.01), precision_interval(900, 1000, 0, 4000, 0.01)
    assert few is not None and many is not None
    assert few.low < many.low < precision_at_prevalence(0.9, 0.0, 0.01) == few.high == 1.0
    assert few.low < 0.1


def test_the_precisions_interval_covers_it_at_least_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    truth = precision_at_prevalence(0.8, 0.05, 0.02)
    covered = 0
    for _ in range(200):
        hits, alarms = random.binomial(60, 0.8), random.binomial(80, 0.05)
        interval = precision_interval(int(hits), 60, int(alarms), 80, 0.02)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert covered >= 190


def test_what_is_never_called_fake_has_no_precision_to_speak_of() -> None:
    found = precision_interval(0, 10, 0, 10, 0.5)
    assert found is not None and (found.low, found.high) == (0.0, 1.0)
