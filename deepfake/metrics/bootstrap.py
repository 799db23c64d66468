"""Intervals by resampling whole videos (or identities), never single frames.

Frames of one video are near copies of each other; resampling them singly gives intervals that are far
too narrow. So the resampling unit is a group, and all rows of a drawn group come with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake.metrics import resampling
from deepfake.metrics.validation import Labels, Scores, checked

Metric = Callable[[Labels, Scores], float | None]


class Interval(NamedTuple):
    """Percentile interval of a bootstrap."""

    low: float
    high: float


def bootstrap_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    metric: Metric | Literal["auc"] = "auc",
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """Percentile interval of a metric under resampling of groups with replacement (Efron 1979).

    Args:
        labels, scores: ``(rows,)`` as everywhere in this package.
        groups: ``(rows,)`` of anything sortable: the video or identity that each row belongs to.
        metric: ``"auc"``, or a function of ``(labels, scores)`` that may return ``None``.
        n: resamples. A resample on which the metric is undefined is left out.
        seed: same seed, same interval.

    Returns:
        ``None`` where an interval would say nothing: ``n`` is 0, a class has fewer than two groups, or
        more than half of the resamples leave the metric undefined.
    """
    y, s = checked(labels, scores)
    names = np.asarray(groups)
    if names.shape != y.shape:
        raise ValueError(f"{names.shape} groups for {y.shape} scores")
    unique, codes = np.unique(names, return_inverse=True)
    if n == 0 or any(np.unique(codes[y == c]).size < 2 for c in (0, 1)):
        return None
    measure = _weighted_auc(y, s, codes) if metric == "auc" else _resampled(y, s, codes, metric)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(n):
        counts = np.bincount(rng.integers(0, unique.size, unique.size), minlength=unique.size)
        value = measure(counts)
        if value is not None:
            values.append(value)
    if 2 * len(values) < n:
        return None
    return _percentiles(values, level)


def bootstrap_intervals(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    threshold: float = 0.5,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval | None]:
    """Intervals of every metric of ``binary`` at once, from the same resamples as ``bootstrap_interval``.

    ``None`` for all where an interval would say nothing, and for each metric that more than half of the
    resamples leave undefined.
    """
    y, s = checked(labels, scores)
    names = np.asarray(groups)
    if names.shape != y.shape:
        raise ValueError(f"{names.shape} groups for {y.shape} scores")
    unique, codes = np.unique(names, return_inverse=True)
    if n == 0 or any(np.unique(codes[y == c]).size < 2 for c in (0, 1)):
        return dict.fromkeys(resampling.NAMES)
    measure = resampling.Resampled(y, s, threshold)
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in resampling.NAMES}
    for _ in range(n):
        counts = np.bincount(rng.integers(0, unique.size, unique.size), minlength=unique.size)
        for name, value in measure(counts[codes]).items():
            if value is not None:
                found[name].append(value)
    return {
        name: _percentiles(values, level) if 2 * len(values) >= n else None for name, values in found.items()
    }


def _percentiles(values: list[float], level: float) -> Interval:
    tail = (1.0 - level) / 2
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return Interval(float(low), float(high))


Measure = Callable[[NDArray[np.int64]], float | None]


def _weighted_auc(y: Labels, s: Scores, codes: NDArray[np.int64]) -> Measure:
    """AUC of a resample from how often each group was drawn; sorts the scores once for all resamples."""
    order = np.argsort(s, kind="stable")
    fake, group = y[order] == 1, codes[order]
    starts = np.flatnonzero(np.diff(s[order], prepend=-1.0))  # first row of each distinct score

    def measure(counts: NDArray[np.int64]) -> float | None:
        weights = counts[group]
        fakes = np.add.reduceat(np.where(fake, weights, 0), starts)
        reals = np.add.reduceat(np.where(fake, 0, weights), starts)
        pairs = int(fakes.sum()) * int(reals.sum())
        if not pairs:
            return None
        below = np.cumsum(reals) - reals
        return float((fakes * (below + reals / 2)).sum() / pairs)  # a tie counts half

    return measure


def _resampled(y: Labels, s: Scores, codes: NDArray[np.int64], metric: Metric) -> Measure:
    rows = np.arange(y.size)

    def measure(counts: NDArray[np.int64]) -> float | None:
        drawn = np.repeat(rows, counts[codes])
        return metric(y[drawn], s[drawn])

    return measure
