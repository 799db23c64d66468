"""Augmentation: stateless, blind to the class, and without marks of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from deepfake.config import AugmentConfig, LeakcheckConfig
from deepfake.crops.augmentation import DrawnChanges, apply_changes, draw_changes, recolour
from deepfake.io import tables
from deepfake.pipelines.leakcheck import probe_features, probes
from tests.pipelines.leakcheck.made import crop, face, looked_at, videos_of

EVERYTHING = AugmentConfig(flip=1, jpeg=1, blur=1, noise=1, downscale=1, cutout=1, rotation_degrees=20)
NOTHING = DrawnChanges(False, 0.0, 1.0, 0.0, 1.0, None, None, 0, None, None, None)


def noise_image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (224, 224, 3), np.uint8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 10_000), st.text(max_size=40))
def test_the_same_seed_epoch_and_sample_give_the_same_pixels(seed: int, epoch: int, sample: str) -> None:
    crop = noise_image()
    first, second = (apply_changes(crop, draw_changes(EVERYTHING, seed, epoch, sample)) for _ in range(2))
    assert first.dtype == np.uint8 and first.shape == crop.shape
    np.testing.assert_array_equal(first, second)


def test_epoch_sample_and_seed_each_change_the_draw() -> None:
    draws = [draw_changes(EVERYTHING, *key) for key in ((0, 0, "a"), (0, 1, "a"), (0, 0, "b"), (1, 0, "a"))]
    assert len(set(draws)) == 4


def test_the_given_crop_is_left_as_it_was() -> None:
    crop = noise_image()
    before = crop.copy()
    apply_changes(crop, draw_changes(EVERYTHING, 0, 0, "a"))
    np.testing.assert_array_equal(crop, before)


def test_nothing_drawn_changes_nothing() -> None:
    np.testing.assert_array_equal(apply_changes(noise_image(), NOTHING), noise_image())


def test_one_option_does_not_shift_the_others() -> None:
    with_jpeg, without = (draw_changes(AugmentConfig(jpeg=p), 3, 4, "sample") for p in (1.0, 0.0))
    assert with_jpeg.jpeg is not None
    assert replace(with_jpeg, jpeg=None) == without


@pytest.mark.parametrize("degrees", [3.0, -45.0])
@pytest.mark.parametrize("scale", [0.8, 1.2])
def test_rotation_and_scale_leave_no_black_border(degrees: float, scale: float) -> None:
    crop = np.full((224, 224, 3), 200, np.uint8)
    turned = apply_changes(crop, replace(NOTHING, degrees=degrees, scale=scale))
    np.testing.assert_array_equal(turned, crop)


def test_a_flip_mirrors_whether_or_not_there_is_a_rotation() -> None:
    crop = noise_image()
    np.testing.assert_array_equal(apply_changes(crop, replace(NOTHING, flip=True)), crop[:, ::-1])
    warped = apply_changes(crop, replace(NOTHING, flip=True, degrees=1e-9))
    np.testing.assert_array_equal(warped, crop[:, ::-1])


def test_colour_channels_stay_where_they_are() -> None:
    crop = np.zeros((224, 224, 3), np.uint8)
    crop[..., 0] = 180
    changes = replace(NOTHING, jpeg=90, blur=1.0, downscale=0.5, degrees=4.0, noise=2.0)
    red, green, blue = apply_changes(crop, changes).reshape(-1, 3).mean(0)
    assert red > 150 and green < 15 and blue < 15


def test_real_and_fake_samples_get_the_same_distribution() -> None:
    config = AugmentConfig(rotation_degrees=10)
    draws = {
        kind: [draw_changes(config, 0, 0, f"{kind}/{i}.mp4#0#0") for i in range(4000)]
        for kind in ("real", "fake")
    }
    for name in ("flip", "degrees", "scale", "brightness", "contrast", "hue_degrees", "saturation"):
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


def test_light_and_colour_are_changed_as_often_as_asked_for() -> None:
    config = AugmentConfig(light=0.3, colour=0.6)
    draws = [draw_changes(config, 0, 0, str(i)) for i in range(4000)]
    lit = [one.brightness != 0 and one.contrast != 1 for one in draws]
    coloured = [one.hue_degrees != 0 and one.saturation != 1 and any(one.rgb_shift) for one in draws]
    assert np.mean(lit) == pytest.approx(0.3, abs=0.03)
    assert np.mean(coloured) == pytest.approx(0.6, abs=0.03)
    assert max(abs(one.brightness) for one in draws) == pytest.approx(25.5, abs=0.5)
    for one in draws:
        assert (one.brightness != 0) == (one.contrast != 1)


def test_the_grid_of_jpeg_blocks_lies_anywhere_in_the_window() -> None:
    """Where a block begins the step from pixel to pixel is larger; another of eight columns each time."""
    ramp = np.repeat(np.linspace(0, 255, 292, dtype=np.uint8)[None, :, None], 292, 0).repeat(3, 2)
    noisy = np.clip(ramp.astype(int) + np.random.default_rng(0).normal(0, 20, ramp.shape), 0, 255)
    begins = set()
    for column in range(8):
        changes = replace(NOTHING, jpeg=10, move=(column / 224, 0.0))
        found = apply_changes(noisy.astype(np.uint8), changes, 224).astype(int)
        steps = np.abs(np.diff(found.mean(axis=2), axis=1)).mean(axis=0)
        begins.add(int(np.argmax([steps[at::8].mean() for at in range(8)])))
    assert len(begins) == 8


def test_a_mirrored_edge_repeats_what_is_inside_of_it() -> None:
    image = noise_image()
    for edge, strip, inside in (
        (0, np.s_[:20], np.s_[39:19:-1]),
        (2, np.s_[-20:], np.s_[-21:-41:-1]),
    ):
        found = apply_changes(image, replace(NOTHING, mirror=(edge, 20 / 224)))
        np.testing.assert_array_equal(found[strip], image[inside])
        assert (found != image).any(axis=2).mean() < 0.1
    for edge in (1, 3):
        found = apply_changes(image, replace(NOTHING, mirror=(edge, 20 / 224)))
        changed = (found != image).any(axis=(0, 2))
        assert changed.sum() == 20 and (changed[:20].all() or changed[-20:].all())


def test_a_probe_cannot_tell_the_classes_by_what_augmentation_left_on_them() -> None:
    """The same drawn faces under both names: whatever told them apart would be augmentation's own mark."""
    config = AugmentConfig(
        rotation_degrees=15, jpeg=0.5, blur=0.3, noise=0.3, downscale=0.3, cutout=0.3, rgb_shift=20
    )
    images = []
    for number in range(80):
        label, name = number % 2, f"{('real', 'fake')[number % 2]}/{number:03d}.mp4"
        images += [
            (
                name,
                apply_changes(face(2 * number + i), draw_changes(config, 0, 0, f"{name}#{i}#0")),
                label,
                "train",
            )
            for i in range(2)
        ]
    rows = [crop(name, np.zeros((4, 4, 3), np.uint8), label) for name, _, label, _ in images]
    videos = tables.from_rows("videos", videos_of(rows))
    settings_ = LeakcheckConfig(bootstrap=300)
    found = probes.run_probes(
        probe_features.collect_samples(looked_at(images), videos, settings_.crops_per_video), settings_
    )
    measured = {probe.group: probe for probe in found if probe.auc is not None}
    assert {"border pixels", "colour", "sharpness"} <= measured.keys()
    for probe in measured.values():
        assert probe.low is not None and probe.low < 0.5 and probe.verdict != "shortcut", probe


