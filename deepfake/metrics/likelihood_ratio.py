"""How much more probable a score is among fakes than among reals, as far as so few videos can tell.

All ratios are log10 likelihood ratios: 2 is a hundred times as probable where it is a fake.
"""

from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake.metrics.validation import Labels, has_both_classes, validate

# ENFSI Guideline for Evaluative Reporting in Forensic Science, 2015, its example of a verbal scale: what a
# ratio from here on is called, up to the next. It names 1 and from 2 on; what lies between supports neither.
SUPPORT = ("weak", "moderate", "moderately strong", "strong", "very strong", "extremely strong")
_SUPPORT_FROM = (float(np.log10(2)), 1.0, 2.0, 3.0, 4.0, 6.0)


def name_support(log_ratio: float) -> str | None:
    """How strongly it supports what it favours, as ENFSI says; None: neither. On an edge the weaker word."""
    size = abs(log_ratio)
    return None if size < _SUPPORT_FROM[0] else SUPPORT[max(0, bisect_left(_SUPPORT_FROM, size) - 1)]


def compute_log_ratios(probabilities: ArrayLike, share_of_fakes: float) -> NDArray[np.float64]:
    """``(n,)`` from the probabilities ``(n,)`` that hold where ``share_of_fakes`` of all are fake.

    Posterior odds over prior odds (Bayes' rule). Infinite where a probability is 0 or 1.
    """
    p = np.asarray(probabilities, np.float64)
    with np.errstate(divide="ignore"):
        odds = np.log10(p) - np.log10(1.0 - p)
    return np.asarray(odds - np.log10(share_of_fakes / (1.0 - share_of_fakes)))


def bound_log_ratios(labels: ArrayLike, log_ratios: ArrayLike, groups: ArrayLike) -> tuple[float, float]:
    """The lowest and highest that these data support, at most 0 and at least 0.

    Empirical lower and upper bound of Vergeer et al., "Numerical likelihood ratios outputted by LR systems
    are often based on extrapolation: when to stop extrapolating?", 2016: as far as deciding by the ratios
    costs less than deciding without them, with one more misleading ratio supposed in each class, however
    far out. Items of one of ``groups`` ``(n,)``, a person's videos, count as one together. Raises
    ``ValueError`` unless both classes are there.
    """
    y, x = _check(labels, log_ratios)
    if not has_both_classes(y):
        raise ValueError("bounds of a likelihood ratio need both classes")
    weights, counts = np.zeros(x.size), {}
    for label in (0, 1):
        inside = y == label
        codes = np.unique(np.asarray(groups)[inside], return_inverse=True)[1]
        weights[inside] = 1.0 / np.bincount(codes)[codes]
        counts[label] = int(codes.max()) + 1
    real, fake = y == 0, y == 1
    high = _find_bound(x[real], weights[real], counts[0], x[fake], weights[fake], counts[1])
    return 0.0 - _find_bound(-x[fake], weights[fake], counts[1], -x[real], weights[real], counts[0]), high


def _find_bound(
    against: NDArray[np.float64],
    against_weights: NDArray[np.float64],
    against_count: int,
    favoured: NDArray[np.float64],
    favoured_weights: NDArray[np.float64],
    favoured_count: int,
) -> float:
    """From 0 up, how far log ratios may go before misleading ones, one of each class more, cost too much."""
    start = 0.0
    places = np.unique(np.concatenate([against, favoured]))
    for end in [*places[places > 0], np.inf]:
        middle = start + 1.0 if np.isinf(end) else (start + end) / 2
        misleading = (against_weights[against >= middle].sum() + 1.0) / (against_count + 1.0)
        missed = (favoured_weights[favoured < middle].sum() + 1.0) / (favoured_count + 1.0)
        # deciding costs ratio * misleading + missed; not looking costs 1
        furthest = float(np.log10((1.0 - missed) / misleading)) if missed < 1.0 else -np.inf
        if furthest < end:
            return max(start, furthest, 0.0)
        start = float(end)
    return start


def measure_cllr(labels: ArrayLike, log_ratios: ArrayLike) -> dict[str, Any]:
    """``cllr``, and ``cllr_min``: what it would be with the best ratios that keep the order.

    Bruemmer and du Preez, "Application-independent evaluation of speaker detection", 2006: the mean cost in
    bits, both classes weighing the same; 1 is a system that says nothing, 0 a perfect one. The difference of
    the two is lost by calibration, the rest by what cannot be told apart. None where a class is missing.
    """
    from sklearn.isotonic import isotonic_regression

    y, x = _check(labels, log_ratios)
    if not has_both_classes(y):
        return {"cllr": None, "cllr_min": None}
    order = np.lexsort((-y, x))  # of equals the fakes first, so that they end in one block
    sample = np.where(y == 1, 0.5 / y.sum(), 0.5 / (y.size - y.sum()))
    best = isotonic_regression(y[order].astype(np.float64), sample_weight=sample[order])
    return {"cllr": _cost(y, x), "cllr_min": _cost(y[order], compute_log_ratios(best, 0.5))}


def _check(labels: ArrayLike, log_ratios: ArrayLike) -> tuple[Labels, NDArray[np.float64]]:
    x = np.asarray(log_ratios, np.float64)
    return validate(labels, np.zeros(x.shape))[0], x


def _cost(y: Labels, log_ratios: NDArray[np.float64]) -> float:
    natural = log_ratios * np.log(10.0)
    of_fakes, of_reals = np.logaddexp(0.0, -natural[y == 1]), np.logaddexp(0.0, natural[y == 0])
    return float((of_fakes.mean() + of_reals.mean()) / 2 / np.log(2.0))
