"""Deals groups of videos out to splits so that the shares come out right for real and fake alike.

Pure arithmetic on counts: what a group is, and which rows have a split already, is ``splits``' business.
The result depends on the set of groups and the seed, never on their order.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

_PORTIONS = 64  # groups alike are dealt out in portions of this share of those that are left


def allocate(names: Sequence[str], counts: np.ndarray, fractions: Sequence[float], seed: int) -> np.ndarray:
    """Index of the split of each group: ``(n,) int8``.

    ``counts`` is ``(n, 2)``: the real and the fake videos of each group, none empty. Groups are dealt out
    from the largest to the smallest, each to the split that brings the shares of both classes nearest to
    ``fractions``; among groups of the same counts, the hash of (seed, name) decides. As far as the groups
    allow, each split has both classes, train before val before test.
    """
    shares = np.asarray(fractions, np.float64)
    splits = np.flatnonzero(shares > 0)
    hashes = [hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest() for name in names]
    keys = np.array([int.from_bytes(value, "big") for value in hashes], np.uint64)
    sizes = counts.sum(axis=1)
    totals = np.maximum(counts.sum(axis=0), 1)
    chosen = np.full(len(names), -1, np.int8)
    filled = np.zeros((len(shares), 2))
    for group, split in _serve_both_classes(counts, np.lexsort((keys, sizes)), splits):
        chosen[group] = split
        filled[split] += counts[group] / totals
    rest = np.flatnonzero(chosen < 0)
    rest = rest[np.lexsort((keys[rest], counts[rest, 1], counts[rest, 0], -sizes[rest]))]
    alike = np.flatnonzero(np.any(counts[rest][1:] != counts[rest][:-1], axis=1)) + 1
    for run in np.split(rest, alike):
        start = 0
        while start < len(run):
            portion = run[start : start + max(1, (len(run) - start) // _PORTIONS)]
            added = counts[portion[0]] * len(portion) / totals
            # growth of the sum over splits and classes of (filled - share)^2 / share
            growth = (added * (added + 2 * filled[splits] - 2 * shares[splits, None])).sum(axis=1)
            split = splits[np.argmin(growth / shares[splits])]
            chosen[portion] = split
            filled[split] += added
            start += len(portion)
    return chosen


def _serve_both_classes(
    counts: np.ndarray, smallest_first: np.ndarray, splits: np.ndarray
) -> Iterator[tuple[int, int]]:
    """The fewest, smallest groups that give real and fake to as many splits as can have both."""
    has_real, has_fake = (counts[smallest_first] > 0).T
    mixed = smallest_first[has_real & has_fake]
    real = smallest_first[has_real & ~has_fake]
    fake = smallest_first[has_fake & ~has_real]
    pairs = min(len(real), len(fake))
    served = splits[: len(mixed) + pairs]
    by_mixed = max(0, len(served) - pairs)
    yield from zip(mixed[:by_mixed].tolist(), served[:by_mixed].tolist(), strict=True)
    for split, *groups in zip(served[by_mixed:].tolist(), real.tolist(), fake.tolist(), strict=False):
        yield from ((group, split) for group in groups)
