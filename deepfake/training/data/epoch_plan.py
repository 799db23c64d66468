"""Which crops an epoch shows, in which order, and which worker reads which. Pure numpy, no input or output.

Everything follows from (seed, epoch) and the index; the number of workers only cuts the same global batches
into more slices. ``deepfake.training.data.balancing`` decides what is shown and what stays together.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from deepfake.config import TrainJobConfig
from deepfake.crops.dataset import Rows
from deepfake.training.data.balancing import CropKind, Selection, seed_random, select_crops

VALIDATION_GROUPS = 16  # row groups of validation that are read at once
_GROUPS, _WINDOW, _OTHERS = 2, 3, 6  # what a random stream is for, so that no two share their numbers


@dataclass(frozen=True)
class Share:
    """What one worker reads in one epoch, in the order in which it reads it."""

    positions: np.ndarray  # int64, positions in the epoch
    sizes: np.ndarray  # int64, one a step: how many of them belong to it; 0 where others have it all
    windows: tuple[tuple[int, int], ...]  # [start, stop) of positions: the pieces that are read at once

    def skip(self, steps: int) -> "Share":
        """What is left of it after so many steps."""
        first = int(self.sizes[:steps].sum())
        left = tuple((max(0, start - first), stop - first) for start, stop in self.windows if stop > first)
        return Share(self.positions[first:], self.sizes[steps:], left)


@dataclass(frozen=True)
class EpochPlan:
    """One epoch: arrays over its positions, which is the order that one worker would see."""

    rows: np.ndarray  # int64, index into Rows
    occurrence: np.ndarray  # int64, how often the row was already shown in this epoch
    kind: np.ndarray  # int8, a balancing.CropKind
    label: np.ndarray  # int8, 0 real, 1 fake: of what is shown, which a self-blended fake's row is not
    unit: np.ndarray  # int64, rises by one with each crop or pair of crops that stay together
    window: np.ndarray  # int64, rises
    group: np.ndarray  # int64, place of the row's row group within the epoch's order of row groups
    cuts: np.ndarray  # (steps + 1,) int64, positions at which batches begin, and the end
    # int64, index into Rows: a crop of the other class, whose frame bounds what is shown; None: nothing does
    other: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def steps(self) -> int:
        """Steps in the epoch; the last batch may be smaller."""
        return len(self.cuts) - 1

    def cut_share(self, rank: int, world: int) -> Share:
        """The slices of worker ``rank`` of ``world``: near-equal parts of each global batch, pairs whole.

        Which row of a batch goes to whom does not matter to the gradient, so rows of one row group are kept
        together: each worker then reads few of a window's row groups instead of all of them.
        """
        position = np.arange(len(self))
        step = np.repeat(np.arange(self.steps), np.diff(self.cuts))
        leads = np.diff(self.unit, prepend=-1) > 0
        lead_group = self.group[leads][self.unit]  # so that a pair is not torn apart
        order = np.lexsort((position, lead_group, self.window, step))
        place = np.cumsum(leads[order]) - 1  # of each sorted entry's unit
        units = np.bincount(step[leads], minlength=self.steps)
        inside = place - (np.cumsum(units) - units)[step]
        owner = _assign_owners(inside, units[step], world)
        mine = order[owner == rank]
        return Share(mine, np.bincount(step[owner == rank], minlength=self.steps), self._windows(mine))

    def cut_stretch(self, rank: int, world: int, batch: int) -> Share:
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


def _assign_owners(inside: np.ndarray, size: np.ndarray, world: int) -> np.ndarray:
    """Worker of the i-th of ``size`` items cut into ``world`` near-equal runs, longer runs first."""
    quotient, longer = size // world, size % world
    in_longer = inside < longer * (quotient + 1)
    late = longer + (inside - longer * (quotient + 1)) // np.maximum(quotient, 1)
    return np.where(in_longer, inside // (quotient + 1), late)


def plan_training_epoch(rows: Rows, config: TrainJobConfig, epoch: int) -> EpochPlan:
    """The shuffled, balanced plan of one training epoch.

    Row groups are put in random order and taken ``training.shuffle_row_groups`` at a time; rows are shuffled
    within such a window. That reads each about once and holds one window in memory, not the data set.
    A fake beside its original comes with it, from whichever row group it is in.

    A row group is mostly of one method. So each window gets its part of the row groups of every method, and
    each stretch of a window its part of the rows of every method: batches are as balanced as the epoch.
    """
    settings, seed = config.training, config.training.seed
    chosen = select_crops(rows, settings.balance, seed, epoch, config.augment.fakes, settings.most_repeats)
    key = rows.file[chosen.rows].astype(np.int64) << 32 | rows.row_group[chosen.rows]
    groups, code = np.unique(key, return_inverse=True)
    method = rows.method[chosen.rows].astype(np.int64)
    counts = np.zeros((len(groups), len(rows.methods)), np.int64)
    np.add.at(counts, (code, method), 1)
    spread = _spread_evenly(counts.argmax(axis=1), seed_random(seed, _GROUPS, epoch))
    place = np.argsort(np.argsort(spread))[code]
    leads = np.diff(chosen.unit, prepend=-1) > 0
    # Fakes beside their originals come from as many row groups again.
    span = settings.shuffle_row_groups
    span = max(1, span // 2) if settings.balance == "paired" else span
    windows = -(-len(groups) // span)  # of about one size
    window = place[leads] * windows // max(len(groups), 1)  # of each unit
    pair = np.bincount(chosen.unit, minlength=len(window)) > 1
    strata = (window * len(rows.methods) + method[leads]) * 2 + pair
    order = np.lexsort((_spread_evenly(strata, seed_random(seed, _WINDOW, epoch)), window))
    if pair.any():
        order, window = _pair_singles(order, window, pair)
    sorted_units = np.empty(len(order), np.int64)
    sorted_units[order] = np.arange(len(order))
    unit = sorted_units[chosen.unit]
    positions = np.argsort(unit, kind="stable")
    unit = unit[positions]
    window = window[order][unit]
    plan = _make_plan(chosen, rows, positions, unit, window, place[positions], settings.global_batch)
    if not config.augment.match_framing:
        return plan
    return replace(plan, other=_draw_others(plan, rows, seed_random(seed, _OTHERS, epoch)))


def _draw_others(plan: EpochPlan, rows: Rows, random: np.random.Generator) -> np.ndarray | None:
    """For each position a crop of the other class that the epoch shows, ``(n,) int64``; of a pair each other.

    What two frames leave room for is then alike for both classes, whatever the frames of each. Self-blended
    pairs are of the class of their real. None where all is of one class.
    """
    label = rows.label[plan.rows]
    shown = [np.flatnonzero(label == one) for one in (0, 1)]
    if not all(map(len, shown)):
        return None
    other = np.empty(len(plan), np.int64)
    for mine, theirs in (shown, shown[::-1]):
        other[mine] = plan.rows[random.choice(theirs, len(mine))]
    blended = np.flatnonzero(plan.kind == CropKind.BLENDED)
    other[blended] = other[blended - 1]
    beside = np.flatnonzero(plan.kind == CropKind.BESIDE)
    other[beside], other[beside - 1] = plan.rows[beside - 1], plan.rows[beside]
    return other


def _spread_evenly(strata: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Places in [0, 1) for members of ``strata`` (n,) int64, those of each at about even distances.

    (n,) float64; which of a stratum comes where is random.
    """
    order = np.lexsort((random.random(len(strata)), strata))
    _, start, count = np.unique(strata[order], return_index=True, return_counts=True)
    rank = np.arange(len(strata)) - np.repeat(start, count)
    place = np.empty(len(strata))
    place[order] = (rank + random.random(len(strata))) / np.repeat(count, count)
    return place


