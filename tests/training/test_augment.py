"""Augmentation: stateless, blind to the class, and without marks of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deepfake.augment import Draw, apply, draw
from deepfake.config import AugmentConfig

EVERYTHING = AugmentConfig(flip=1, jpeg=1, blur=1, noise=1, downscale=1, cutout=1, rotation_degrees=20)
NOTHING = Draw(False, 0.0, 1.0, 1.0, 1.0, None, None, 0, None, None, None)


def noise_image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (224, 224, 3), np.uint8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 10_000), st.text(max_size=40))
def test_the_same_seed_epoch_and_sample_give_the_same_pixels(seed: int, epoch: int, sample: str) -> None:
    crop = noise_image()
    first, second = (apply(crop, draw(EVERYTHING, seed, epoch, sample)) for _ in range(2))
    assert first.dtype == np.uint8 and first.shape == crop.shape
    np.testing.assert_array_equal(first, second)


def test_epoch_sample_and_seed_each_change_the_draw() -> None:
    draws = [draw(EVERYTHING, *key) for key in ((0, 0, "a"), (0, 1, "a"), (0, 0, "b"), (1, 0, "a"))]
    assert len(set(draws)) == 4


def test_the_given_crop_is_left_as_it_was() -> None:
    crop = noise_image()
    before = crop.copy()
    apply(crop, draw(EVERYTHING, 0, 0, "a"))
    np.testing.assert_array_equal(crop, before)


def test_nothing_drawn_changes_nothing() -> None:
    np.testing.assert_array_equal(apply(noise_image(), NOTHING), noise_image())


def test_one_option_does_not_shift_the_others() -> None:
    with_jpeg, without = (draw(AugmentConfig(jpeg=p), 3, 4, "sample") for p in (1.0, 0.0))
    assert with_jpeg.jpeg is not None
    assert replace(with_jpeg, jpeg=None) == without


@pytest.mark.parametrize("degrees", [3.0, -45.0])
@pytest.mark.parametrize("scale", [0.8, 1.2])
def test_rotation_and_scale_leave_no_black_border(degrees: float, scale: float) -> None:
    crop = np.full((224, 224, 3), 200, np.uint8)
    turned = apply(crop, replace(NOTHING, degrees=degrees, scale=scale))
    np.testing.assert_array_equal(turned, crop)


def test_a_flip_mirrors_whether_or_not_there_is_a_rotation() -> None:
    crop = noise_image()
    np.testing.assert_array_equal(apply(crop, replace(NOTHING, flip=True)), crop[:, ::-1])
    warped = apply(crop, replace(NOTHING, flip=True, degrees=1e-9))
    np.testing.assert_array_equal(warped, crop[:, ::-1])


def test_colour_channels_stay_where_they_are() -> None:
    crop = np.zeros((224, 224, 3), np.uint8)
    crop[..., 0] = 180
    changes = replace(NOTHING, jpeg=90, blur=1.0, downscale=0.5, degrees=4.0, noise=2.0)
    red, green, blue = apply(crop, changes).reshape(-1, 3).mean(0)
    assert red > 150 and green < 15 and blue < 15


def test_real_and_fake_samples_get_the_same_distribution() -> None:
    config = AugmentConfig(rotation_degrees=10)
    draws = {
        kind: [draw(config, 0, 0, f"{kind}/{i}.mp4#0#0") for i in range(4000)] for kind in ("real", "fake")
    }
    for name in ("flip", "degrees", "scale", "brightness", "contrast"):
        means, spreads = zip(
            *((np.mean(v), np.std(v)) for v in ([getattr(d, name) for d in ds] for ds in draws.values())),
            strict=True,
        )
        assert abs(means[0] - means[1]) < 5 * spreads[0] * np.sqrt(2 / 4000), name
        assert spreads[0] == pytest.approx(spreads[1], rel=0.05), name
    for name in ("jpeg", "blur", "noise", "downscale"):
        shares = [np.mean([getattr(d, name) is not None for d in ds]) for ds in draws.values()]
        assert shares[0] == pytest.approx(getattr(config, name), abs=0.03), name
        assert shares[1] == pytest.approx(getattr(config, name), abs=0.03), name


def test_jpeg_quality_must_be_a_range() -> None:
    with pytest.raises(ValidationError, match="rising"):
        AugmentConfig(jpeg_quality=(90, 40))
