"""The one check of labels and scores that every metric begins with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Labels = NDArray[np.int8]
Scores = NDArray[np.float64]


def validate_scores(scores: ArrayLike | Sequence[float]) -> Scores:
    """``(n,)`` float64 scores in [0, 1]; raises ``ValueError`` that says what is wrong."""
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"scores have shape {array.shape}, expected one dimension")
    if bad := int(np.count_nonzero(~np.isfinite(array))):
        raise ValueError(f"{bad} of {array.size} scores are NaN or infinite; leave out what has no score")
    if array.size and (array.min() < 0.0 or array.max() > 1.0):
        raise ValueError(f"scores must lie in [0, 1], found {array.min():.6g} to {array.max():.6g}")
    return array


def validate(labels: ArrayLike, scores: ArrayLike) -> tuple[Labels, Scores]:
    """``(n,)`` int8 labels of 0 and 1, ``(n,)`` float64 scores in [0, 1]; raises ``ValueError``."""
    score_array = validate_scores(scores)
    label_array = np.asarray(labels)
    if label_array.shape != score_array.shape:
        raise ValueError(f"{label_array.shape} labels for {score_array.shape} scores")
    if not np.isin(label_array, (0, 1)).all():  # also refuses NaN and None
        odd = [value for value in label_array.tolist() if value not in (0, 1)]
        raise ValueError(f"labels must be 0 (real) or 1 (fake), found {odd[0]!r}")
    return label_array.astype(np.int8), score_array


def has_both_classes(labels: Labels) -> bool:
    """Whether there is at least one real and one fake."""
    fakes = int(labels.sum())
    return 0 < fakes < labels.size
