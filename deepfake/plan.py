"""Which crops an epoch shows, in which order, and which worker reads which. Pure numpy, no input or output.

Everything follows from (seed, epoch) and the index; the number of workers only cuts the same global batches
into more slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from deepfake.cropset import Rows

_SELECT, _GROUPS, _WINDOW = 1, 2, 3  # what a random stream is for, so that no two share their numbers


@dataclass(frozen=True)
class Share:
    """What one worker reads in one epoch, in the order in which it reads it."""

    positions: np.ndarray  # int64, positions in the epoch
    sizes: np.ndarray  # int64, one a step: how many of them belong to it; 0 where others have it all
    windows: tuple[tuple[int, int], ...]  # [start, stop) of positions: the pieces that are read at once


@dataclass(frozen=True)
class EpochPlan:
    """One epoch: arrays over its positions, which is the order that one worker would see."""

    rows: np.ndarray  # int64, index into Rows
    occurrence: np.ndarray  # int64, how often the row was already shown in this epoch
    window: np.ndarray  # int64, rises
    group: np.ndarray  # int64, place of the row's row group within the epoch's order of row groups
    global_batch: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def steps(self) -> int:
        """Steps in the epoch; the last batch may be smaller."""
        return -(-len(self) // self.global_batch)

    def batch(self, step: int) -> np.ndarray:
        """Positions ``(<= global_batch,) int64`` of one global batch."""
        return np.arange(step * self.global_batch, min((step + 1) * self.global_batch, len(self)))

    def share(self, rank: int, world: int) -> Share:
        """The slices of worker ``rank`` of ``world``: near-equal parts of each global batch.

        Which row of a batch goes to whom does not matter to the gradient, so rows of one row group are kept
        together: each worker then reads few of a window's row groups instead of all of them.
        """
        position = np.arange(len(self))
        step = position // self.global_batch
        order = np.lexsort((position, self.group, self.window, step))
        inside = position % self.global_batch  # rank of each sorted entry within its step
        size = np.minimum(self.global_batch, len(self) - step * self.global_batch)
        owner = _owner(inside, size, world)
        mine = order[owner == rank]
        return Share(mine, np.bincount(step[owner == rank], minlength=self.steps), self._windows(mine))

    def stretch(self, rank: int, world: int, batch: int) -> Share:
        """One unbroken stretch of the epoch for each worker, in batches of at most ``batch``.

        For work in which the workers need not keep step.
        """
        mine = np.array_split(np.arange(len(self)), world)[rank]
        sizes = np.full(-(-len(mine) // batch), batch, np.int64)
        if len(mine) % batch:
            sizes[-1] = len(mine) % batch
        return Share(mine, sizes, self._windows(mine))

    def _windows(self, mine: np.ndarray) -> tuple[tuple[int, int], ...]:
        cuts = np.flatnonzero(np.diff(self.window[mine])) + 1
        edges = [0, *cuts.tolist(), len(mine)]
        return tuple((start, stop) for start, stop in pairwise(edges) if stop > start)


def _owner(inside: np.ndarray, size: np.ndarray, world: int) -> np.ndarray:
    """Worker of the i-th of ``size`` items cut into ``world`` near-equal runs, longer runs first."""
    quotient, longer = size // world, size % world
    in_longer = inside < longer * (quotient + 1)
    late = longer + (inside - longer * (quotient + 1)) // np.maximum(quotient, 1)
    return np.where(in_longer, inside // (quotient + 1), late)


def training_plan(
    rows: Rows, balance: str, global_batch: int, shuffle_row_groups: int, seed: int, epoch: int
) -> EpochPlan:
    """The shuffled, balanced plan of one training epoch.

    Row groups are put in random order and taken ``shuffle_row_groups`` at a time; rows are shuffled within
    such a window. That reads each row group about once and holds one window in memory, not the data set.
    """
    chosen, occurrence = select(rows, balance, seed, epoch)
    key = rows.file[chosen].astype(np.int64) << 32 | rows.row_group[chosen]
    groups, code = np.unique(key, return_inverse=True)
    place = _random(seed, _GROUPS, epoch).permutation(len(groups))[code]
    window = place // shuffle_row_groups
    order = np.lexsort((_random(seed, _WINDOW, epoch).random(len(chosen)), window))
    return EpochPlan(chosen[order], occurrence[order], window[order], place[order], global_batch)


def validation_plan(rows: Rows, window_row_groups: int = 16) -> EpochPlan:
    """Every row exactly once, in the order of the files, as one batch."""
    order = np.lexsort((rows.row, rows.row_group, rows.file))
    key = rows.file[order].astype(np.int64) << 32 | rows.row_group[order]
    group = np.unique(key, return_inverse=True)[1]
    return EpochPlan(
        order, np.zeros(len(order), np.int64), group // window_row_groups, group, max(1, len(order))
    )


def select(rows: Rows, balance: str, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows that an epoch shows, and how often each was shown before in it: ``(n,) int64`` twice.

    ``none``: each row once. ``class``: as many fakes as reals, as many as the smaller class has. ``method``:
    the same, and the fakes' share is divided evenly over the methods, which shows rows of a rare method more
    than once. From epoch to epoch the choice goes on where it stopped, so that in time all are shown.
    """
    if balance == "none":
        return np.arange(len(rows)), np.zeros(len(rows), np.int64)
    reals, fakes = (np.flatnonzero(rows.label == label) for label in (0, 1))
    quota = min(len(reals), len(fakes))
    strata = [(reals, quota)]
    if balance == "class":
        strata.append((fakes, quota))
    else:
        methods = np.unique(rows.method[fakes])
        turn = np.roll(methods, epoch % max(len(methods), 1))  # who gets the remainder changes
        for number, method in enumerate(turn):
            size = quota // len(turn) + (number < quota % len(turn))
            strata.append((fakes[rows.method[fakes] == method], size))
        strata[1:] = sorted(strata[1:], key=lambda stratum: int(stratum[0][0]))
    chosen, occurrence = [], []
    for number, (members, size) in enumerate(strata):
        # methods' sizes differ by the remainder; starting at epoch * (largest size) overlaps nothing
        stride = size if balance == "class" or number == 0 else -(-quota // (len(strata) - 1))
        taken, seen = _turns(members, epoch * stride, size, (seed, number))
        chosen.append(taken)
        occurrence.append(seen)
    return np.concatenate(chosen), np.concatenate(occurrence)


def _turns(members: np.ndarray, start: int, size: int, key: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """``size`` members from ``start`` on in an endless row of fresh permutations, and their occurrences."""
    if not len(members) or not size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, last = start // len(members), (start + size - 1) // len(members)
    seed, stratum = key
    line = np.concatenate(
        [_random(seed, _SELECT, stratum, turn).permutation(members) for turn in range(first, last + 1)]
    )
    taken = line[start - first * len(members) :][:size]
    order = np.argsort(taken, kind="stable")
    ordered = taken[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    run = np.repeat(starts, np.diff(np.append(starts, size)))
    occurrence = np.empty(size, np.int64)
    occurrence[order] = np.arange(size) - run
    return taken, occurrence


def _random(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)
