"""What thresholds chosen on validation give on other videos."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake import metrics
from deepfake.config import EvaluationConfig
from deepfake.model.thresholds import Decisions
from deepfake.pipelines.evaluate.operating_points import DecisionMetrics, measure_decisions
from tests.pipelines.evaluate.faces import decisions_of_validation

CONFIG = EvaluationConfig(prevalence=0.05)
VIDEOS = 40
LABELS = np.repeat([0, 1], VIDEOS // 2)
SCORES = np.clip(np.random.default_rng(7).normal(0.35 + 0.3 * LABELS, 0.2), 0, 1)


def measure(threshold: float, decisions: Decisions | None = None) -> DecisionMetrics:
    return measure_decisions(LABELS, SCORES, threshold, CONFIG, np.arange(VIDEOS), decisions)


def test_the_thresholds_of_validation_are_tried_on_these_videos() -> None:
    chosen = decisions_of_validation()
    threshold = chosen.operating_points[0].threshold
    found = measure(threshold, chosen)
    assert [point["name"] for point in found.operating_points] == ["balanced", "fpr_0.01", "fpr_0.001"]
    balanced = found.operating_points[0]
    overall = metrics.measure_binary(LABELS, SCORES, threshold)
    assert balanced["tpr"] == overall["recall"] == balanced["found"] / balanced["n_fake"]
    assert balanced["fpr"] == pytest.approx(1 - overall["specificity"])
    tpr, fpr = balanced["tpr"], balanced["fpr"]
    assert balanced["precision"] == pytest.approx(0.05 * tpr / (0.05 * tpr + 0.95 * fpr))
    low, high = balanced["precision_interval"]
    assert low <= balanced["precision"] <= high
    assert "40 real validation videos" in (found.operating_points[1]["note"] or "")
    assert found.coverage[0]["accuracy"] == overall["accuracy"]


def test_abstention_and_calibration_of_validation_are_tried_too() -> None:
    chosen = decisions_of_validation()
    found = measure(0.5, chosen)
    assert found.uncertain_band is not None and found.uncertain_band["n"] == VIDEOS
    method = f"calibrated ({chosen.calibration.method})"
    assert [row["name"] for row in found.calibration] == ["score", method]
    assert found.calibration[1]["log_loss"] < found.calibration[0]["log_loss"]
    ratio, ratios = found.likelihood_ratio, found.log_ratios
    assert ratio is not None and ratios is not None and 0 < ratio["cllr_min"] <= ratio["cllr"]
    assert ratio["misleading_reals"] == (ratios[LABELS == 0] > 0).sum() > 0
    assert ratio["misleading_fakes"] == (ratios[LABELS == 1] < 0).sum() > 0
    assert "log_ratios" not in found.as_json()
    assert found.probabilities is not None and found.probabilities.shape == (VIDEOS,)
    assert "probabilities" not in found.as_json()


def test_what_a_bundle_without_proof_promises_is_not_repeated() -> None:
    found = measure(0.5, decisions_of_validation().model_copy(update={"unproven": "it guesses"}))
    assert {point["precision"] for point in found.operating_points} == {None}
    assert found.operating_points[0]["tpr"] is not None
    assert (found.uncertain_band, found.unproven, found.likelihood_ratio) == (None, "it guesses", None)


def test_without_a_bundle_only_the_threshold_in_force_is_tried() -> None:
    found = measure(0.5)
    assert [point["name"] for point in found.operating_points] == ["in force"]
    assert found.uncertain_band is None and found.calibration == []


def test_a_threshold_that_is_none_of_the_bundles_comes_first() -> None:
    found = measure(0.123, decisions_of_validation())
    assert [point["name"] for point in found.operating_points][:2] == ["in force", "balanced"]
    assert found.operating_points[0]["threshold"] == 0.123


def test_several_videos_of_one_person_say_less_than_as_many_of_several() -> None:
    pairs = np.arange(VIDEOS) // 2
    scores = SCORES[2 * pairs]
    widths = []
    for drawn in (np.arange(VIDEOS), pairs):
        found = measure_decisions(LABELS, scores, 0.5, CONFIG, drawn).operating_points[0]
        widths.append(
            [found[f"{rate}_interval"].high - found[f"{rate}_interval"].low for rate in ("tpr", "fpr")]
        )
    assert np.greater(widths[1], 1.2 * np.array(widths[0])).all()
