"""How well scores tell fake from real: at one threshold, and over all thresholds.

Of a sample as it is, and of one whose rows are repeated, from how often each is: what a bootstrap needs. The
rows are sorted once; each resample then costs a few sums over them. scikit-learn would sort again each time.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake.metrics.reliability import BINS, assign_bins
from deepfake.metrics.validation import Labels, Scores, validate

Weights = NDArray[np.int64]
Values = dict[str, float | None]

METRICS = (
    "accuracy", "balanced_accuracy", "precision", "precision_real", "recall", "specificity", "f1",
    "auc", "partial_auc", "ap", "eer", "log_loss", "brier", "ece",
)  # fmt: skip
PARTIAL_AUC_MAX_FPR = 0.1
_EPSILON = np.finfo(np.float64).eps  # where scikit-learn's log loss cuts a probability


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
    measure, once = WeightedMetrics(y, s, threshold), np.ones(y.size, np.int64)
    tn, fp, fn, tp = measure.count(once)
    return {
        "n": int(y.size),
        "n_real": tn + fp,
        "n_fake": fn + tp,
        "threshold": float(threshold),
        **measure(once),
        "confusion": {"tn": tn, "fp": fp, "fn": fn, "tp": tp},
    }


class WeightedMetrics:
    """Metrics of checked labels and scores ``(n,)`` under weights ``(n,)`` of whole numbers: repetitions."""

    def __init__(self, labels: Labels, scores: Scores, threshold: float = 0.5) -> None:
        self._fake = labels == 1
        self._called = scores >= threshold
        self._bin = assign_bins(scores, BINS)
        self._excess = scores - labels
        clipped = np.clip(scores, _EPSILON, 1.0 - _EPSILON)
        self._surprise = -np.log(np.where(self._fake, clipped, 1.0 - clipped))
        self._order = np.argsort(-scores, kind="stable")
        # first row of each distinct score, from the highest down
        self._starts = np.flatnonzero(np.diff(scores[self._order], prepend=2.0))
        self._distinct = scores[self._order][self._starts]

    def __call__(self, weights: Weights) -> Values:
        """``METRICS`` and ``eer_threshold`` by name; ``None`` where one is undefined."""
        return {**compute_rates(*self.count(weights)), **self._ranking(weights), **self._probability(weights)}

    def count(self, weights: Weights) -> tuple[int, int, int, int]:
        """``tn, fp, fn, tp`` at the threshold, fake being positive."""
        total, fakes = int(weights.sum()), int(weights[self._fake].sum())
        called, tp = int(weights[self._called].sum()), int(weights[self._fake & self._called].sum())
        return total - fakes - (called - tp), called - tp, fakes - tp, tp

    def measure_auc(self, weights: Weights) -> float | None:
        """The AUC alone, a tie counted half; ``None`` unless both classes have weight."""
        return _measure_area(*self._by_score(weights))

    def _by_score(self, weights: Weights) -> tuple[Weights, Weights]:
        """Fakes and reals of each distinct score, from the highest down: ``(k,)`` each."""
        if not self._starts.size:
            return (np.empty(0, np.int64),) * 2
        ordered, fake = weights[self._order], self._fake[self._order]
        fakes = np.add.reduceat(np.where(fake, ordered, 0), self._starts)
        return fakes, np.add.reduceat(ordered, self._starts) - fakes

    def _ranking(self, weights: Weights) -> Values:
        fakes, reals = self._by_score(weights)
        auc = _measure_area(fakes, reals)
        if auc is None:
            return dict.fromkeys(("auc", "partial_auc", "ap", "eer", "eer_threshold"))
        hits, alarms = np.cumsum(fakes), np.cumsum(reals)
        called = hits + alarms
        precision = np.divide(hits, called, out=np.zeros(hits.size), where=called > 0)
        tpr = np.concatenate([[0.0], hits / hits[-1]])
        fpr = np.concatenate([[0.0], alarms / alarms[-1]])
        rate, corner = _find_equal_error(fpr, tpr)
        return {
            "auc": auc,
            "partial_auc": _measure_partial_auc(fpr, tpr),
            "ap": float((fakes * precision).sum() / hits[-1]),
            "eer": rate,
            "eer_threshold": float(self._distinct[corner - 1]),
        }

    def _probability(self, weights: Weights) -> Values:
        total = int(weights.sum())
        if not total:
            return {"log_loss": None, "brier": None, "ece": None}
        excess = np.bincount(self._bin, weights * self._excess, BINS)
        return {
            "log_loss": float(weights @ self._surprise / total),
            "brier": float(weights @ self._excess**2 / total),
            "ece": float(np.abs(excess).sum() / total),
        }


def _measure_area(fakes: Weights, reals: Weights) -> float | None:
    hits, alarms = np.cumsum(fakes), int(reals.sum())
    if not alarms or not hits[-1]:
        return None
    return float((reals * (hits - fakes / 2)).sum() / (float(hits[-1]) * alarms))


def _measure_partial_auc(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> float:
    """Area up to ``PARTIAL_AUC_MAX_FPR``, standardised so that chance is 0.5 (McClish 1989)."""
    limit = PARTIAL_AUC_MAX_FPR
    stop = int(np.searchsorted(fpr, limit, "right"))
    at_limit = np.interp(limit, fpr[stop - 1 : stop + 1], tpr[stop - 1 : stop + 1])
    area = np.trapezoid(np.append(tpr[:stop], at_limit), np.append(fpr[:stop], limit))
    chance = limit**2 / 2
    return float((1.0 + (area - chance) / (limit - chance)) / 2)


def _find_equal_error(fpr: NDArray[np.float64], tpr: NDArray[np.float64]) -> tuple[float, int]:
    """The equal error rate of a ROC curve ``(k,)``, straight between its corners; and the nearest corner.

    Corner 0 calls nothing fake and has no threshold, so it is never the answer.
    """
    gap = fpr - (1.0 - tpr)  # rises from -1 (nothing called fake) to 1 (everything)
    after = int(np.argmax(gap >= 0.0))
    before = int(np.searchsorted(gap, gap[after - 1]))  # rows without weight repeat a corner
    share = -gap[before] / (gap[after] - gap[before])
    rate = fpr[before] + share * (fpr[after] - fpr[before])
    return float(rate), before if before > 0 and -gap[before] < gap[after] else after


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


def divide(part: int, whole: int) -> float | None:
    """A share; ``None`` of nothing."""
    return part / whole if whole else None
