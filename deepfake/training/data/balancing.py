"""Which crops an epoch shows, balanced, and which of them stay together. Pure numpy, no order yet.

From epoch to epoch the choice goes on where it stopped, so that in time all crops are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from deepfake.crops.dataset import Rows

# What a random stream is for; ``epoch_plan`` has 2, 3 and 6.
_SELECT, _BLEND, _PARTNER = 1, 4, 5
MOST_REPEATS = 3  # of one crop in an epoch


class CropKind(IntEnum):
    """What is made of a stored crop."""

    STORED = 0  # itself
    TARGET = 1  # the real of a self-blended pair
    BLENDED = 2  # the fake of it
    BESIDE = 3  # itself, augmented as the crop before it: a fake beside its original
    MADE = 4  # the fake of a self-blended pair, by itself


@dataclass(frozen=True)
class Selection:
    """Arrays of one length. The crops of a pair follow each other."""

    rows: np.ndarray  # int64, index into Rows
    occurrence: np.ndarray  # int64, how often the row was already shown in this epoch
    kind: np.ndarray  # int8, a CropKind
    unit: np.ndarray  # int64, rises by one with each crop, or pair of crops that stay together

    def compute_labels(self, rows: Rows) -> np.ndarray:
        """``(n,) int8``: 1 for what is fake as it is shown."""
        return np.where(self.kind == CropKind.BLENDED, np.int8(1), rows.label[self.rows]).astype(np.int8)

    @staticmethod
    def of_stored(rows: np.ndarray, occurrence: np.ndarray | None = None) -> Selection:
        """Single crops as they are stored: ``rows`` and ``occurrence`` ``(n,) int64``."""
        seen = np.zeros(len(rows), np.int64) if occurrence is None else occurrence
        return Selection(rows, seen, np.full(len(rows), CropKind.STORED, np.int8), np.arange(len(rows)))

    @staticmethod
    def of_pairs(
        first: np.ndarray, second: np.ndarray, occurrence: np.ndarray, kinds: tuple[CropKind, CropKind]
    ) -> Selection:
        """``n`` pairs of rows ``(n,) int64``, with the ``occurrence`` ``(n,) int64`` of the first ones."""
        rows = np.stack([first, second], axis=1).reshape(-1)
        kind = np.tile(np.array(kinds, np.int8), len(first))
        return Selection(rows, np.repeat(occurrence, 2), kind, np.repeat(np.arange(len(first)), 2))

    @staticmethod
    def concatenate(parts: list[Selection]) -> Selection:
        """One selection of several."""
        starts = np.cumsum([0, *(int(part.unit[-1]) + 1 if len(part.unit) else 0 for part in parts)])
        return Selection(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.occurrence for part in parts]),
            np.concatenate([part.kind for part in parts]),
            np.concatenate([part.unit + start for part, start in zip(parts, starts, strict=False)]),
        )


def select_crops(
    rows: Rows, balance: str, seed: int, epoch: int, fakes: str = "real", most_repeats: int = MOST_REPEATS
) -> Selection:
    """The crops of one epoch.

    ``none``: each row once. ``class``: as many fakes as reals, as many as the smaller class has. ``method``:
    the same, and the fakes' share is divided evenly over the methods, which shows rows of a rare method more
    than once, ``most_repeats`` times at most: what is missing then goes to the other methods. ``paired``:
    each real once, beside one of the fakes of the same frame, another one in the next epoch; reals and fakes
    that have no such partner are balanced as in ``class``.

    ``fakes`` is ``real``, or ``sbi``: each real once and a fake made of it beside it, whatever the balance;
    or ``mix``: half of the fakes are made of reals, and the others chosen as above.
    """
    reals, stored = (np.flatnonzero(rows.label == label) for label in (0, 1))
    if fakes == "sbi":
        return _select_self_blended(*_take_turns(reals, epoch * len(reals), len(reals), (seed, 0)))
    if balance == "paired":
        return _select_paired(rows, reals, stored, seed, epoch, mixed=fakes == "mix")
    quota = min(len(reals), len(stored) * (2 if fakes == "mix" else 1))
    n_real, n_fake = (len(reals), len(stored)) if balance == "none" else (quota, quota)
    n_blended = min(n_real, n_fake // 2) if fakes == "mix" else 0
    shown, seen = _take_turns(reals, epoch * n_real, n_real, (seed, 0))
    return Selection.concatenate(
        [
            _select_self_blended(shown[:n_blended], seen[:n_blended]),
            Selection.of_stored(shown[n_blended:], seen[n_blended:]),
            _select_fakes(rows, stored, n_fake - n_blended, balance, seed, epoch, most_repeats),
        ]
    )


def _select_self_blended(reals: np.ndarray, occurrence: np.ndarray) -> Selection:
    return Selection.of_pairs(reals, reals, occurrence, (CropKind.TARGET, CropKind.BLENDED))


def _select_fakes(
    rows: Rows, stored: np.ndarray, quota: int, balance: str, seed: int, epoch: int, most_repeats: int
) -> Selection:
    """So many fakes of the data set; with ``method`` as many of each method as its crops allow."""
    if balance != "method":
        return Selection.of_stored(*_take_turns(stored, epoch * quota, quota, (seed, 1)))
    methods = np.unique(rows.method[stored])
    turn = np.roll(methods, epoch % max(len(methods), 1))  # who gets the remainder changes
    members = [stored[rows.method[stored] == method] for method in turn]
    room = np.array([most_repeats * len(some) for some in members], np.int64)
    sizes = divide_evenly(quota, room)
    # sizes that have room differ by the remainder; starting at epoch * (largest size) overlaps nothing
    largest = sizes[sizes < room].max(initial=0)
    strides = np.where(sizes < room, largest, room)
    strata = sorted(
        zip(members, sizes.tolist(), strides.tolist(), strict=True), key=lambda one: int(one[0][0])
    )
    return Selection.concatenate(
        [Selection.of_stored(np.empty(0, np.int64))]
        + [
            Selection.of_stored(*_take_turns(some, epoch * stride, size, (seed, number)))
            for number, (some, size, stride) in enumerate(strata, start=1)
        ]
    )


def divide_evenly(quota: int, room: np.ndarray) -> np.ndarray:
    """``quota`` divided over places ``(n,) int64``, as evenly as the ``room (n,) int64`` of each allows.

    The first ones get the remainder. Less than ``quota`` together where there is no more room.
    """
    level, most = 0, quota
    while level < most:  # what all get that have room for it
        middle = -(-(level + most) // 2)
        if np.minimum(room, middle).sum() <= quota:
            level = middle
        else:
            most = middle - 1
    given = np.minimum(room, level)
    given[np.flatnonzero(room > level)[: quota - int(given.sum())]] += 1
    return given


def _select_paired(
    rows: Rows, reals: np.ndarray, stored: np.ndarray, seed: int, epoch: int, mixed: bool
) -> Selection:
    if rows.original is None:
        raise ValueError("balance 'paired' needs Rows.original; see dataset.select_rows")
    original = rows.original[stored]
    by_real = np.argsort(original, kind="stable")[np.count_nonzero(original < 0) :]  # those that have one
    partners, owners = stored[by_real], original[by_real]
    with_fake = np.unique(owners)
    alone, orphans = np.setdiff1d(reals, with_fake), stored[original < 0]
    n_alone = min(len(alone), len(orphans) * (2 if mixed else 1))
    taken, again = _take_turns(alone, epoch * n_alone, n_alone, (seed, 0))
    shown, seen = np.append(with_fake, taken), np.append(np.zeros(len(with_fake), np.int64), again)
    order = seed_random(seed, _BLEND, epoch).permutation(len(shown))
    shown, seen = shown[order], seen[order]
    n_blended = len(shown) // 2 if mixed else 0
    plain, plain_seen = shown[n_blended:], seen[n_blended:]
    first, last = np.searchsorted(owners, plain), np.searchsorted(owners, plain, "right")
    has = last > first
    # each real begins with a fake of its own, so that no epoch shows one method only
    begin = seed_random(seed, _PARTNER).integers(2**31, size=len(rows))[plain[has]]
    partner = partners[first[has] + (begin + epoch) % (last - first)[has]]
    n_orphans = int(np.count_nonzero(~has))
    return Selection.concatenate(
        [
            _select_self_blended(shown[:n_blended], seen[:n_blended]),
            Selection.of_pairs(plain[has], partner, plain_seen[has], (CropKind.STORED, CropKind.BESIDE)),
            Selection.of_stored(plain[~has], plain_seen[~has]),
            Selection.of_stored(*_take_turns(orphans, epoch * n_alone, n_orphans, (seed, 1))),
        ]
    )


def _take_turns(
    members: np.ndarray, start: int, size: int, key: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """``size`` members from ``start`` on in an endless row of fresh permutations, and their occurrences."""
    if not len(members) or not size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    first, last = start // len(members), (start + size - 1) // len(members)
    seed, stratum = key
    line = np.concatenate(
        [seed_random(seed, _SELECT, stratum, turn).permutation(members) for turn in range(first, last + 1)]
    )
    taken = line[start - first * len(members) :][:size]
    order = np.argsort(taken, kind="stable")
    counts = np.unique(taken, return_counts=True)[1]
    occurrence = np.empty(size, np.int64)
    occurrence[order] = np.arange(size) - np.repeat(np.cumsum(counts) - counts, counts)
    return taken, occurrence


def seed_random(*key: int) -> np.random.Generator:
    """The random numbers of one key."""
    return np.random.default_rng(key)
