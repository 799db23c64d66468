"""Exact intervals of shares: what ``k of n`` says of the rate behind it.

A bootstrap of no false alarm among 40 reals gives the interval [0, 0], as if the rate were known to be zero.
Clopper and Pearson's gives [0, 8.8 %], which is what 40 reals can show. It takes the items for independent:
several videos of one person make it too narrow.
"""

from __future__ import annotations

from deepfake.metrics.bootstrap import Interval
from deepfake.metrics.operating_points import precision_at_prevalence


def share_interval(part: int, whole: int, level: float = 0.95) -> Interval | None:
    """Clopper-Pearson interval (1934) of ``part`` of ``whole``; ``None`` where there are none."""
    from scipy.stats import binomtest

    if not whole:
        return None
    found = binomtest(part, whole).proportion_ci(level, method="exact")
    return Interval(float(found.low), float(found.high))


def precision_interval(
    hits: int, fakes: int, alarms: int, reals: int, prevalence: float, level: float = 0.95
) -> Interval | None:
    """Interval of the precision where ``prevalence`` of all videos are fake.

    ``hits`` of ``fakes`` and ``alarms`` of ``reals`` were called fake. Both rates get an exact interval of
    level ``(1 + level) / 2``, so that the two hold together at ``level`` at least (Bonferroni); the ends are
    the worst and the best that they allow. ``None`` where a class is absent.
    """
    tpr = share_interval(hits, fakes, (1 + level) / 2)
    fpr = share_interval(alarms, reals, (1 + level) / 2)
    if tpr is None or fpr is None:
        return None
    worst = precision_at_prevalence(tpr.low, fpr.high, prevalence)
    best = precision_at_prevalence(tpr.high, fpr.low, prevalence)
    return Interval(worst or 0.0, 1.0 if best is None else best)
