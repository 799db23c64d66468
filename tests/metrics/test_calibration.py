"""Curves from scores to probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from deepfake.metrics import calibration
from deepfake.metrics.calibration import Curve, choose_curve, fit_curve, move_to_prevalence


def overconfident(n: int, slope: float, offset: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn with known probabilities, and scores that overstate them."""
    random = np.random.default_rng(seed)
    truth = random.normal(0, 1.5, n)
    labels = (random.random(n) < expit(truth)).astype(int)
    return labels, expit((truth - offset) / slope)


def test_an_overstated_score_gets_its_true_slope_back() -> None:
    y, s = overconfident(20000, slope=0.4, offset=0.0)
    curve = fit_curve(y, s, "temperature")
    assert curve.slope == pytest.approx(0.4, rel=0.05)
    assert curve.offset == 0.0


def test_platt_equals_an_unpenalised_logistic_regression_on_the_logit() -> None:
    y, s = overconfident(20000, slope=0.5, offset=-1.0)
    curve = fit_curve(y, s, "platt")
    other = LogisticRegression(C=1e10, tol=1e-8).fit(logit(s)[:, None], y)
    assert (curve.slope, curve.offset) == pytest.approx((other.coef_[0, 0], other.intercept_[0]), rel=5e-3)


def test_the_method_is_chosen_by_the_loss_on_other_people() -> None:
    for slope, offset, beaten in ((0.4, 0.0, ["none"]), (0.5, -1.0, ["none", "temperature"])):
        y, s = overconfident(2000, slope, offset, seed=1)
        curve, losses = choose_curve(y, s, np.arange(len(y)))
        assert curve.method not in beaten
        assert losses[curve.method] == min(losses.values())
        assert all(losses[name] > losses["platt"] + 0.02 for name in beaten)


def test_few_people_are_not_enough_for_a_curve() -> None:
    y, s = overconfident(400, 0.4, 0.0)
    assert choose_curve(y, s, np.arange(400) % 9) == (Curve(), {})


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=30),
    st.sampled_from(calibration.METHODS),
)
def test_a_curve_is_finite_and_never_turns_a_ranking(items: list, method: calibration.Method) -> None:
    curve = fit_curve([i[0] for i in items], [i[1] for i in items], method)
    probabilities = curve(np.linspace(0, 1, 101))
    assert np.isfinite(probabilities).all()
    assert (np.diff(probabilities) >= 0).all()
    assert probabilities[0] >= 0.0 and probabilities[-1] <= 1.0


def test_separated_classes_keep_a_finite_slope() -> None:
    curve = fit_curve([0] * 5 + [1] * 5, [0.1] * 5 + [0.9] * 5, "platt")
    assert curve([0.9])[0] == pytest.approx(6 / 7, abs=0.01)  # Platt's softened label


def test_the_prevalence_moves_a_probability_as_bayes_says() -> None:
    assert move_to_prevalence([0.5], 0.5, 0.01)[0] == pytest.approx(0.01)
    assert move_to_prevalence([0.0, 0.8, 1.0], 0.4, 0.4) == pytest.approx([0.0, 0.8, 1.0])
    with pytest.raises(ValueError, match="prevalence must lie"):
        move_to_prevalence([0.5], 0.5, 0.0)
