"""Metrics of one set of labels and scores, against scikit-learn and on degenerate input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from deepfake.metrics import make_reliability_bins, measure_binary
from deepfake.metrics.classification import METRICS, WeightedMetrics

# A coarse grid of scores makes ties common.
SCORE = st.integers(0, 20).map(lambda i: i / 20)
ITEMS = st.lists(st.tuples(st.integers(0, 1), SCORE), min_size=2, max_size=60)
BOTH_CLASSES = ITEMS.filter(lambda items: len({label for label, _ in items}) == 2)
REPEATED = st.lists(st.tuples(st.integers(0, 1), SCORE, st.integers(0, 3)), max_size=40)
THRESHOLD_METRICS = ("balanced_accuracy", "precision", "recall", "specificity", "f1")
RANK_METRICS = ("auc", "partial_auc", "ap", "eer", "eer_threshold")


def arrays(items: list[tuple[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([i[0] for i in items]), np.array([i[1] for i in items])


@settings(max_examples=40)
@given(BOTH_CLASSES, SCORE)
def test_every_metric_equals_scikit_learns(items: list[tuple[int, float]], threshold: float) -> None:
    y, s = arrays(items)
    called = (s >= threshold).astype(int)
    expected = {
        "accuracy": sk.accuracy_score(y, called),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called),
        "recall": sk.recall_score(y, called),
        "specificity": sk.recall_score(y, called, pos_label=0),
        "f1": sk.f1_score(y, called),
        "auc": sk.roc_auc_score(y, s),
        "partial_auc": sk.roc_auc_score(y, s, max_fpr=0.1),
        "ap": sk.average_precision_score(y, s),
        "log_loss": sk.log_loss(y, s, labels=[0, 1]),
        "brier": sk.brier_score_loss(y, s),
    }
    found = measure_binary(y, s, threshold)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["precision"] == (pytest.approx(sk.precision_score(y, called)) if called.any() else None)
    assert list(found["confusion"].values()) == sk.confusion_matrix(y, called, labels=[0, 1]).ravel().tolist()
    assert (found["n_real"], found["n_fake"]) == (int((y == 0).sum()), int((y == 1).sum()))


@given(BOTH_CLASSES)
def test_the_equal_error_rate_is_where_the_roc_curve_crosses_the_diagonal_of_equal_errors(
    items: list[tuple[int, float]],
) -> None:
    y, s = arrays(items)
    found = measure_binary(y, s)
    rate = found["eer"]
    fpr, tpr, _ = sk.roc_curve(y, s, drop_intermediate=False)
    assert np.interp(rate, *_strictly_rising(fpr, tpr, 1 - rate)) == pytest.approx(1 - rate)
    assert found["eer_threshold"] in s


def test_the_threshold_of_equal_errors_is_the_score_at_which_they_come_nearest() -> None:
    y, s = [0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.8, 0.9]
    assert measure_binary(y, s)["eer_threshold"] == 0.4  # one real and one fake called wrong


def _strictly_rising(fpr: np.ndarray, tpr: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The ROC curve as a function near ``level``: of several TPR at one FPR, the one nearest to it."""
    chosen = {}
    for x in np.unique(fpr):
        column = tpr[fpr == x]
        chosen[x] = float(np.clip(level, column.min(), column.max()))
    return np.array(list(chosen)), np.array(list(chosen.values()))


def test_perfectly_separated_scores_have_no_error() -> None:
    found = measure_binary([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert [found[name] for name in ("accuracy", "auc", "ap", "eer", "f1")] == [1, 1, 1, 0, 1]


def test_scores_that_are_all_equal_are_chance() -> None:
    found = measure_binary([0, 1, 0, 1], [0.7] * 4)
    assert (found["auc"], found["eer"], found["partial_auc"]) == (0.5, 0.5, 0.5)


def test_a_score_on_the_threshold_is_called_fake() -> None:
    assert measure_binary([0, 1], [0.5, 0.5])["confusion"] == {"tn": 0, "fp": 1, "fn": 0, "tp": 1}


@pytest.mark.parametrize(("label", "undefined"), [(0, "recall"), (1, "specificity")])
def test_with_one_class_the_metrics_that_need_both_are_none(label: int, undefined: str) -> None:
    found = measure_binary([label] * 3, [0.2, 0.6, 0.9])
    assert all(found[name] is None for name in (*RANK_METRICS, "balanced_accuracy", undefined))
    assert found["accuracy"] == pytest.approx((1 if label == 0 else 2) / 3)
    assert found["brier"] is not None


def test_without_items_every_metric_is_none() -> None:
    found = measure_binary([], [])
    names = ("accuracy", *THRESHOLD_METRICS, *RANK_METRICS, "log_loss", "brier", "ece")
    assert all(found[name] is None for name in names)
    assert found["n"] == 0


def test_precision_is_none_where_nothing_is_called_fake() -> None:
    found = measure_binary([0, 1], [0.1, 0.2], threshold=0.9)
    assert found["precision"] is None
    assert found["recall"] == 0.0


@pytest.mark.parametrize(
    ("labels", "scores", "words"),
    [
        ([0, 1], [0.1, float("nan")], "NaN"),
        ([0, 1], [0.1, float("inf")], "infinite"),
        ([0, 1], [0.1, 1.5], r"\[0, 1\]"),
        ([0, 2], [0.1, 0.5], "labels must be 0"),
        ([0, None], [0.1, 0.5], "labels must be 0"),
        ([0, float("nan")], [0.1, 0.5], "labels must be 0"),
        ([0], [0.1, 0.5], "labels for"),
        ([[0]], [[0.1]], "one dimension"),
    ],
)
def test_what_cannot_be_measured_is_refused(labels: list, scores: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure_binary(labels, scores)


def test_the_calibration_error_of_a_constant_score_is_its_distance_from_the_share_of_fakes() -> None:
    assert measure_binary([0, 0, 0, 1], [0.75] * 4)["ece"] == pytest.approx(0.5)


def test_the_calibration_error_weighs_a_bin_by_its_items() -> None:
    # below: two items of .2, none fake; above: six of .9, three fake
    labels, scores = [0, 0, *[1, 0] * 3], [0.2, 0.2, *[0.9] * 6]
    assert measure_binary(labels, scores)["ece"] == pytest.approx((2 * 0.2 + 6 * 0.4) / 8)


@given(ITEMS)
def test_the_reliability_bins_hold_every_item_once(items: list[tuple[int, float]]) -> None:
    y, s = arrays(items)
    bins = make_reliability_bins(y, s)
    assert sum(b["n"] for b in bins) == y.size
    assert sum(b["n"] * b["share_fake"] for b in bins) == pytest.approx(y.sum())
    assert all(b["lower"] - 1e-12 <= b["mean_score"] <= b["upper"] + 1e-12 for b in bins)


@settings(max_examples=80, deadline=None)
@given(REPEATED, SCORE)
def test_weights_count_rows_as_repeating_them_does(
    rows: list[tuple[int, float, int]], threshold: float
) -> None:
    y = np.array([row[0] for row in rows], np.int8)
    s = np.array([row[1] for row in rows], np.float64)
    weights = np.array([row[2] for row in rows], np.int64)
    found = WeightedMetrics(y, s, threshold)(weights)
    plain = measure_binary(np.repeat(y, weights), np.repeat(s, weights), threshold)
    assert set(found) == {*METRICS, "eer_threshold"}
    for name, value in found.items():
        expected = plain[name]
        assert value == (None if expected is None else pytest.approx(expected, abs=1e-9)), name
