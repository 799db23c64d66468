"""Which line is drawn, from what the bundle found on validation videos and what the user asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from deepfake.config import ScoringConfig
from deepfake.errors import UsageError
from deepfake.model import thresholds
from deepfake.model.bundle import Bundle, BundleInfo
from deepfake.model.verdicts import VerdictRule, choose_verdict_rule, explain_unproven, find_missing_proof


@pytest.fixture(scope="module")
def chosen() -> dict[str, thresholds.Decisions]:
    """From 40 real and 40 fake videos of three faces each, their scores overlapping."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(80):
        label = number % 2
        for frame, score in enumerate(np.clip(random.normal(0.42 + 0.16 * label, 0.15, 3), 0, 1)):
            face = {"video_id": str(number), "frame_index": frame, "label": label, "score": float(score)}
            rows.append(face)
    return thresholds.choose_decisions(pa.Table.from_pylist(rows))


def bundle(chosen: dict[str, thresholds.Decisions] | None = None, **more: Any) -> Bundle:
    found: dict[str, Any] = {}
    if chosen:
        found = {
            "operating_points": {name: made.operating_points for name, made in chosen.items()},
            "uncertain": {name: made.uncertain for name, made in chosen.items()},
            "calibration": {name: made.calibration for name, made in chosen.items()},
        }
    info = BundleInfo(
        model_sha256="", threshold=0.4, threshold_rule="rule", **{"unproven": "", **found, **more}
    )
    return Bundle(info, b"", "bundle")


def test_a_bundle_without_operating_points_has_its_plain_threshold_and_a_narrow_band() -> None:
    rule = choose_verdict_rule(bundle(), ScoringConfig())
    assert (rule.name, rule.threshold, rule.measured) == ("rule", 0.4, None)
    assert (rule.uncertain_from, rule.uncertain_to) == pytest.approx((0.35, 0.45))
    assert rule.compute_probability(0.9) is None


@pytest.mark.parametrize("aggregation", ["mean", "max"])
def test_the_point_the_band_and_the_rates_are_those_of_the_aggregation_in_use(
    chosen: dict[str, thresholds.Decisions], aggregation: Any
) -> None:
    rule = choose_verdict_rule(bundle(chosen), ScoringConfig(aggregation=aggregation))
    balanced = chosen[aggregation].operating_points[0]
    assert (rule.name, rule.threshold) == ("balanced", balanced.threshold)
    assert rule.measured == balanced
    assert rule.uncertain_from == min(chosen[aggregation].uncertain.low, balanced.threshold)


def test_a_strict_point_calls_nothing_fake_below_its_threshold_and_nothing_real_above_the_balanced_one(
    chosen: dict[str, thresholds.Decisions],
) -> None:
    strict = choose_verdict_rule(bundle(chosen), ScoringConfig(operating_point="fpr_0.01"))
    balanced = choose_verdict_rule(bundle(chosen), ScoringConfig())
    assert strict.threshold > balanced.threshold
    assert strict.judge(strict.threshold - 1e-6) == "uncertain"
    assert strict.judge(max(strict.threshold, strict.uncertain_to)) == "likely_fake"
    assert strict.measured is not None and "cannot show" in (strict.measured.note or "")


def test_a_threshold_of_the_users_own_promises_no_rates(chosen: dict[str, thresholds.Decisions]) -> None:
    rule = choose_verdict_rule(bundle(chosen), ScoringConfig(threshold=0.8, uncertain=0.1))
    assert (rule.name, rule.threshold, rule.measured) == ("scoring.threshold", 0.8, None)
    assert (rule.uncertain_from, rule.uncertain_to) == pytest.approx((0.7, 0.9))


@pytest.mark.parametrize("other", [{"over_tracks": "max"}, {"aggregation": "top_k", "top_k": 3}])
def test_thresholds_of_one_aggregation_are_not_used_for_another(
    chosen: dict[str, thresholds.Decisions], other: dict[str, Any]
) -> None:
    assert choose_verdict_rule(bundle(chosen), ScoringConfig(**other)).name == "rule"
    with pytest.raises(UsageError, match=r"fpr_0\.01"):
        choose_verdict_rule(bundle(chosen), ScoringConfig(operating_point="fpr_0.01", **other))


def test_the_probability_rises_with_the_score(chosen: dict[str, thresholds.Decisions]) -> None:
    rule = choose_verdict_rule(bundle(chosen), ScoringConfig())
    found = [rule.compute_probability(score) for score in (0.1, 0.5, 0.9)]
    assert found == sorted(found) and found[0] < 0.2 < 0.8 < found[-1]  # type: ignore[type-var, operator]


