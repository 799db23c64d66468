"""Cut a catalog into units of work of similar cost, the same on every run.

The plan depends on the catalog alone, never on how many workers there are, so that a job started again
finds the units it has finished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from deepfake.catalog import is_image
from deepfake.config import sha256_of

# Rough seconds of one core, only ever compared with each other: measured on FF++ c23 clips at every
# 30th frame, 1 to 1.5 s a clip of 0.2 to 3 MB.
IMAGE_SECONDS = 0.05
VIDEO_SECONDS = 0.5
SECONDS_PER_MEGABYTE = 0.5
UNKNOWN_SIZE_SECONDS = 2.0

MIN_UNIT_SECONDS, MAX_UNIT_SECONDS = 1.0, 60.0
UNITS = 256  # aimed at, between these bounds


@dataclass(frozen=True)
class Unit:
    """Consecutive catalog rows that one task works through."""

    unit_id: str
    rows: pa.Table
    seconds: float  # estimated


def plan(catalog: pa.Table, config_sha256: str) -> list[Unit]:
    """Units covering the catalog in its order.

    A unit's id names its videos (path, size, modification time) and the configuration: other bytes or
    another configuration never match an old unit.
    """
    seconds = estimate(catalog)
    target = float(np.clip(seconds.sum() / UNITS, MIN_UNIT_SECONDS, MAX_UNIT_SECONDS))
    units = []
    for start, stop in _cuts(seconds, target):
        rows = catalog.slice(start, stop - start)
        key = rows.select(["video_id", "size_bytes", "modified"]).to_pydict()
        identity = [config_sha256, *([str(value) for value in column] for column in key.values())]
        units.append(Unit(sha256_of(identity)[:16], rows, float(seconds[start:stop].sum())))
    return units


def estimate(catalog: pa.Table) -> np.ndarray:
    """(n,) float64: rough seconds of one core for each row."""
    size = catalog["size_bytes"].to_numpy(zero_copy_only=False).astype(np.float64)
    video = np.where(
        np.isnan(size), UNKNOWN_SIZE_SECONDS, VIDEO_SECONDS + np.nan_to_num(size) / 1e6 * SECONDS_PER_MEGABYTE
    )
    image = np.array([is_image(path) for path in catalog["video_id"].to_pylist()], bool)
    return np.where(image, IMAGE_SECONDS, video)


def _cuts(seconds: np.ndarray, target: float) -> Sequence[tuple[int, int]]:
    """``(start, stop)`` of runs that each reach the target cost, the last excepted."""
    cuts, start, total = [], 0, 0.0
    for i, cost in enumerate(seconds):
        total += float(cost)
        if total >= target:
            cuts.append((start, i + 1))
            start, total = i + 1, 0.0
    if start < len(seconds):
        cuts.append((start, len(seconds)))
    return cuts