@settings(max_examples=30, deadline=None)
@given(
    st.floats(0.7, 1.3), st.floats(-30, 30), st.floats(0.5, 1.5),
    st.tuples(*[st.floats(-20, 20)] * 3),
)  # fmt: skip
def test_colours_change_by_one_linear_map(
    contrast: float, hue: float, saturation: float, shift: tuple[float, float, float]
) -> None:
    image = noise_image()
    value = image.astype(np.float64)
    grey = value.mean(axis=2, keepdims=True)
    axis = np.ones(3) / np.sqrt(3)
    angle = np.deg2rad(hue)
    off_grey = value - grey  # turned about the grey axis, and stretched
    turned = off_grey * np.cos(angle) + np.cross(np.broadcast_to(axis, value.shape), off_grey) * np.sin(angle)
    expected = (grey + saturation * turned - value.mean()) * contrast + value.mean() + shift
    found = recolour(image, contrast, hue, saturation, shift)
    np.testing.assert_allclose(found, np.clip(expected, 0, 255), atol=1.01)


def test_grey_stays_grey_under_hue_and_saturation() -> None:
    ramp = np.repeat(np.arange(224, dtype=np.uint8)[None, :, None], 224, 0).repeat(3, 2)
    np.testing.assert_allclose(
        recolour(ramp, hue_degrees=40.0, saturation=1.5).astype(int), ramp.astype(int), atol=1
    )


def test_jpeg_quality_must_be_a_range() -> None:
    with pytest.raises(ValidationError, match="rising"):
        AugmentConfig(jpeg_quality=(90, 40))
