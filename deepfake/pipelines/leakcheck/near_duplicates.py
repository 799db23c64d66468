"""Pictures that are alike, without comparing each with each.

Candidates come from banding: two 64-bit hashes that differ in at most 7 bits agree, but for one bit at most,
in one of four bands of 16 bits (7 = 4 * 1 + 3), so looking each band up under its 17 nearest keys finds all
of them (Norouzi, Punjani, Fleet, "Fast Search in Hamming Space with Multi-Index Hashing", 2012). They are
verified by their Hamming distance and by the correlation of their thumbnails, which does not change with
brightness and contrast (zero-normalised cross-correlation; Lewis, "Fast Normalized Cross-Correlation", 1995).
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.splits import rank_split
from deepfake.pipelines.leakcheck.findings import Finding

MAX_DISTANCE = 7  # what the banding finds without a miss
_BANDS, _BAND_BITS = 4, 16
_MASKS = np.array([0, *(1 << bit for bit in range(_BAND_BITS))], np.uint64)
PAIRS_AT_ONCE = 1 << 21  # candidate pairs held in memory


@dataclass(frozen=True)
class _ClosestPair:
    """The closest pair of crops of two videos, and how many there are."""

    a: int
    b: int
    distance: int
    difference: float
    mirrored: bool
    pairs: int


def find_near_duplicates(pictures: pa.Table, max_distance: int, max_difference: float) -> list[Finding]:
    """Near duplicates in different splits, one finding for each pair of videos, closest first.

    ``pictures`` has ``video_id``, ``frame_index``, ``split``, ``label``, ``phash``, ``phash_mirrored`` and
    ``thumbnail``; rows without a hash or a split are left out.
    """
    rows = pictures.filter(pc.and_(pictures["phash"].is_valid(), pictures["split"].is_valid()))
    if not rows.num_rows:
        return []
    hashes, mirrored = (rows[name].to_numpy() for name in ("phash", "phash_mirrored"))
    thumbnails = np.frombuffer(b"".join(rows["thumbnail"].to_pylist()), np.uint8).reshape(rows.num_rows, -1)
    names = pc.unique(rows["video_id"])
    video = pc.index_in(rows["video_id"], names).to_numpy()
    split = np.array(rows["split"].to_pylist())
    alike: dict[tuple[int, int], _ClosestPair] = {}
    for one, other in itertools.combinations(sorted(set(split.tolist()), key=rank_split), 2):
        left, right = np.flatnonzero(split == one), np.flatnonzero(split == other)
        for flipped, query in ((False, hashes), (True, mirrored)):
            for i, j in find_candidates(query[left], hashes[right], max_distance):
                a, b = left[i], right[j]
                difference = measure_pixel_differences(thumbnails[a], thumbnails[b], flipped)
                near = difference <= max_difference
                a, b, difference = a[near], b[near], difference[near]
                distance = np.bitwise_count(query[a] ^ hashes[b])
                _keep_closest(alike, video, a, b, distance, difference, flipped)
    found = [_make_finding(rows, pair) for pair in alike.values()]
    return sorted(found, key=lambda f: (f.pixel_difference or 0.0, f.video_a, f.video_b))


def find_candidates(
    left: np.ndarray, right: np.ndarray, max_distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs ``(i, j)`` with ``left[i]`` and ``right[j]`` at most ``max_distance`` bits apart, each once.

    ``left`` and ``right`` are ``(n,)`` and ``(m,) uint64``. Yields arrays of bounded length.
    """
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise ValueError(f"max_distance is {max_distance}, the banding serves 0 to {MAX_DISTANCE}")
    masks = _MASKS if max_distance >= _BANDS else _MASKS[:1]  # fewer bits than bands: one band is equal
    for band in range(_BANDS):
        keys, wanted = _cut_band(right, band), _cut_band(left, band)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for mask in masks:
            first = np.searchsorted(keys, wanted ^ mask, "left")
            count = np.searchsorted(keys, wanted ^ mask, "right") - first
            for start, stop in _cut_chunks(count):
                i = np.repeat(np.arange(start, stop), count[start:stop])
                ends = np.cumsum(count[start:stop])
                within = np.arange(len(i)) - np.repeat(ends - count[start:stop], count[start:stop])
                j = order[np.repeat(first[start:stop], count[start:stop]) + within]
                differing = left[i] ^ right[j]
                close = np.bitwise_count(differing) <= max_distance
                i, j, differing = i[close], j[close], differing[close]
                new = ~_is_seen_in_earlier_band(differing, band, len(masks) > 1)
                if new.any():
                    yield i[new], j[new]


