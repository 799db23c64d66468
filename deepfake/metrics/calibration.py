"""From a score to the probability that it is a fake: a logistic curve, fitted on validation data.

The curve rises, so it changes no ranking and no verdict. It holds at the share of fakes that the validation
data had; ``move_to_prevalence`` moves it to another.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake.metrics.validation import Labels, Scores, validate, validate_scores

Method = Literal["none", "temperature", "platt"]
METHODS: tuple[Method, ...] = ("none", "temperature", "platt")  # from the simplest on
FEWEST_GROUPS = 10  # of each class; below that a curve fits the accident of who was looked at
_FOLDS = 5
_CUT = 1e-6  # scores are taken to be this far from 0 and 1, where the logit is infinite
_LOG_SLOPES, _OFFSETS = (-4.0, 4.0), (-20.0, 20.0)


@dataclass(frozen=True)
class Curve:
    """``probability = sigmoid(slope * logit(score) + offset)``, slope above 0."""

    method: Method = "none"
    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, scores: ArrayLike) -> NDArray[np.float64]:
        """``(n,)`` probabilities of ``(n,)`` scores; the scores themselves where the method is none."""
        s = validate_scores(scores)
        return s if self.method == "none" else _sigmoid(self.slope * _compute_logits(s) + self.offset)


def fit_curve(labels: ArrayLike, scores: ArrayLike, method: Method) -> Curve:
    """The curve of lowest log loss.

    temperature: the slope alone (Guo et al. 2017); platt: slope and offset. The labels are softened as in
    Platt 1999, ``(k + 1) / (k + 2)`` for ``k`` fakes and ``1 / (k + 2)`` for ``k`` reals, without which
    perfectly separated classes would make the slope infinite.
    """
    from scipy.optimize import minimize

    y, s = validate(labels, scores)
    if method == "none" or not y.size:
        return Curve()
    fakes, reals = int(y.sum()), int(y.size - y.sum())
    wanted = np.where(y == 1, (fakes + 1) / (fakes + 2), 1 / (reals + 2))
    x = _compute_logits(s)

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope = float(np.exp(parameters[0]))
        z = slope * x + (parameters[1] if len(parameters) > 1 else 0.0)
        value = np.mean(np.logaddexp(0.0, z) - wanted * z)
        error = _sigmoid(z) - wanted
        gradient = [np.mean(error * x) * slope, np.mean(error)]
        return float(value), np.array(gradient[: len(parameters)])

    count = 2 if method == "platt" else 1
    bounds = [_LOG_SLOPES, _OFFSETS][:count]
    found = minimize(loss, np.zeros(count), jac=True, bounds=bounds, method="L-BFGS-B").x
    return Curve(method, float(np.exp(found[0])), float(found[1]) if count > 1 else 0.0)


def choose_curve(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> tuple[Curve, dict[str, float]]:
    """The curve whose method has the lowest log loss on people it was not fitted to.

    The loss of each method is taken over folds that keep a group (identity) together, for on the data that it
    was fitted to the curve with more parameters always wins. Then it is fitted to all.

    Returns:
        The curve, and the cross-validated log loss by method; no curve and no losses where a class has fewer
        than ``FEWEST_GROUPS`` groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    y, s = validate(labels, scores)
    names = np.asarray(groups)
    if any(np.unique(names[y == label]).size < FEWEST_GROUPS for label in (0, 1)):
        return Curve(), {}
    folds = list(StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0).split(s, y, names))
    losses: dict[str, float] = {method: _measure_held_out_loss(y, s, folds, method) for method in METHODS}
    best = min(METHODS, key=lambda method: round(losses[method], 12))  # of equals the simplest
    return fit_curve(y, s, best), losses


def move_to_prevalence(
    probabilities: ArrayLike, share_of_fakes: float, prevalence: float
) -> NDArray[np.float64]:
    """Probabilities ``(n,)`` for ``share_of_fakes`` among all, moved to where ``prevalence`` are (Bayes)."""
    for name, share in (("share_of_fakes", share_of_fakes), ("prevalence", prevalence)):
        if not 0.0 < share < 1.0:
            raise ValueError(f"{name} must lie between 0 and 1, got {share}")
    with np.errstate(divide="ignore"):  # 0 and 1 stay what they are
        moved = _logit(validate_scores(probabilities)) + _logit(prevalence) - _logit(share_of_fakes)
    return np.asarray(_sigmoid(moved), np.float64)


def _measure_held_out_loss(
    y: Labels, s: Scores, folds: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]], method: Method
) -> float:
    total = 0.0
    for inside, outside in folds:
        p = np.clip(fit_curve(y[inside], s[inside], method)(s[outside]), _CUT, 1.0 - _CUT)
        total -= float(np.log(np.where(y[outside] == 1, p, 1.0 - p)).sum())
    return total / y.size


def _compute_logits(scores: Scores) -> NDArray[np.float64]:
    return np.asarray(_logit(np.clip(scores, _CUT, 1.0 - _CUT)), np.float64)


# scipy.special has both, and takes a third of a second to import.
def _logit(p: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(p, np.float64)
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def _sigmoid(z: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(np.exp(-np.logaddexp(0.0, np.negative(z))), np.float64)
