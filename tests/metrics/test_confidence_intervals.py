"""Intervals: over videos by a bootstrap, and exact ones of shares."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake.metrics import (
    bootstrap_auc,
    bootstrap_auc_difference,
    bootstrap_metrics,
    bound_difference,
    bound_precision,
    bound_share,
    count_effectively,
    measure_binary,
    predict_precision,
)
from deepfake.metrics.classification import METRICS

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def sample(seed: int, videos: int = 60, frames: int = 5, spread: float = 0.15) -> Sample:
    """Scores whose noise is shared by the frames of a video; rounded, so that ties occur."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(videos), frames)
    labels = groups % 2
    noise = rng.normal(0, spread, videos)[groups] + rng.normal(0, 0.02, groups.size)
    return labels, np.round(np.clip(0.4 + 0.2 * labels + noise, 0, 1), 2), groups


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    y, s, g = sample(0)
    assert bootstrap_auc(y, s, g, n=200, seed=1) == bootstrap_auc(y, s, g, n=200, seed=1)
    assert bootstrap_auc(y, s, g, n=200, seed=1) != bootstrap_auc(y, s, g, n=200, seed=2)


def test_the_interval_covers_the_true_auc_about_as_often_as_it_says() -> None:
    y, s, _ = sample(99, videos=40000, frames=1)
    truth = roc_auc_score(y, s)
    covered = 0
    for seed in range(60):
        interval = bootstrap_auc(*sample(seed), n=150)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert covered >= 50


def test_frames_of_one_video_do_not_narrow_the_interval() -> None:
    y, s, g = sample(5)
    by_video, by_frame = (
        bootstrap_auc(y, s, g, n=300),
        bootstrap_auc(y, s, np.arange(y.size), n=300),
    )
    assert by_video is not None and by_frame is not None
    assert by_video.high - by_video.low > 1.5 * (by_frame.high - by_frame.low)


@pytest.mark.parametrize(
    ("labels", "groups", "n"),
    [([0, 0, 1, 1], "abcd", 0), ([0, 0, 1, 1], "abcc", 50), ([1, 1, 1, 1], "abcd", 50), ([], "", 50)],
    ids=["no resamples asked for", "one fake video", "one class", "nothing"],
)
def test_there_is_no_interval_where_it_would_say_nothing(labels: list[int], groups: str, n: int) -> None:
    assert bootstrap_auc(labels, [0.5] * len(labels), list(groups), n=n) is None


def test_no_alarm_among_forty_is_no_rate_of_zero() -> None:
    found = bound_share(0, 40)
    assert found is not None
    assert found.low == 0.0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 40))  # the rate that shows none in 2.5 % of cases


def test_videos_of_one_person_are_worth_less_than_as_many_of_different_people() -> None:
    alike, mixed = [True] * 6 + [False] * 6, [True, False] * 6
    people = np.repeat(np.arange(4), 3)
    assert count_effectively(alike, np.arange(12)) == (6.0, 12.0)  # nobody is on two
    part, whole = count_effectively(alike, people)
    assert part / whole == pytest.approx(0.5) and whole < 4  # as four, and less for their being so few
    assert count_effectively(mixed, people)[1] > whole
    assert count_effectively([False] * 12, people) == (0.0, 4.0)
    assert count_effectively([True] * 3, [7, 7, 7]) == (1.0, 1.0)
    assert count_effectively([], []) == (0.0, 0.0)


def test_the_interval_of_a_rate_covers_it_as_often_as_it_says_though_people_are_called_alike() -> None:
    random = np.random.default_rng(0)
    people, plainly, by_person = np.repeat(np.arange(30), 5), 0, 0
    for _ in range(200):
        rates = random.beta(0.5, 1.5, 30)  # of each person; .25 in the mean
        called = random.random(150) < rates[people]
        naive, found = bound_share(int(called.sum()), 150), bound_share(*count_effectively(called, people))
        assert naive is not None and found is not None
        plainly += naive.low <= 0.25 <= naive.high
        by_person += found.low <= 0.25 <= found.high
    assert plainly < 175 and by_person >= 188


def test_of_nothing_nothing_is_known() -> None:
    assert bound_share(0, 0) is None
    assert bound_precision(0, 0, 1, 5, 0.01) is None


def test_the_precision_is_within_its_interval_and_few_reals_leave_it_wide() -> None:
    few, many = bound_precision(9, 10, 0, 40, 0.01), bound_precision(900, 1000, 0, 4000, 0.01)
    assert few is not None and many is not None
    assert few.low < many.low < predict_precision(0.9, 0.0, 0.01) == few.high == 1.0
    assert few.low < 0.1


