"""Intervals over videos."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake.metrics import bootstrap_interval

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
    assert bootstrap_interval(y, s, g, n=200, seed=1) == bootstrap_interval(y, s, g, n=200, seed=1)
    assert bootstrap_interval(y, s, g, n=200, seed=1) != bootstrap_interval(y, s, g, n=200, seed=2)


def test_the_quick_auc_equals_scikit_learns_on_every_resample() -> None:
    y, s, g = sample(3)
    quick = bootstrap_interval(y, s, g, "auc", n=100)
    assert quick == pytest.approx(
        bootstrap_interval(y, s, g, lambda a, b: float(roc_auc_score(a, b)), n=100), abs=1e-12
    )


def test_the_interval_covers_the_true_auc_about_as_often_as_it_says() -> None:
    y, s, _ = sample(99, videos=40000, frames=1)
    truth = roc_auc_score(y, s)
    covered = 0
    for seed in range(60):
        interval = bootstrap_interval(*sample(seed), n=150)
        assert interval is not None
        covered += interval.low <= truth <= interval.high
    assert covered >= 50


def test_frames_of_one_video_do_not_narrow_the_interval() -> None:
    y, s, g = sample(5)
    by_video, by_frame = (
        bootstrap_interval(y, s, g, n=300),
        bootstrap_interval(y, s, np.arange(y.size), n=300),
    )
    assert by_video is not None and by_frame is not None
    assert by_video.high - by_video.low > 1.5 * (by_frame.high - by_frame.low)


@pytest.mark.parametrize(
    ("labels", "groups", "n"),
    [([0, 0, 1, 1], "abcd", 0), ([0, 0, 1, 1], "abcc", 50), ([1, 1, 1, 1], "abcd", 50), ([], "", 50)],
    ids=["no resamples asked for", "one fake video", "one class", "nothing"],
)
def test_there_is_no_interval_where_it_would_say_nothing(labels: list[int], groups: str, n: int) -> None:
    assert bootstrap_interval(labels, [0.5] * len(labels), list(groups), n=n) is None


def test_a_metric_that_is_undefined_on_most_resamples_has_no_interval() -> None:
    assert bootstrap_interval([0, 0, 1, 1], [0.5] * 4, list("abcd"), lambda y, s: None, n=20) is None
