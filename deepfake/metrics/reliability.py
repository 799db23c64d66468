"""Whether a score of 0.8 means fake in eight of ten cases."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from deepfake.metrics.validation import Scores, validate

BINS = 15  # as in Guo et al., On Calibration of Modern Neural Networks, 2017


def make_reliability_bins(labels: ArrayLike, scores: ArrayLike, bins: int = BINS) -> list[dict[str, Any]]:
    """Equal-width bins of the score that hold at least one item, from low to high.

    Each is ``lower, upper, n, mean_score, share_fake``. A bin is closed below and open above, the last
    one closed on both sides.
    """
    y, s = validate(labels, scores)
    index = assign_bins(s, bins)
    return [
        {
            "lower": float(i / bins),
            "upper": float((i + 1) / bins),
            "n": int(inside.sum()),
            "mean_score": float(s[inside].mean()),
            "share_fake": float(y[inside].mean()),
        }
        for i in np.unique(index)
        for inside in [index == i]
    ]


def assign_bins(scores: Scores, bins: int) -> NDArray[np.int64]:
    """The equal-width bin ``(n,) int64``, from 0, of each score ``(n,)`` in [0, 1]."""
    return np.minimum((scores * bins).astype(np.int64), bins - 1)