def test_the_precisions_interval_covers_it_at_least_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    truth = predict_precision(0.8, 0.05, 0.02)
    covered = 0
    for _ in range(200):
        hits, alarms = random.binomial(60, 0.8), random.binomial(80, 0.05)
        interval = bound_precision(int(hits), 60, int(alarms), 80, 0.02)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert covered >= 190


def test_what_is_never_called_fake_has_no_precision_to_speak_of() -> None:
    found = bound_precision(0, 10, 0, 10, 0.5)
    assert found is not None and (found.low, found.high) == (0.0, 1.0)


def test_every_metric_has_the_interval_that_resampling_the_rows_gives() -> None:
    random = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 3)
    y = groups % 2
    s = np.round(np.clip(random.normal(0.4 + 0.2 * y, 0.25), 0, 1), 2)
    found = bootstrap_metrics(y, s, groups, 0.5, n=60, seed=4)
    drawn = np.random.default_rng(4)
    samples = []
    for _ in range(60):
        counts = np.bincount(drawn.integers(0, 30, 30), minlength=30)
        rows = np.repeat(np.arange(y.size), counts[groups])
        samples.append(measure_binary(y[rows], s[rows], 0.5))
    for name in METRICS:
        expected = np.quantile([sample[name] for sample in samples], [0.025, 0.975])
        assert found[name] == pytest.approx(tuple(expected), abs=1e-9), name
    assert bootstrap_auc(y, s, groups, n=60, seed=4) == found["auc"]


def test_there_are_no_intervals_where_a_class_has_one_group() -> None:
    found = bootstrap_metrics([0, 0, 1, 1], [0.5] * 4, list("abcc"), n=20)
    assert found == dict.fromkeys(METRICS)


def test_the_difference_of_two_detectors_is_surer_than_either_for_both_see_the_same_videos() -> None:
    y, s, g = sample(7, spread=0.25)
    worse = np.clip(s + 0.02 * np.random.default_rng(0).normal(size=s.size), 0, 1)
    found, alone = bootstrap_auc_difference(y, s, worse, g, n=200), bootstrap_auc(y, s, g, n=200)
    assert found is not None and alone is not None
    assert found.low <= roc_auc_score(y, s) - roc_auc_score(y, worse) <= found.high
    assert found.high - found.low < 0.2 * (alone.high - alone.low)
    assert bootstrap_auc_difference(y, worse, s, g, n=200) == pytest.approx((-found.high, -found.low))
    assert bootstrap_auc_difference(y, s, s, g, n=50) == (0.0, 0.0)


def test_the_difference_is_that_of_the_same_resamples_and_of_mean_aucs_where_there_are_several() -> None:
    y, s, g = sample(8, videos=20, frames=2)
    random = np.random.default_rng(1)
    others = np.clip(s + random.normal(0, 0.2, (2, s.size)), 0, 1)
    drawn = np.random.default_rng(4)
    expected = []
    for _ in range(40):
        counts = np.bincount(drawn.integers(0, 20, 20), minlength=20)
        rows = np.repeat(np.arange(y.size), counts[g])
        first, *more = (roc_auc_score(y[rows], one[rows]) for one in (s, *others))
        expected.append(first - np.mean(more))
    found = bootstrap_auc_difference(y, s, others, g, n=40, seed=4)
    assert found == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))


def test_there_is_no_difference_to_bound_where_a_class_has_one_group() -> None:
    assert bootstrap_auc_difference([0, 0, 1, 1], [0.5] * 4, [0.4] * 4, list("abcc"), n=20) is None


@pytest.mark.parametrize(
    ("counts", "ends"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.0582, 0.8062)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
        ((10, 10, 0, 20), (0.6791, 1.0000)),
        ((10, 10, 0, 10), (0.6075, 1.0000)),
    ],
)
def test_a_difference_of_shares_is_bounded_as_published(
    counts: tuple[int, int, int, int], ends: tuple[float, float]
) -> None:
    """Newcombe 1998, Statistics in Medicine 17, table II, method 10."""
    assert bound_difference(*counts) == pytest.approx(ends, abs=1e-4)
    low, high = bound_difference(*counts[2:], *counts[:2])
    assert (-high, -low) == pytest.approx(ends, abs=1e-4)


def test_a_difference_from_nothing_has_no_interval() -> None:
    assert bound_difference(0, 0, 1, 2) is None
