"""Leaving the doubtful undecided: how much is left to judge, and how often that is right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deepfake.metrics.operating_points import choose_balanced_threshold, choose_threshold_at_fpr
from deepfake.metrics.validation import has_both_classes, validate

BAND_ERROR = 0.05
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.5)


def choose_uncertain_band(
    labels: ArrayLike, scores: ArrayLike, error: float = BAND_ERROR
) -> tuple[float, float]:
    """``(low, high)``: from ``high`` up a score is called fake, below ``low`` real, between them neither.

    At most ``error`` of the reals lie at or above ``high``, and at most ``error`` of the fakes below ``low``.
    ``high`` may lie just above 1: then nothing is called fake. Where one threshold does both there is no need
    for a band, and both ends are the one nearest to the balanced threshold. Raises ``ValueError`` unless both
    classes are there.
    """
    y, s = validate(labels, scores)
    if not has_both_classes(y):
        raise ValueError(f"a band needs both classes; found {y.size} scores with {int(y.sum())} fakes")
    high = choose_threshold_at_fpr(y, s, error)
    low = 1.0 - choose_threshold_at_fpr(1 - y, 1.0 - s, error)
    if low >= high:
        return (min(max(choose_balanced_threshold(y, s), high), low),) * 2
    return max(0.0, low), high


def measure_outside(labels: ArrayLike, scores: ArrayLike, low: float, high: float) -> dict[str, Any]:
    """``n, judged, coverage`` and of what is judged ``accuracy``, ``false_alarms`` and ``missed`` fakes."""
    y, s = validate(labels, scores)
    fake, real = s >= high, s < low
    count = int((fake | real).sum())
    right = int((fake & (y == 1)).sum() + (real & (y == 0)).sum())
    return {
        "low": float(low),
        "high": float(high),
        "n": int(y.size),
        "judged": count,
        "coverage": count / y.size if y.size else None,
        "accuracy": right / count if count else None,
        "false_alarms": int((fake & (y == 0)).sum()),
        "missed": int((real & (y == 1)).sum()),
    }


def measure_at_coverages(
    labels: ArrayLike, scores: ArrayLike, threshold: float, coverages: Sequence[float] = COVERAGES
) -> list[dict[str, Any]]:
    """Accuracy where only the surest are judged: those farthest from the threshold.

    Distance is measured as the share of the way from the threshold to 0 or to 1, so that a threshold near one
    end leaves both sides comparable. Equally distant items are judged together or not at all.
    """
    y, s = validate(labels, scores)
    if not y.size:
        return []
    room = np.where(s >= threshold, max(1.0 - threshold, 1e-12), max(threshold, 1e-12))
    distance = np.abs(s - threshold) / room
    right = (s >= threshold) == (y == 1)
    ranked = np.sort(distance)[::-1]
    rows = []
    for wanted in coverages:
        inside = distance >= ranked[max(1, round(wanted * y.size)) - 1]
        rows.append(
            {
                "wanted": wanted,
                "judged": int(inside.sum()),
                "coverage": float(inside.mean()),
                "accuracy": float(right[inside].mean()),
            }
        )
    return rows
