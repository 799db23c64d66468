"""The check that every metric begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deepfake.metrics.validation import has_both_classes, validate


def test_labels_and_scores_come_back_as_arrays_of_their_types() -> None:
    labels, scores = validate([True, 0.0, 1], [0, 1, 0.5])
    assert (labels.dtype, scores.dtype) == (np.int8, np.float64)
    assert (labels.tolist(), scores.tolist()) == ([1, 0, 1], [0.0, 1.0, 0.5])


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([0, 1], [0.1], r"\(2,\) labels for \(1,\) scores"),
        ([[0]], [[0.1]], r"scores have shape \(1, 1\)"),
        ([0, 1, 1], [0.1, np.nan, np.inf], "2 of 3 scores are NaN or infinite"),
        ([0, 1], [-0.25, 1.5], r"must lie in \[0, 1\], found -0.25 to 1.5"),
        ([0, 2], [0.1, 0.2], r"must be 0 \(real\) or 1 \(fake\), found 2"),
        ([0, None], [0.1, 0.2], "found None"),
        ([0, np.nan], [0.1, 0.2], "found nan"),
    ],
)
def test_what_is_wrong_is_said(labels: Any, scores: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        validate(labels, scores)


@pytest.mark.parametrize(("labels", "both"), [([], False), ([0, 0], False), ([1], False), ([1, 0], True)])
def test_both_classes_need_one_item_of_each(labels: list[int], both: bool) -> None:
    assert has_both_classes(np.array(labels, np.int8)) == both
