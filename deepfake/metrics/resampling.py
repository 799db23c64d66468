"""Every metric of a sample whose rows are repeated, from how often each is: what a bootstrap needs.

The rows are sorted once; each resample then costs a few sums over them. Equal to
``classification.measure_binary`` on the sample with its rows repeated.
"""

import numpy as np
from numpy.typing import NDArray

from deepfake.metrics.calibration import BINS, assign_bins
from deepfake.metrics.classification import PARTIAL_AUC_MAX_FPR, compute_rates, find_equal_error
from deepfake.metrics.validation import Labels, Scores

Weights = NDArray[np.int64]
Values = dict[str, float | None]

METRICS = (
    "accuracy", "balanced_accuracy", "precision", "precision_real", "recall", "specificity", "f1",
    "auc", "partial_auc", "ap", "eer", "log_loss", "brier", "ece",
)  # fmt: skip
_EPSILON = np.finfo(np.float64).eps  # where scikit-learn's log loss cuts a probability


class WeightedMetrics:
    """Metrics of checked labels and scores ``(n,)`` under weights ``(n,)`` of whole numbers."""

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

    def __call__(self, weights: Weights) -> Values:
        """Metric by name; ``None`` where it is undefined."""
        return {**self._at_threshold(weights), **self._ranking(weights), **self._probability(weights)}

    def _at_threshold(self, weights: Weights) -> Values:
        total = int(weights.sum())
        fakes, called = int(weights[self._fake].sum()), int(weights[self._called].sum())
        tp = int(weights[self._fake & self._called].sum())
        fp, fn = called - tp, fakes - tp
        return compute_rates(total - fakes - fp, fp, fn, tp)

    def auc(self, weights: Weights) -> float | None:
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
            return dict.fromkeys(("auc", "partial_auc", "ap", "eer"))
        hits, alarms = np.cumsum(fakes), np.cumsum(reals)
        called = hits + alarms
        precision = np.divide(hits, called, out=np.zeros(hits.size), where=called > 0)
        tpr = np.concatenate([[0.0], hits / hits[-1]])
        fpr = np.concatenate([[0.0], alarms / alarms[-1]])
        return {
            "auc": auc,
            "partial_auc": _measure_partial_auc(fpr, tpr),
            "ap": float((fakes * precision).sum() / hits[-1]),
            "eer": find_equal_error(fpr, tpr)[0],
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
