"""Confidence intervals: of every metric by a bootstrap over groups, and exact ones of shares.

Frames of one video are near copies of each other; resampling them singly gives intervals that are far
too narrow. So the bootstrap draws groups (videos or identities), and all rows of a drawn group come with it.

A bootstrap of no false alarm among 40 reals gives the interval [0, 0], as if the rate were known to be zero.
Clopper and Pearson's gives [0, 8.8 %], which is what 40 reals can show. It takes the items for independent,
which several videos of one person are not; ``count_effectively`` says what they are worth.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from deepfake.metrics.classification import METRICS, Values, WeightedMetrics, Weights
from deepfake.metrics.operating_points import predict_precision
from deepfake.metrics.validation import Labels, validate

LEVEL = 0.95


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


def bootstrap_auc(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, n: int = 1000, seed: int = 0
) -> Interval | None:
    """The interval that ``bootstrap_metrics`` gives the AUC, in a fraction of its time.

    ``scores`` may be ``(k, rows)``: of ``k`` trainings of one kind, whose mean AUC counts.
    """
    y, measure = _prepare_mean_auc(labels, scores)
    return _resample(y, groups, ("auc",), lambda weights: {"auc": measure(weights)}, n, seed)["auc"]


def bootstrap_auc_difference(
    labels: ArrayLike, scores: ArrayLike, others: ArrayLike, groups: ArrayLike, n: int = 1000, seed: int = 0
) -> Interval | None:
    """Interval of the AUC of ``scores`` less that of ``others``, of the same rows in the same resamples.

    What both find hard they find hard together, so this is narrower than the two intervals suggest. Each may
    be ``(k, rows)`` as in ``bootstrap_auc``, with a ``k`` of its own.
    """
    y, one = _prepare_mean_auc(labels, scores)
    _, other = _prepare_mean_auc(labels, others)

    def measure(weights: Weights) -> Values:
        auc, less = one(weights), other(weights)
        return {"difference": None if auc is None or less is None else auc - less}

    return _resample(y, groups, ("difference",), measure, n, seed)["difference"]


def _prepare_mean_auc(
    labels: ArrayLike, scores: ArrayLike
) -> tuple[Labels, Callable[[Weights], float | None]]:
    """The checked labels, and what measures the mean AUC of ``(rows,)`` or ``(k, rows)`` scores."""
    checked = [validate(labels, row) for row in np.atleast_2d(scores)]
    all_of_them = [WeightedMetrics(y, s) for y, s in checked]

    def measure(weights: Weights) -> float | None:
        aucs = [auc for one in all_of_them if (auc := one.measure_auc(weights)) is not None]
        return float(np.mean(aucs)) if aucs else None  # without a class all are undefined

    return checked[0][0], measure


def bootstrap_metrics(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    threshold: float = 0.5,
    n: int = 1000,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Percentile intervals of every metric under resampling of groups with replacement (Efron 1979).

    Args:
        labels, scores: ``(rows,)`` as everywhere in this package.
        groups: ``(rows,)`` of anything sortable: the video or identity that each row belongs to.
        n: resamples. A resample on which a metric is undefined is left out of that metric's interval.
        seed: same seed, same intervals.

    Returns:
        Intervals by name (``METRICS``). ``None`` for all where they would say nothing: ``n`` is 0, or a class
        has fewer than two groups; and for each metric that more than half of the resamples leave undefined.
    """
    y, s = validate(labels, scores)
    return _resample(y, groups, METRICS, WeightedMetrics(y, s, threshold), n, seed)


def _resample(
    y: Labels,
    groups: ArrayLike,
    names: Sequence[str],
    measure: Callable[[Weights], Values],
    n: int,
    seed: int,
) -> dict[str, Interval | None]:
    keys = np.asarray(groups)
    if keys.shape != y.shape:
        raise ValueError(f"{keys.shape} groups for {y.shape} scores")
    unique, codes = np.unique(keys, return_inverse=True)
    if n == 0 or any(np.unique(codes[y == label]).size < 2 for label in (0, 1)):
        return dict.fromkeys(names)
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(n):
        counts = np.bincount(rng.integers(0, unique.size, unique.size), minlength=unique.size)
        values = measure(counts[codes])
        for name in names:
            if (value := values[name]) is not None:
                found[name].append(value)
    tails = [(1.0 - LEVEL) / 2, (1.0 + LEVEL) / 2]
    return {
        name: Interval(*map(float, np.quantile(values, tails))) if 2 * len(values) >= n else None
        for name, values in found.items()
    }