def _pair_singles(order: np.ndarray, window: np.ndarray, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order and windows in which crops that stand alone come in twos, a last odd one at the end.

    Otherwise a pair would now and then find one place left in a batch, and the batch would stay short. A
    single whose window has an odd number of them is read with the single that comes next.
    """
    singles = order[~pair[order]]
    window = window.copy()
    even = len(singles) // 2 * 2
    window[singles[1:even:2]] = window[singles[:even:2]]
    window[singles[even:]] = window.max()
    slot = np.empty(len(order), np.int64)  # where the unit, or the first of the two, was drawn to be
    slot[order] = np.arange(len(order))
    slot[singles[1:even:2]] = slot[singles[:even:2]]
    slot[singles[even:]] = len(order)
    rank = np.zeros(len(order), np.int64)
    rank[singles[1:even:2]] = 1
    return np.lexsort((rank, slot, window)), window


def _make_plan(
    chosen: Selection,
    rows: Rows,
    positions: np.ndarray,
    unit: np.ndarray,
    window: np.ndarray,
    group: np.ndarray,
    global_batch: int,
) -> EpochPlan:
    columns = (chosen.rows, chosen.occurrence, chosen.kind, chosen.compute_labels(rows))
    places, occurrence, kind, label = (column[positions] for column in columns)
    cuts = _cut_batches(unit, global_batch)
    return EpochPlan(places, occurrence, kind, label, unit, window, group, cuts)


def _cut_batches(unit: np.ndarray, batch: int) -> np.ndarray:
    """Where batches begin, and the end: as large as they may be without tearing a unit apart."""
    ends = np.append(np.flatnonzero(np.diff(unit)) + 1, len(unit))
    if len(ends) == len(unit):
        return np.append(np.arange(0, len(unit), batch), len(unit))
    cuts = [0]
    while cuts[-1] < len(unit):
        fitting = ends[np.searchsorted(ends, cuts[-1] + batch, "right") - 1]
        cuts.append(int(fitting if fitting > cuts[-1] else ends[np.searchsorted(ends, cuts[-1], "right")]))
    return np.array(cuts)


def plan_validation(rows: Rows) -> EpochPlan:
    """Every row exactly once, in the order of the files, as one batch."""
    order = np.lexsort((rows.row, rows.row_group, rows.file))
    key = rows.file[order].astype(np.int64) << 32 | rows.row_group[order]
    group = np.unique(key, return_inverse=True)[1]
    everything = Selection.of_stored(np.arange(len(rows)))
    if rows.blended is not None:
        kind = np.where(rows.blended, CropKind.MADE, CropKind.TARGET).astype(np.int8)
        everything = replace(everything, kind=kind)
    unit = np.arange(len(rows))
    return _make_plan(everything, rows, order, unit, group // VALIDATION_GROUPS, group, max(1, len(rows)))
