"""Thresholds on the score, and what they promise at a user's prevalence.

Thresholds are chosen on validation data and then kept; choosing them on test data flatters every number
that follows.
"""

import numpy as np
from numpy.typing import ArrayLike

from deepfake.metrics.validation import has_both_classes, validate


def choose_balanced_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """The threshold of the highest balanced accuracy (highest Youden J = TPR - FPR).

    It lies halfway between the lowest score called fake and the next lower one, so that the last bits of
    a score do not turn a verdict. Among equals, the one with the most even errors, then the highest.
    Raises ``ValueError`` unless both classes are there.
    """
    from sklearn.metrics import roc_curve

    y, s = validate(labels, scores)
    if not has_both_classes(y):
        raise ValueError(f"a threshold needs both classes; found {y.size} scores with {int(y.sum())} fakes")
    fpr, tpr, thresholds = roc_curve(y, s, drop_intermediate=False)
    fpr, tpr, thresholds = fpr[1:], tpr[1:], thresholds[1:]  # the first corner calls nothing fake
    youden = np.round(tpr - fpr, 12)
    unevenness = np.round(np.abs(fpr - (1.0 - tpr)), 12)
    best = int(np.lexsort((-thresholds, unevenness, -youden))[0])
    if best + 1 == thresholds.size:
        return float(thresholds[best])
    return _choose_between(float(thresholds[best + 1]), float(thresholds[best]))


def choose_threshold_at_fpr(labels: ArrayLike, scores: ArrayLike, fpr: float) -> float:
    """The lowest threshold at which at most ``fpr`` of the reals are called fake.

    With few reals this is above the highest of them: ``n`` reals can show no rate below ``1/n`` but 0.
    The result may lie just above 1 where a real has score 1: then nothing may be called fake. Raises
    ``ValueError`` without reals.
    """
    y, s = validate(labels, scores)
    if not 0.0 <= fpr <= 1.0:
        raise ValueError(f"a false positive rate lies in [0, 1], got {fpr}")
    reals = np.sort(s[y == 0])[::-1]
    if not reals.size:
        raise ValueError("a threshold at a false positive rate needs real items, found none")
    allowed = int(np.floor(fpr * reals.size + 1e-9))
    if allowed >= reals.size:
        return 0.0
    limit = float(reals[allowed])  # the highest real that must not be called fake
    above = s[s > limit]
    return _choose_between(limit, float(above.min())) if above.size else float(np.nextafter(limit, 2.0))


def predict_precision(tpr: float, fpr: float, prevalence: float) -> float | None:
    """Share of fakes among what is called fake, where ``prevalence`` of all videos are fake (Bayes' rule).

    ``None`` where nothing is ever called fake.
    """
    hits, false_alarms = tpr * prevalence, fpr * (1.0 - prevalence)
    return hits / (hits + false_alarms) if hits + false_alarms > 0.0 else None


def _choose_between(low: float, high: float) -> float:
    """A number above ``low`` and at most ``high``, halfway where floats allow."""
    middle = low + (high - low) / 2
    return middle if middle > low else high
