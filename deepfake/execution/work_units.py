"""Cut a catalog into units of work of similar cost, the same on every run.

The plan depends on the catalog alone, never on how many workers there are, so that a job started again
finds the units it has finished.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.media import are_images
from deepfake.config import hash_json
from deepfake.io import tables

# Rough seconds of one core, only ever compared with each other: measured on FF++ c23 clips at every
# 30th frame, 1 to 1.5 s a clip of 0.2 to 3 MB.
IMAGE_SECONDS = 0.05
VIDEO_SECONDS = 0.5
SECONDS_PER_MEGABYTE = 0.5
UNKNOWN_SIZE_SECONDS = 2.0

MIN_UNIT_SECONDS, MAX_UNIT_SECONDS = 1.0, 60.0
UNITS = 256  # aimed at, between these bounds
# More than this the driver, the object store and a listing of finished units should not hold; the units of a
# larger archive take longer than MAX_UNIT_SECONDS each.
MOST_UNITS = 100_000


@dataclass(frozen=True)
class Unit:
    """Consecutive catalog rows that one task works through."""

    unit_id: str
    rows: pa.Table
    seconds: float  # estimated


def plan_units(catalog: pa.Table, config_sha256: str) -> list[Unit]:
    """Units covering the catalog in its order.

    A unit's id names its videos (path, size, modification time) and the configuration: other bytes or
    another configuration never match an old unit.
    """
    seconds = estimate_seconds(catalog)
    total = float(seconds.sum())
    target = max(float(np.clip(total / UNITS, MIN_UNIT_SECONDS, MAX_UNIT_SECONDS)), total / MOST_UNITS)
    return group_rows(catalog, seconds, target, config_sha256)


def group_rows(rows: pa.Table, seconds: np.ndarray, target: float, key: str) -> list[Unit]:
    """Units of consecutive rows that each take ``target`` seconds, the last excepted.

    ``seconds`` are (n,) float64. A unit's id names the rows' videos and the ``key``.
    """
    units = []
    rows = rows.combine_chunks()  # a slice of many chunks would look through all of them
    for start, stop in _find_cuts(seconds, target):
        some = rows.slice(start, stop - start)
        named = some.select(["video_id", "size_bytes", "modified"]).to_pydict()
        identity = [key, *([str(value) for value in column] for column in named.values())]
        units.append(Unit(hash_json(identity)[:16], some, float(seconds[start:stop].sum())))
    return units


def estimate_seconds(catalog: pa.Table) -> np.ndarray:
    """(n,) float64: rough seconds of one core for each row."""
    size = catalog["size_bytes"].to_numpy(zero_copy_only=False).astype(np.float64)
    video = np.where(
        np.isnan(size), UNKNOWN_SIZE_SECONDS, VIDEO_SECONDS + np.nan_to_num(size) / 1e6 * SECONDS_PER_MEGABYTE
    )
    image = are_images(catalog["video_id"]).to_numpy()
    return np.where(image, IMAGE_SECONDS, video)


def _find_cuts(seconds: np.ndarray, target: float) -> Sequence[tuple[int, int]]:
    """``(start, stop)`` of runs that each reach the target cost, the last excepted."""
    until = np.cumsum(seconds)
    cuts, start, before = [], 0, 0.0
    while start < len(seconds):
        stop = min(int(np.searchsorted(until, before + target)) + 1, len(seconds))
        cuts.append((start, stop))
        start, before = stop, float(until[stop - 1])
    return cuts


@dataclass(frozen=True)
class Todo:
    """The work of one run."""

    units: list[Unit]
    copies: pa.Table  # table ``videos``: copies, which need no work
    copies_id: str  # names the copies as units are named
    earlier: pa.Table | None  # columns EARLIER of the manifest of an earlier finished run
    gone: pa.Array | None = None  # ids of its videos that the input has no longer; None: not looked at
    listed: pa.Table | None = None  # what is known today of each video, of those done too
    leaving: pa.Array | None = None  # ids of earlier videos whose rows leave: moved, or to be removed

    @property
    def nothing_new(self) -> bool:
        """Whether an earlier run has done everything, and knows what is gone."""
        if self.earlier is None or self.units or self.copies.num_rows:
            return False
        if self.leaving is not None and len(self.leaving):
            return False
        if self.listed is not None and tables.select_relabelled(self.earlier, self.listed).num_rows:
            return False
        known = self.earlier["video_id"].filter(pc.fill_null(self.earlier["gone"], False))
        return self.gone is None or set(known.to_pylist()) == set(self.gone.to_pylist())