def count_effectively(called: ArrayLike, groups: ArrayLike) -> tuple[float, float]:
    """``(part, whole)`` as of independent items that say as much as these, for ``bound_share``.

    ``called`` ``(n,)`` bool; items of one of ``groups`` ``(n,)`` (identities) may be called alike. Korn and
    Graubard 1998: the number of items divided by the design effect, less for few groups; never more than
    there are. Where all are called, or none, nothing tells how alike a group is: then each group counts once.
    Where each item is a group of its own the counts are what they are.
    """
    from scipy.special import stdtrit

    hit = np.asarray(called, bool)
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    n, count = hit.size, int(codes.max()) + 1 if hit.size else 0
    if count in (0, n):
        return float(hit.sum()), float(n)
    share = float(hit.mean())
    if count < 2 or share in (0.0, 1.0):
        return share * count, float(count)
    spread = float((np.bincount(codes, hit - share) ** 2).sum())
    effective = min(n, share * (1 - share) * n**2 / spread) if spread else n
    few = stdtrit(n - 1, (1 + LEVEL) / 2) / stdtrit(count - 1, (1 + LEVEL) / 2)
    return share * effective * few**2, effective * few**2


def bound_share(part: float, whole: float, level: float = LEVEL) -> Interval | None:
    """Clopper-Pearson interval (1934) of ``part`` of ``whole``; ``None`` where there are none."""
    from scipy.special import betaincinv  # scipy.stats has it by name, and takes a second to import

    if not whole:
        return None
    tail = (1.0 - level) / 2
    low = betaincinv(part, whole - part + 1, tail) if part else 0.0
    high = betaincinv(part + 1, whole - part, 1.0 - tail) if part < whole else 1.0
    return Interval(float(low), float(high))


def bound_difference(part: float, whole: float, other_part: float, other_whole: float) -> Interval | None:
    """95 % interval of one share less another of other items; ``None`` where either has none.

    From both shares' score intervals (Newcombe 1998, "Interval estimation for the difference between
    independent proportions", method 10), which holds for few items and for shares of 0 and 1.
    """
    if not whole or not other_whole:
        return None
    share, low, high = _bound_by_score(part, whole)
    other, other_low, other_high = _bound_by_score(other_part, other_whole)
    difference = share - other
    return Interval(
        difference - float(np.hypot(share - low, other_high - other)),
        difference + float(np.hypot(high - share, other - other_low)),
    )


def _bound_by_score(part: float, whole: float) -> tuple[float, float, float]:
    """A share and the ends of its interval (Wilson 1927)."""
    from scipy.special import ndtri

    z, share = float(ndtri((1 + LEVEL) / 2)), part / whole
    middle = (share + z**2 / (2 * whole)) / (1 + z**2 / whole)
    reach = z / (1 + z**2 / whole) * float(np.sqrt(share * (1 - share) / whole + z**2 / (4 * whole**2)))
    return share, max(0.0, middle - reach), min(1.0, middle + reach)


def bound_precision(
    hits: float, fakes: float, alarms: float, reals: float, prevalence: float
) -> Interval | None:
    """Interval of the precision where ``prevalence`` of all videos are fake.

    ``hits`` of ``fakes`` and ``alarms`` of ``reals`` were called fake. Both rates get an exact interval of
    level ``(1 + LEVEL) / 2``, so that the two hold together at ``LEVEL`` at least (Bonferroni); the ends are
    the worst and the best that they allow. ``None`` where a class is absent.
    """
    tpr = bound_share(hits, fakes, (1 + LEVEL) / 2)
    fpr = bound_share(alarms, reals, (1 + LEVEL) / 2)
    if tpr is None or fpr is None:
        return None
    worst = predict_precision(tpr.low, fpr.high, prevalence)
    best = predict_precision(tpr.high, fpr.low, prevalence)
    return Interval(worst or 0.0, 1.0 if best is None else best)