def test_the_ratio_rises_with_the_score_as_far_as_validation_supports(
    chosen: dict[str, thresholds.Decisions],
) -> None:
    rule = choose_verdict_rule(bundle(chosen), ScoringConfig())
    found = [rule.describe_ratio(score) for score in (0.0, 0.1, 0.45, 0.5, 0.9, 1.0)]
    ratios = [one["log10_lr"] for one in found]
    low, high = found[0]["log10_lr_low"], found[0]["log10_lr_high"]
    assert ratios == sorted(ratios) and (ratios[0], ratios[-1]) == (low, high) and low < ratios[2] < high
    assert 10**high <= 40 and 10**-low <= 40  # of forty videos of each class


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"over_tracks": "max"}, "no calibration for scores that are aggregated by max of tracks"),
        ({"aggregation": "top_k", "top_k": 3}, "aggregated by top 3"),
    ],
)
def test_scores_that_are_not_calibrated_have_no_ratio_and_say_why(
    chosen: dict[str, thresholds.Decisions], other: dict[str, Any], words: str
) -> None:
    found = choose_verdict_rule(bundle(chosen), ScoringConfig(**other)).describe_ratio(0.9)
    assert list(found) == ["no_ratio"] and words in found["no_ratio"]


def test_a_bundle_with_few_people_or_of_before_has_no_ratio_and_says_why(
    chosen: dict[str, thresholds.Decisions],
) -> None:
    calibration = chosen["mean"].calibration
    assert calibration is not None
    for change, words in (
        ({"note": "Not calibrated.", "log_loss": {}, "ratio_bounds": None}, "takes 10 people of each class"),
        ({"ratio_bounds": None}, "made before it was recorded"),
    ):
        made = {"mean": calibration.model_copy(update=change)}
        (reason,) = (
            choose_verdict_rule(bundle(calibration=made), ScoringConfig()).describe_ratio(0.9).values()
        )
        assert words in reason


@pytest.mark.parametrize(
    ("score", "verdict"), [(0.39, "likely_real"), (0.4, "uncertain"), (0.6, "likely_fake")]
)
def test_a_verdict_belongs_to_the_upper_side_of_each_edge(score: float, verdict: str) -> None:
    assert VerdictRule("x", 0.5, 0.4, 0.6).judge(score) == verdict


GOOD = {
    "n_real": 20, "n_fake": 20, "auc": 0.7, "intervals": {"auc": [0.51, 0.9]},
    "identities": {"real": 10, "fake": 10},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"identities": None}, ""),  # who is on the videos is not known
        ({"n_real": 19}, "19 real and 20 fake videos, a verdict takes 20 of each"),
        ({"identities": {"real": 10, "fake": 9}}, "10 real and 9 fake people, a verdict takes 10 of each"),
        ({"intervals": {"auc": [0.5, 0.9]}}, "no more than guessing: the AUC of the videos is 0.700"),
        ({"intervals": {"auc": None}}, "no more than guessing"),
    ],
)
def test_a_verdict_takes_videos_and_people_of_both_classes_and_more_than_guessing(
    change: dict[str, Any], words: str
) -> None:
    found = find_missing_proof({**GOOD, **change})
    assert words in found and bool(found) == bool(words)


def test_a_bundle_without_proof_leaves_every_score_undecided_and_promises_nothing(
    chosen: dict[str, thresholds.Decisions],
) -> None:
    guessing = bundle(chosen, unproven="it guesses")
    for asked in ({}, {"operating_point": "fpr_0.01"}, {"threshold": 0.5, "uncertain": 0.0}):
        rule = choose_verdict_rule(guessing, ScoringConfig.model_validate(asked))
        assert {rule.judge(score) for score in (0.0, rule.threshold, 1.0)} == {"uncertain"}
        assert (rule.measured, rule.compute_probability(0.9), rule.unproven) == (None, None, "it guesses")
        assert rule.describe_ratio(0.9) == {"no_ratio": "it guesses"}


def test_what_a_bundle_does_not_say_of_its_proof_follows_from_its_metrics() -> None:
    silent = bundle(unproven=None).info
    assert "nothing is recorded" in explain_unproven(silent)
    assert not explain_unproven(silent.model_copy(update={"metrics": {"val_video": GOOD}}))
    assert silent.compute_identity() != bundle(unproven="it guesses").info.compute_identity()