def measure_pixel_differences(a: np.ndarray, b: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """``1 - correlation`` of two ``(n, 256) uint8`` stacks of thumbnails, row by row: ``(n,)`` in [0, 2]."""
    if mirrored:
        side = int(np.sqrt(a.shape[1]))
        a = a.reshape(-1, side, side)[:, :, ::-1].reshape(a.shape)
    x, y = (_standardise(stack) for stack in (a, b))
    return np.maximum(0.0, 1.0 - (x * y).mean(axis=1))


def _standardise(stack: np.ndarray) -> np.ndarray:
    values = stack.astype(np.float64)
    values -= values.mean(axis=1, keepdims=True)
    return values / np.maximum(values.std(axis=1, keepdims=True), 1e-9)


def _cut_band(hashes: np.ndarray, band: int) -> np.ndarray:
    return (hashes >> np.uint64(band * _BAND_BITS)) & np.uint64((1 << _BAND_BITS) - 1)


def _is_seen_in_earlier_band(differing: np.ndarray, band: int, one_bit_off: bool) -> np.ndarray:
    """Whether an earlier band has found the pair, going by the bits in which its hashes differ."""
    seen = np.zeros(len(differing), bool)
    for earlier in range(band):
        seen |= np.bitwise_count(_cut_band(differing, earlier)) <= (1 if one_bit_off else 0)
    return seen


def _cut_chunks(count: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of rows that together have about ``PAIRS_AT_ONCE`` pairs, or one row that has more."""
    before = np.concatenate([[0], np.cumsum(count)])
    start = 0
    while start < len(count):
        stop = max(start + 1, int(np.searchsorted(before, before[start] + PAIRS_AT_ONCE, "right")) - 1)
        if before[stop] > before[start]:
            yield start, stop
        start = stop


def _keep_closest(
    alike: dict[tuple[int, int], _ClosestPair],
    video: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    distance: np.ndarray,
    difference: np.ndarray,
    mirrored: bool,
) -> None:
    order = np.lexsort((b, a, distance, difference, video[b], video[a]))
    keys = np.stack([video[a], video[b]], axis=1)[order]
    pairs, first, count = np.unique(keys, axis=0, return_index=True, return_counts=True)
    for pair, start, many in zip(pairs.tolist(), first.tolist(), count.tolist(), strict=True):
        key, k = (pair[0], pair[1]), order[start]
        new = _ClosestPair(int(a[k]), int(b[k]), int(distance[k]), float(difference[k]), mirrored, many)
        known = alike.get(key)
        if known is not None:
            best = min(known, new, key=lambda one: (one.difference, one.distance, one.a, one.b))
            new = replace(best, pairs=known.pairs + many)
        alike[key] = new


def _make_finding(rows: pa.Table, pair: _ClosestPair) -> Finding:
    columns = ["video_id", "frame_index", "split", "label"]
    a, b = (rows.select(columns).slice(index, 1).to_pylist()[0] for index in (pair.a, pair.b))
    return Finding.of(
        "near_duplicate",
        a,
        b,
        hash_distance=pair.distance,
        pixel_difference=round(pair.difference, 6),
        mirrored=pair.mirrored,
        crop_pairs=pair.pairs,
    )
