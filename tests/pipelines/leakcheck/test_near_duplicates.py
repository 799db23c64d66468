"""Near duplicates: candidates without a miss, and only true ones left."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.pipelines.leakcheck import near_duplicates
from deepfake.pipelines.leakcheck.fingerprints import compute_hashes
from tests.pipelines.leakcheck.made import face, looked_at

Change = Callable[[np.ndarray], np.ndarray]
HASHES = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30)
FLIPS = st.lists(st.tuples(st.integers(0, 29), st.sets(st.integers(0, 63), max_size=9)), max_size=30)

CHANGES: dict[str, Change] = {
    "compressed again": lambda i: cv2.imdecode(
        cv2.imencode(".jpg", i, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR
    ),
    "half the size": lambda i: cv2.resize(i, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brighter": lambda i: cv2.convertScaleAbs(i, alpha=1.05, beta=8),
    "blurred": lambda i: cv2.GaussianBlur(i, (0, 0), 1.5),
    "cropped by a pixel": lambda i: i[1:-1, 1:-1],
}


@given(HASHES, FLIPS, st.integers(0, near_duplicates.MAX_DISTANCE))
def test_the_banding_finds_each_pair_that_comparing_all_with_all_finds_and_finds_it_once(
    hashes: list[int], flips: list[tuple[int, set[int]]], most: int
) -> None:
    left = np.array(hashes, np.uint64)
    right = np.array(
        [hashes[i % len(hashes)] ^ sum(1 << bit for bit in bits) for i, bits in flips], np.uint64
    )
    expected = np.argwhere(np.bitwise_count(left[:, None] ^ right[None]) <= most)
    found = [
        pair for i, j in near_duplicates.find_candidates(left, right, most) for pair in zip(i, j, strict=True)
    ]
    assert sorted(found) == [tuple(pair) for pair in expected]


def test_a_distance_that_the_banding_does_not_serve_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 7"):
        list(near_duplicates.find_candidates(np.zeros(1, np.uint64), np.zeros(1, np.uint64), 8))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_in_another_split_is_found_among_other_faces(change: Change) -> None:
    others = [(f"o{i}", face(i), 0, "train") for i in range(100, 140)]
    pictures = looked_at([*others, ("first", face(1), 0, "train"), ("copy", change(face(1)), 1, "test")])
    (found,) = near_duplicates.find_near_duplicates(pictures, 6, 0.03)
    assert (found.video_a, found.video_b, found.mirrored) == ("first", "copy", False)


def test_a_mirrored_copy_is_found_and_called_so() -> None:
    pictures = looked_at([("a", face(1), 0, "train"), ("b", face(1)[:, ::-1].copy(), 0, "val")])
    (found,) = near_duplicates.find_near_duplicates(pictures, 6, 0.03)
    assert found.mirrored is True


def test_the_mirrored_hash_is_the_hash_of_the_mirrored_picture() -> None:
    for seed in range(20):
        image = face(seed)
        turned = compute_hashes(np.ascontiguousarray(image[:, ::-1]))
        assert (compute_hashes(image)["phash_mirrored"] ^ turned["phash"]).bit_count() <= 2  # rounding


def test_likeness_within_a_split_is_no_leak_and_flat_pictures_are_like_nothing() -> None:
    flat = np.full((96, 96, 3), 7, np.uint8)
    pictures = looked_at(
        [
            ("a", face(1), 0, "train"),
            ("b", face(1), 0, "train"),
            ("c", flat, 0, "train"),
            ("d", flat, 0, "val"),
        ]
    )
    assert near_duplicates.find_near_duplicates(pictures, 6, 0.03) == []


def test_one_finding_a_pair_of_videos_with_its_closest_crops_and_their_number() -> None:
    blurred = cv2.GaussianBlur(face(1), (0, 0), 1.0)
    pictures = looked_at([("a", face(1), 0, "train"), ("a", blurred, 0, "train"), ("b", face(1), 0, "test")])
    (found,) = near_duplicates.find_near_duplicates(pictures, 6, 0.03)
    assert (found.frame_a, found.frame_b, found.crop_pairs, found.pixel_difference) == (0, 2, 2, 0.0)


def test_no_memory_is_taken_for_all_pairs_at_once() -> None:
    same = np.zeros(3000, np.uint64)
    sizes = [len(i) for i, _ in near_duplicates.find_candidates(same, same, 0)]
    assert sum(sizes) == 9_000_000
    assert max(sizes) <= near_duplicates.PAIRS_AT_ONCE
