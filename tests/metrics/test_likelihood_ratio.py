"""Likelihood ratios: published examples, formulae written out, and what few videos cannot support."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake import metrics

# Of reals, of fakes, and the bounds that lir gives them, the program of the institute that invented them
# (github.com/NetherlandsForensicInstitute/lir, TestElub). It looks at steps of 1 %, so that its bounds are
# up to 1 % nearer to 1. The first is the breath analyser of Vergeer et al. 2016.
BOUNDED = {
    "10 of 1,000 sober and 90 of 100 drunk drivers": (
        [0.1] * 990 + [1000] * 10, [0.1] * 10 + [1000] * 90, 0.11051160, 80.42823031),
    "one of each, apart": ([0], [np.inf], 1, 1),
    "three of each, apart": ([0] * 3, [np.inf] * 3, 0.3362165, 2.9742741),
    "wrong": ([10, 100], [0.01, 0.1, 1], 1, 1),
    "good, three fakes": ([0.01, 0.1], [1, 10, 100], 0.3771282, 1.4990474),
    "good, three reals": ([0.01, 0.1, 1], [10, 100], 0.6668633, 2.6507161),
    "the same": ([1], [1], 1, 1),
    "all say fake": ([10], [10] * 9, 1, 1),
    "one real says nothing": ([1], [10] * 10, 1, 1.8039884),
    "one real says fake": ([1.1], [1000] * 10, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", BOUNDED)
def test_bounds_are_those_of_the_published_program(name: str) -> None:
    reals, fakes, low, high = BOUNDED[name]
    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    with np.errstate(divide="ignore"):
        ratios = np.log10([*reals, *fakes])
    found = metrics.bound_log_ratios(labels, ratios, np.arange(labels.size))
    assert 10 ** found[0] == pytest.approx(low, rel=0.0101) and 10 ** found[0] <= low + 1e-9
    assert 10 ** found[1] == pytest.approx(high, rel=0.0101) and 10 ** found[1] >= high - 1e-9


# The same program's tests of Bruemmer's cost: ratios of reals, of fakes, Cllr.
COSTS = [
    ([1, 1], [1, 1], 1.0),
    ([3] * 2, [1 / 3] * 2, 2.0),
    ([1 / 3] * 2, [3] * 2, 0.4150374992788437),
    ([1 / 3] * 2, [1], 0.7075187496394219),
    ([1 / 100] * 100, [1], 0.507177646488535),
    ([1 / 100] * 100 + [100], [1], 0.5400680236656377),
    ([1 / 100] * 100 + [100] * 6, [1], 0.6952113122368764),
    ([8], [8] * 8, 1.6699250014423126),
    ([np.inf, 1], [1, 1], np.inf),
    ([0, 0], [1, 1], 0.5),
]


@pytest.mark.parametrize(("reals", "fakes", "cost"), COSTS)
def test_cllr_is_that_of_the_published_program(reals: list[float], fakes: list[float], cost: float) -> None:
    labels = np.repeat([0, 1], [len(reals), len(fakes)])
    with np.errstate(divide="ignore"):
        found = metrics.measure_cllr(labels, np.log10([*reals, *fakes]))
    assert found["cllr"] == pytest.approx(cost)


def test_a_ratio_is_called_as_the_forensic_institutes_call_it() -> None:
    """ENFSI's table of 2015: 2 to 10, 10 to 100, 100 to 1,000, to 10,000, to 1,000,000, and above."""
    places = [1, 1.9, 2, 10, 11, 100, 101, 1000, 1001, 10_000, 10_001, 1_000_000, 1_000_001]
    words = [None, None, *(word for word in metrics.SUPPORT for _ in (0, 1))][: len(places)]
    for sign in (1, -1):
        assert [metrics.name_support(sign * float(np.log10(x))) for x in places] == words


@given(st.integers(2, 60), st.integers(1, 6), st.integers(0, 99))
def test_no_more_is_claimed_than_people_and_one_mistake_allow(people: int, videos: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], people * videos)
    groups = np.tile(np.repeat(np.arange(people), videos), 2)
    ratios = random.normal(8.0 * labels - 4.0, 1.0)
    low, high = metrics.bound_log_ratios(labels, ratios, groups)
    assert -np.log10(people) - 1e-9 <= low <= 0 <= high <= np.log10(people) + 1e-9
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
