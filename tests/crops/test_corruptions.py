"""Crops made worse by known amounts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake.crops.corruptions import BLUR, CORRUPTIONS, JPEG, NOISE, NONE, RESIZE, Corruption


@pytest.fixture(scope="module")
def crop() -> np.ndarray:
    random = np.random.default_rng(0)
    rough = random.integers(40, 216, (28, 28, 3), np.uint8)
    return cv2.resize(rough, (224, 224), interpolation=cv2.INTER_CUBIC)


def error(crop: np.ndarray, change: Corruption) -> float:
    return float(np.abs(change(crop).astype(float) - crop).mean())


@pytest.mark.parametrize(
    ("kind", "mild", "strong"), [(JPEG, 90, 20), (RESIZE, 112, 32), (BLUR, 1, 4), (NOISE, 4, 16)]
)
def test_more_of_a_change_takes_a_crop_farther_from_what_it_was(
    crop: np.ndarray, kind: str, mild: float, strong: float
) -> None:
    before = crop.copy()
    assert 0 < error(crop, Corruption(kind, mild)) < error(crop, Corruption(kind, strong))
    np.testing.assert_array_equal(crop, before)


def test_every_change_keeps_what_a_crop_is_and_does_the_same_each_time(crop: np.ndarray) -> None:
    for change in CORRUPTIONS:
        once, again = change(crop), change(crop)
        assert (once.shape, once.dtype) == (crop.shape, np.uint8)
        np.testing.assert_array_equal(once, again)
    assert NONE(crop) is crop


def test_colours_stay_in_their_places(crop: np.ndarray) -> None:
    red = np.zeros_like(crop)
    red[..., 0] = 200
    for change in CORRUPTIONS:
        if change.kind != NOISE:
            assert change(red)[..., 0].mean() > 190 and change(red)[..., 2].mean() < 10, change
