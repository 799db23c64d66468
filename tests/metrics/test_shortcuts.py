"""What plain numbers tell of the labels."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from deepfake.metrics import score_by_numbers


def sample(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Rows of which the second number tells a little of the label, and is sometimes not known."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, rows)
    values = random.normal(0, 1, (rows, 3))
    values[:, 1] += labels
    values[random.random(rows) < 0.1, 1] = np.nan
    return values, labels


def test_a_number_that_tells_is_found_and_numbers_that_do_not_give_chance() -> None:
    (learnt, y), (asked, truth) = sample(0), sample(1)
    scores = score_by_numbers(learnt, y, asked)
    assert scores.min() >= 0.0 and scores.max() <= 1.0
    assert 0.68 < roc_auc_score(truth, scores) < 0.8  # the number by itself: .76 where it is known
    blind = score_by_numbers(np.delete(learnt, 1, 1), y, np.delete(asked, 1, 1))
    assert 0.4 < roc_auc_score(truth, blind) < 0.6


def test_the_same_seed_gives_the_same_scores_and_a_column_of_nothing_does_no_harm() -> None:
    (learnt, y), (asked, _) = sample(2), sample(3)
    first, again = (score_by_numbers(learnt, y, asked, seed=5) for _ in range(2))
    assert (first == again).all()
    learnt[:, 2] = asked[:, 2] = np.nan
    assert np.isfinite(score_by_numbers(learnt, y, asked)).all()
    assert set(score_by_numbers(learnt[:, 2:], y, asked[:, 2:])) == {0.5}
