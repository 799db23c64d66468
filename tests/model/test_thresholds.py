"""What a bundle decides with, from the scores of validation."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from deepfake import metrics
from deepfake.model import thresholds


def faces(videos: int = 40, frames: int = 3, seed: int = 0, per_person: int = 1) -> pa.Table:
    random = np.random.default_rng(seed)
    rows = [
        {
            "video_id": f"{label}-{i:03d}",
            "frame_index": frame,
            "label": label,
            "score": float(np.clip(random.normal(0.35 + 0.3 * label, 0.15), 0, 1)),
            "group_id": f"{label}-{i // per_person}",
        }
        for label in (0, 1)
        for i in range(videos)
        for frame in range(frames)
    ]
    return pa.Table.from_pylist(rows)


def test_thresholds_are_of_videos_one_set_for_each_way_of_aggregating() -> None:
    table = faces()
    chosen = thresholds.choose_decisions(table)
    assert set(chosen) == set(metrics.POLICIES)
    for policy, decision in chosen.items():
        videos = metrics.aggregate_videos(table, policy, thresholds.TOP_K)
        y, s = videos["label"].to_numpy(), videos["score"].to_numpy()
        balanced, one_percent, _ = decision.operating_points
        assert balanced.threshold == metrics.choose_balanced_threshold(y, s)
        assert one_percent.threshold == metrics.choose_threshold_at_fpr(y, s, 0.01)
        assert (balanced.real_videos, balanced.fake_videos) == (40, 40)
        assert balanced.tpr == pytest.approx((s[y == 1] >= balanced.threshold).mean())
    assert chosen["max"].operating_points[0].threshold > chosen["mean"].operating_points[0].threshold


def test_a_rate_that_the_videos_are_too_few_for_says_so() -> None:
    balanced, one_percent, one_in_a_thousand = thresholds.choose_decisions(faces(videos=120))[
        "mean"
    ].operating_points
    assert balanced.note is None and one_percent.note is None
    assert one_in_a_thousand.note is not None
    assert "120 real validation videos cannot show" in one_in_a_thousand.note
    assert one_in_a_thousand.fpr == 0.0
    assert one_in_a_thousand.fpr_interval[1] == pytest.approx(0.03, abs=0.002)


def test_many_videos_of_few_people_promise_no_more_than_the_people_do() -> None:
    apart, shared = (
        thresholds.choose_decisions(faces(videos=300, per_person=n))["mean"].operating_points for n in (1, 10)
    )
    for one, many in zip(apart, shared, strict=True):
        assert (many.threshold, many.fpr, many.tpr) == (one.threshold, one.fpr, one.tpr)
        assert one.effective_reals == pytest.approx((one.fpr * 300, 300))
        assert many.effective_reals is not None and many.effective_reals[1] <= 300
        assert many.fpr_interval[1] >= one.fpr_interval[1]
    assert apart[2].fpr == 0.0 and shared[2].fpr_interval[1] == pytest.approx(0.116, abs=0.001)  # 0 of 30
    assert shared[2].note is not None and "300 real validation videos, worth 30 of" in shared[2].note


def test_the_calibration_keeps_the_ranking_and_moves_with_the_prevalence() -> None:
    calibration = thresholds.choose_decisions(faces())["mean"].calibration
    assert calibration.method != "none"  # these scores huddle around one half
    scores = np.linspace(0, 1, 11)
    here, rare = calibration(scores), calibration(scores, prevalence=0.01)
    assert (np.diff(here) > 0).all()
    assert (rare < here)[1:-1].all()
    assert calibration(scores, prevalence=0.5) == pytest.approx(here)


def test_likelihood_ratios_go_no_further_than_the_validation_people_allow() -> None:
    calibration = thresholds.choose_decisions(faces(per_person=4))["mean"].calibration
    assert calibration is not None and calibration.ratio_bounds is not None
    low, high = calibration.ratio_bounds
    assert 10**high < 11 and 10**low > 1 / 11  # of ten people of each class
    ratios = calibration.compute_log_ratios(np.array([0.0, 0.5, 1.0]))
    assert ratios is not None and (ratios[0], ratios[2]) == (low, high) and low < ratios[1] < high
    few = thresholds.choose_decisions(faces(videos=8))["mean"].calibration
    assert few is not None and few.compute_log_ratios(np.array([0.5])) is None
    assert "ratio_bounds" not in few.model_dump() and "ratio_bounds" in calibration.model_dump()


def test_few_people_leave_the_score_as_it_is_and_say_so() -> None:
    calibration = thresholds.choose_decisions(faces(videos=8))["mean"].calibration
    assert calibration.method == "none"
    assert calibration.note is not None and "at least 10 identities" in calibration.note
    assert calibration(np.array([0.2, 0.9])).tolist() == [0.2, 0.9]


def test_one_class_is_refused() -> None:
    table = faces(videos=3)
    with pytest.raises(ValueError, match="both classes"):
        thresholds.choose_decisions(table.filter(pa.compute.equal(table["label"], 1)))


def test_a_point_of_an_older_bundle_is_written_as_it_was_read() -> None:
    older = {
        "name": "balanced", "threshold": 0.5, "target_fpr": None, "real_videos": 30, "fake_videos": 30,
        "fpr": 0.1, "tpr": 0.9, "fpr_interval": [0.0, 0.3], "tpr_interval": [0.7, 1.0], "note": None,
    }  # fmt: skip
    assert thresholds.OperatingPoint.model_validate(older).model_dump(mode="json") == older
    known = older | {"effective_reals": [2.0, 20.0], "effective_fakes": [18.0, 20.0]}
    assert thresholds.OperatingPoint.model_validate(known).model_dump(mode="json") == known
