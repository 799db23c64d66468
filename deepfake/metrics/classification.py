"""How well scores tell fake from real: at one threshold, and over all thresholds."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake.metrics.calibration import measure_calibration_error
from deepfake.metrics.validation import Labels, Scores, has_both_classes, validate

PARTIAL_AUC_MAX_FPR = 0.1


def measure_binary(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> dict[str, Any]:
    """Every metric of one set of labels and scores.

    Args:
        labels: ``(n,)``, 0 real and 1 fake.
        scores: ``(n,)`` in [0, 1]; ``score >= threshold`` is called fake.
        threshold: the operating point of the metrics that need one.

    Returns:
        JSON-ready values; a metric that these data do not define is ``None``. ``precision`` and ``recall``
        are those of the fakes, ``precision_real`` and ``specificity`` those of the reals. ``partial_auc`` is
        the area for false positive rates up to 0.1, standardised so that chance is 0.5 (McClish 1989).
        ``confusion`` counts ``tn, fp, fn, tp`` with fake as the positive class.
    """
    y, s = validate(labels, scores)
    return {
        "n": int(y.size),
        "n_real": int(y.size - y.sum()),
        "n_fake": int(y.sum()),
        "threshold": float(threshold),
        **_measure_at_threshold(y, s, threshold),
        **_measure_ranking(y, s),
        **_measure_probabilities(y, s),
    }


def find_equal_error_rate(labels: ArrayLike, scores: ArrayLike) -> tuple[float, float] | None:
    """``(rate, threshold)`` where as many reals are called fake as fakes are called real, in shares.

    The rate is read off the ROC curve, straight between its corners; the threshold is that of the nearest
    corner. ``None`` unless both classes are there.
    """
    from sklearn import metrics as sk

    y, s = validate(labels, scores)
    if not has_both_classes(y):
        return None
    fpr, tpr, thresholds = sk.roc_curve(y, s, drop_intermediate=False)
    rate, nearest = find_equal_error(fpr, tpr)
    return rate, float(thresholds[nearest])


def find_equal_error(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> tuple[float, int]:
    """The equal error rate of a ROC curve ``(k,)``, straight between its corners; and the nearest corner."""
    gap = fpr - (1.0 - tpr)  # rises from -1 (nothing called fake) to 1 (everything)
    after = int(np.argmax(gap >= 0.0))
    before = after - 1
    share = -gap[before] / (gap[after] - gap[before])
    rate = fpr[before] + share * (fpr[after] - fpr[before])
    # corner 0 calls nothing fake and has no threshold
    return float(rate), before if before > 0 and -gap[before] < gap[after] else after


def _measure_at_threshold(y: Labels, s: Scores, threshold: float) -> dict[str, Any]:
    from sklearn import metrics as sk

    called = s >= threshold
    tn, fp, fn, tp = (
        (int(v) for v in sk.confusion_matrix(y, called, labels=[0, 1]).ravel()) if y.size else [0] * 4
    )
    return {**compute_rates(tn, fp, fn, tp), "confusion": {"tn": tn, "fp": fp, "fn": fn, "tp": tp}}


def compute_rates(tn: int, fp: int, fn: int, tp: int) -> dict[str, float | None]:
    """The metrics of a confusion matrix, fake being positive; ``None`` where one is undefined."""
    recall, specificity = divide(tp, tp + fn), divide(tn, tn + fp)
    return {
        "accuracy": divide(tn + tp, tn + fp + fn + tp),
        "balanced_accuracy": None if recall is None or specificity is None else (recall + specificity) / 2,
        "precision": divide(tp, tp + fp),
        "precision_real": divide(tn, tn + fn),
        "recall": recall,
        "specificity": specificity,
        "f1": divide(2 * tp, 2 * tp + fp + fn),
    }


def _measure_ranking(y: Labels, s: Scores) -> dict[str, float | None]:
    from sklearn import metrics as sk

    error = find_equal_error_rate(y, s)
    if error is None:
        return dict.fromkeys(("auc", "partial_auc", "ap", "eer", "eer_threshold"))
    return {
        "auc": float(sk.roc_auc_score(y, s)),
        "partial_auc": float(sk.roc_auc_score(y, s, max_fpr=PARTIAL_AUC_MAX_FPR)),
        "ap": float(sk.average_precision_score(y, s)),
        "eer": error[0],
        "eer_threshold": error[1],
    }


def _measure_probabilities(y: Labels, s: Scores) -> dict[str, float | None]:
    from sklearn import metrics as sk

    if not y.size:
        return {"log_loss": None, "brier": None, "ece": None}
    return {
        "log_loss": float(sk.log_loss(y, s, labels=[0, 1])),
        "brier": float(np.mean((s - y) ** 2)),
        "ece": measure_calibration_error(y, s),
    }


def divide(part: int, whole: int) -> float | None:
    """A share; ``None`` of nothing."""
    return part / whole if whole else None
