"""Likelihood ratios: published examples, formulae written out, and what few videos cannot support."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake import metrics


def test_bounds_of_the_published_breath_analyser() -> None:
    """Vergeer et al. 2016: 10 of 1,000 sober and 90 of 100 drunk drivers are found; it says 90 or 0.101."""
    labels = np.repeat([0, 0, 1, 1], [990, 10, 90, 10])
    ratios = np.log10(np.repeat([0.101, 90, 90, 0.101], [990, 10, 90, 10]))
    low, high = metrics.bound_log_ratios(labels, ratios, np.arange(labels.size))
    assert 10**high == pytest.approx(0.9 * 1001 / 11)  # 81.9: what it says, 90, is more than this shows
    assert 10**low == pytest.approx(11 / 101 / 0.99)  # 0.110
    ratios = np.where(ratios > 0, 3.0, ratios)  # badly calibrated: the bound does not follow what it says
    assert 10 ** metrics.bound_log_ratios(labels, ratios, np.arange(labels.size))[1] == pytest.approx(81.9)


@given(st.integers(2, 60), st.integers(1, 6), st.integers(0, 99))
def test_no_more_is_claimed_than_people_and_one_mistake_allow(people: int, videos: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], people * videos)
    groups = np.tile(np.repeat(np.arange(people), videos), 2)
    ratios = random.normal(8.0 * labels - 4.0, 1.0)
    low, high = metrics.bound_log_ratios(labels, ratios, groups)
    assert -np.log10(people + 1) - 1e-9 <= low <= 0 <= high <= np.log10(people + 1) + 1e-9
    useless = metrics.bound_log_ratios(labels, -ratios, groups)
    assert useless == (0.0, 0.0)


def test_cllr_is_its_formula_and_its_least_keeps_the_order() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 40])
    natural = random.normal(2.0 * labels - 1.0, 1.5)
    found = metrics.measure_cllr(labels, natural / np.log(10))
    fakes, reals = np.exp(natural[labels == 1]), np.exp(natural[labels == 0])
    expected = (np.log2(1 + 1 / fakes).mean() + np.log2(1 + reals).mean()) / 2
    assert found["cllr"] == pytest.approx(expected)
    assert 0 < found["cllr_min"] < found["cllr"]
    stretched = metrics.measure_cllr(labels, 7 * natural / np.log(10) + 3)
    assert stretched["cllr"] > 1 and stretched["cllr_min"] == pytest.approx(found["cllr_min"])
    assert metrics.measure_cllr(labels, 0.0 * natural)["cllr"] == pytest.approx(1.0)
    apart = metrics.measure_cllr(labels, np.where(labels == 1, np.inf, -np.inf))
    assert apart == {"cllr": 0.0, "cllr_min": 0.0}
    assert metrics.measure_cllr(labels[:60], natural[:60]) == {"cllr": None, "cllr_min": None}


def test_ratios_are_posterior_over_prior_odds() -> None:
    ratios = metrics.compute_log_ratios([0.5, 0.9, 0.0], 0.9)
    assert ratios == pytest.approx([-np.log10(9), 0.0, -np.inf])
