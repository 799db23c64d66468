"""Which frames of a video to look at, from their presentation times alone.

Pure functions on arrays; nothing here opens a file.
"""

import numpy as np

from deepfake.config import SamplingConfig


def choose_frames(times: np.ndarray, keyframes: np.ndarray, config: SamplingConfig) -> np.ndarray:
    """Indices of the frames to look at.

    Parameters
    ----------
    times : (n,) float64, non-decreasing
        Presentation times in seconds, the first frame at any origin.
    keyframes : (n,) bool
        Whether each frame is a key frame.

    Returns
    -------
    (k,) int64, strictly increasing, k <= config.max_frames; empty only where n is 0.
    """
    n = len(times)
    if n == 0:
        return np.empty(0, np.int64)
    if config.policy == "every_n":
        chosen = np.arange(0, n, config.every_n)
    elif config.policy == "per_second":
        chosen = _choose_per_second(times - times[0], config.per_second)
    elif config.policy == "count":
        chosen = spread_evenly(n, config.count)
    else:
        chosen = np.flatnonzero(keyframes)
        if not len(chosen):  # a container that marks no key frame still has a first frame
            chosen = np.zeros(1, np.int64)
    if len(chosen) > config.max_frames:
        chosen = chosen[spread_evenly(len(chosen), config.max_frames)]
    return chosen.astype(np.int64)


def _choose_per_second(times: np.ndarray, rate: float) -> np.ndarray:
    """The frame on show at each tick 0, 1/rate, 2/rate, ...; a frame shown for several ticks once."""
    ticks = np.arange(int(np.floor(times[-1] * rate + 1e-6)) + 1) / rate
    return np.unique(np.searchsorted(times, ticks + 1e-6, side="right") - 1)


def spread_evenly(n: int, count: int) -> np.ndarray:
    """``count`` of ``n`` positions ``(count,) int64``, each in the middle of its share; all where no more."""
    if count >= n:
        return np.arange(n)
    return ((np.arange(count) + 0.5) * n / count).astype(np.int64)
