"""The stretches of time in which a track looks fake. Pure functions on arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

GAP = 2.5  # times the usual distance of a track's faces; further apart, they are not one stretch


@dataclass(frozen=True)
class Segment:
    """A run of a track's faces whose smoothed score is at the threshold or above."""

    start_s: float
    end_s: float
    first: int  # positions of its faces in the track
    last: int


def smooth_scores(times: ArrayLike, scores: ArrayLike, window_s: float) -> np.ndarray:
    """(n,) float64: for each face the mean score of the faces within half a window of it.

    ``times`` in seconds, non-decreasing. A window of 0 leaves the scores as they are.
    """
    t, s = np.asarray(times, np.float64), np.asarray(scores, np.float64)
    reach = window_s / 2 + 1e-9
    first = np.searchsorted(t, t - reach, side="left")
    last = np.searchsorted(t, t + reach, side="right")
    return np.array([s[a:b].mean() for a, b in zip(first, last, strict=True)], np.float64)


def find_segments(times: ArrayLike, scores: ArrayLike, threshold: float) -> list[Segment]:
    """The segments of one track, from its faces' ``(n,)`` times in seconds and smoothed scores.

    A segment reaches halfway to the neighbouring faces that are not in it, but never further than half of
    the track's usual distance between two faces: what lies between looks was not seen.
    """
    t, s = np.asarray(times, np.float64), np.asarray(scores, np.float64)
    steps = np.diff(t)
    usual = float(np.median(steps)) if steps.size else 0.0
    above = s >= threshold
    joined = above[1:] & above[:-1] & (steps <= GAP * usual)
    starts = np.flatnonzero(above & ~np.concatenate([[False], joined]))
    ends = np.flatnonzero(above & ~np.concatenate([joined, [False]]))
    return [
        Segment(
            float(t[a] - _measure_reach(steps, a - 1, usual)),
            float(t[b] + _measure_reach(steps, b, usual)),
            int(a),
            int(b),
        )
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


def sum_covered_seconds(found: Sequence[Segment]) -> float:
    """Seconds that the segments cover together; what several tracks share counts once."""
    total, reached = 0.0, -np.inf
    for segment in sorted(found, key=lambda segment: segment.start_s):
        total += max(0.0, segment.end_s - max(segment.start_s, reached))
        reached = max(reached, segment.end_s)
    return float(total)


def _measure_reach(steps: np.ndarray, step: int, usual: float) -> float:
    """Half of a step between two faces, as far as it is a usual one; 0 beyond the track's ends."""
    return min(float(steps[step]), usual) / 2 if 0 <= step < steps.size else 0.0
