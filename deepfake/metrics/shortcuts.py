"""A small classifier of plain numbers: what it tells of the labels can be told without looking at faces."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SMALLEST_LEAF, _LEAF_SHARE = 5, 0.01  # rows in a leaf of a tree: enough that few rows do not overfit


def score_by_numbers(
    learnt: NDArray[np.float64], labels: ArrayLike, asked: NDArray[np.float64], seed: int = 0
) -> NDArray[np.float64]:
    """Scores ``(m,)`` of fake for rows ``(m, k)``, learnt from rows ``(n, k)`` and labels ``(n,)``.

    Gradient-boosted trees (Friedman 2001; scikit-learn's histogram version), both classes weighing the same.
    Numbers may be nan; a column that does not vary is left out. The same seed gives the same scores.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    y = np.asarray(labels)
    leaf = max(_SMALLEST_LEAF, int(_LEAF_SHARE * y.size))
    model = HistGradientBoostingClassifier(
        max_iter=40, learning_rate=0.15, max_depth=3, min_samples_leaf=leaf, l2_regularization=1.0,
        max_bins=64, early_stopping=False, class_weight="balanced", random_state=seed,
    )  # fmt: skip
    varying = [len(np.unique(column[~np.isnan(column)])) > 1 for column in learnt.T]
    if not any(varying):
        return np.full(len(asked), 0.5)
    with threadpool_limits(1):  # on small data more threads only wait for each other
        model.fit(learnt[:, varying], y)
        return np.asarray(model.predict_proba(asked[:, varying])[:, 1], np.float64)
