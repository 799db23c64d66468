"""Self-blended images: masks, blends, guards, and nothing but the blending that tells a pair apart."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake.config import AugmentConfig, CropConfig, LeakcheckConfig
from deepfake.crops import augmentation
from deepfake.crops.self_blending import (
    ELLIPSE,
    SHAPES,
    Face,
    Pair,
    blend_images,
    draw_outline,
    move,
    self_blend,
    soften,
)
from deepfake.faces.cropping import cut_face, map_into_wide, place_square
from deepfake.faces.detectors.base import Detection
from deepfake.io import tables
from deepfake.pipelines.leakcheck import probe_features, probes
from tests.pipelines.leakcheck import made

SIDE = 224
# A face as YuNet finds it in a crop with a margin of 0.3.
UPRIGHT = Face(
    (47.0, 42.0, 130.0, 140.0),
    np.array([[84.0, 95.0], [140.0, 95.0], [112.0, 125.0], [90.0, 152.0], [134.0, 152.0]]),
)


def picture(seed: int = 0) -> np.ndarray:
    """Noise over slow waves, ``(224, 224, 3) uint8``: detail everywhere."""
    random = np.random.default_rng(seed)
    waves = cv2.resize(random.uniform(40, 215, (6, 6, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(waves + random.normal(0, 12, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def random_of(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@st.composite
def faces(draw: st.DrawFn) -> Face:
    """Boxes in and about the crop; five points that may make a face, and may not."""
    number = st.floats(-300, 500, width=32)
    if draw(st.booleans()):  # something like a face, moved and turned
        scale, turn = draw(st.floats(0.3, 1.6)), np.deg2rad(draw(st.floats(-180, 180)))
        shift = np.array([draw(st.floats(-60, 60)), draw(st.floats(-60, 60))])
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        assert UPRIGHT.landmarks is not None
        points = (UPRIGHT.landmarks - 112.0) @ rotation * scale + 112.0 + shift
        x, y, w, h = UPRIGHT.box
        return Face((x + shift[0], y + shift[1], w * scale, h * scale), points)
    box = (draw(number), draw(number), draw(st.floats(1, 400)), draw(st.floats(1, 400)))
    points = draw(st.lists(number, min_size=10, max_size=10))
    return Face(box, None if draw(st.booleans()) else np.array(points).reshape(5, 2))


@settings(max_examples=60)
@given(faces(), st.integers(0, 2**40), st.integers(0, 100), st.text(max_size=20))
def test_every_face_gives_a_fake_that_differs_inside_its_mask_and_nowhere_else(
    face: Face, seed: int, epoch: int, sample: str
) -> None:
    pair = self_blend(picture(), face, seed, epoch, sample)
    assert pair.real.shape == pair.fake.shape == (SIDE, SIDE, 3) and pair.mask.shape == (SIDE, SIDE)
    assert pair.real.dtype == pair.fake.dtype == np.uint8 and pair.mask.dtype == np.float32
    assert pair.mask.min() >= 0 and 0 < pair.mask.max() <= 1
    assert (pair.mask == 0).any()
    np.testing.assert_array_equal(pair.real[pair.mask == 0], pair.fake[pair.mask == 0])
    assert (pair.real != pair.fake).any(axis=2).sum() > 0.002 * SIDE * SIDE


@pytest.mark.parametrize("grey", [0, 127, 255])
@pytest.mark.parametrize("face", [UPRIGHT, Face((400.0, 400.0, 30.0, 30.0)), Face((0.0, 0.0, 1.0, 1.0))])
def test_a_crop_without_detail_or_with_its_face_elsewhere_still_gives_a_visible_fake(
    grey: int, face: Face
) -> None:
    crop = np.full((SIDE, SIDE, 3), grey, np.uint8)
    for sample in range(5):
        pair = self_blend(crop, face, 0, 0, str(sample))
        assert np.abs(pair.real.astype(int) - pair.fake).max() >= 1
        assert (pair.mask > 0.05).mean() > 0.005


def test_the_same_seed_epoch_and_sample_give_the_same_pair_and_any_other_another() -> None:
    first, again = (self_blend(picture(), UPRIGHT, 3, 4, "a#0#0") for _ in range(2))
    for name in ("real", "fake", "mask"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    for key in ((4, 4, "a#0#0"), (3, 5, "a#0#0"), (3, 4, "a#0#1")):
        assert not np.array_equal(self_blend(picture(), UPRIGHT, *key).mask, first.mask)


def test_the_crop_is_left_as_it_was() -> None:
    crop = picture()
    for epoch in range(6):
        self_blend(crop, UPRIGHT, 0, epoch, "a")
    np.testing.assert_array_equal(crop, picture())


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_a_blend_lies_between_its_two_images(seed: int, share: float) -> None:
    source, target = picture(seed), picture(seed + 1)
    mask = random_of(seed).random((SIDE, SIDE), np.float32) * np.float32(share)
    mixed = blend_images(source, target, mask).astype(int)
    assert (mixed >= np.minimum(source, target)).all() and (mixed <= np.maximum(source, target)).all()
    np.testing.assert_array_equal(blend_images(source, target, np.zeros_like(mask)), target)
    np.testing.assert_array_equal(blend_images(source, target, np.ones_like(mask)), source)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from(SHAPES))
def test_a_softened_mask_is_eroded_first_and_reaches_the_drawn_strength(seed: int, shape: str) -> None:
    hard, _ = draw_outline((SIDE, SIDE), UPRIGHT, random_of(seed), shape)
    soft = soften(hard, random_of(seed))
    assert soft.dtype == np.float32 and soft.min() >= 0
    # resizing may take a little off the highest pixel
    assert any(0.9 * ratio < soft.max() <= ratio for ratio in (0.25, 0.5, 0.75, 1.0))
    # the second kernel reaches 12 of at least 192 pixels, the first takes as much away or leaves the maximum
    reach = cv2.dilate(hard, np.ones((33, 33), np.uint8))
    assert (soft[reach == 0] == 0).all()


@pytest.mark.parametrize("turn", [0.0, 25.0, -60.0, 180.0])
def test_the_shapes_follow_the_landmarks_and_lie_within_each_other(turn: float) -> None:
    matrix = cv2.getRotationMatrix2D((112, 112), turn, 1.0)
    assert UPRIGHT.landmarks is not None
    points = UPRIGHT.landmarks @ matrix[:, :2].T + matrix[:, 2]
    face = Face((30.0, 30.0, 164.0, 164.0), points)
    masks = {shape: draw_outline((SIDE, SIDE), face, random_of(), shape)[0] > 0 for shape in SHAPES}
    for x, y in np.rint(points).astype(int):
        assert all(mask[y, x] for mask in masks.values())
    assert masks["face"].sum() < masks["extended"].sum()
    assert (masks["face"] & ~masks["extended"]).sum() < 0.02 * masks["face"].sum()
    assert masks["face"].sum() < masks["raised"].sum() < masks["extended"].sum()
    assert 0.9 * masks["face"].sum() < masks["sectors"].sum() < masks["face"].sum()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_mirrored_face_has_a_mirrored_outline(shape: str) -> None:
    assert UPRIGHT.landmarks is not None
    turned = UPRIGHT.landmarks + np.array([[4.0, 0.0], [-9.0, 3.0], [-14.0, 0.0], [0.0, 1.0], [-10.0, 0.0]])
    x, y, w, h = UPRIGHT.box
    mirrored = turned[[1, 0, 2, 4, 3]] * [-1.0, 1.0] + [SIDE - 1.0, 0.0]
    there, _ = draw_outline((SIDE, SIDE), Face((x, y, w, h), turned), random_of(), shape)
    here, _ = draw_outline((SIDE, SIDE), Face((SIDE - 1 - x - w, y, w, h), mirrored), random_of(), shape)
    both = np.logical_and(there, here[:, ::-1]).sum() / np.logical_or(there, here[:, ::-1]).sum()
    assert both > 0.98


@pytest.mark.parametrize("shape", SHAPES)
def test_a_softened_mask_covers_as_much_of_the_box_as_published_ones_do(shape: str) -> None:
    """.43 to .55 of it, by the shape; within .05 of that over 400 pairs."""
    width, height = 109.0, 140.0  # and the points where they are, by the median, on 400 real faces
    at = np.array([[0.25, 0.38], [0.72, 0.38], [0.48, 0.57], [0.29, 0.73], [0.68, 0.73]])
    covered = []
    for seed in range(400):
        random = random_of(seed)
        points = (57.0, 42.0) + (at + random.normal(0, 0.02, (5, 2))) * (width, height)
        hard, _ = draw_outline((SIDE, SIDE), Face((57.0, 42.0, width, height), points), random, shape)
        soft = soften(hard, random)
        covered.append(soft.sum() / soft.max() / (width * height))
    assert 0.38 <= np.mean(covered) <= 0.60


def test_source_and_mask_are_stretched_across_and_down_by_factors_of_their_own() -> None:
    square = np.zeros((SIDE, SIDE), np.float32)
    square[62:162, 62:162] = 1
    sizes = []
    for seed in range(200):
        _, mask = move(picture(), square, random_of(seed))
        sizes.append((mask.max(axis=0).sum(), mask.max(axis=1).sum()))
    across, down = np.array(sizes).T
    assert 94 <= across.min() < 97 and 103 < across.max() <= 107
    assert abs(np.corrcoef(across, down)[0, 1]) < 0.3


def test_without_landmarks_the_mask_is_an_ellipse_in_the_box() -> None:
    no_face = np.zeros((5, 2))
    not_known = np.full((5, 2), np.nan)
    for landmarks in (None, no_face, not_known):
        mask, shape = draw_outline((SIDE, SIDE), replace(UPRIGHT, landmarks=landmarks), random_of(1))
        assert shape == ELLIPSE
        x, y, w, h = UPRIGHT.box
        area = mask.sum() / (w * h)
        assert np.pi * 0.36 * 0.44 * 0.97 < area < np.pi * 0.48 * 0.60 * 1.03
        rows, columns = np.nonzero(mask)
        assert abs(columns.mean() - (x + w / 2)) < 2 and abs(rows.mean() - (y + 0.52 * h)) < 0.05 * h


def test_landmarks_of_the_frame_are_found_again_in_the_crop() -> None:
    class Still:
        size = (300, 400)
        pixels = np.zeros((300, 400, 3), np.uint8)

        def cut_region(self, left: int, top: int, right: int, bottom: int) -> np.ndarray:
            return self.pixels[top:bottom, left:right]

    frame, config = Still(), CropConfig(margin=0.4)
    points = np.array([[30.0, 40.0], [80.0, 44.0], [55.0, 70.0]])
    for number, (x, y) in enumerate(points.astype(int)):
        frame.pixels[y - 1 : y + 2, x - 1 : x + 2, number] = 255
    box = (20.0, 25.0, 70.0, 64.0)  # its crop leaves the frame
    crop = cut_face(frame, Detection(*box, 1.0), config).crop  # type: ignore[arg-type]
    found = map_into_wide(points, place_square(box, frame.size, config), config) - config.surround
    for number, (x, y) in enumerate(found):
        rows, columns = np.nonzero(crop[:, :, number] > 127)
        near = (np.abs(rows - y) < 8) & (np.abs(columns - x) < 8)  # the frame is reflected further off
        assert abs(rows[near].mean() - y) < 0.5 and abs(columns[near].mean() - x) < 0.5


def pairs(count: int, changes: AugmentConfig) -> list[Pair]:
    """Pairs of drawn faces, augmented as in training."""
    found = []
    for number in range(count):
        crop = cv2.resize(made.face(number), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        pair = self_blend(crop, UPRIGHT, 0, 0, str(number))
        drawn = augmentation.draw_changes(changes, 0, 0, str(number))
        found.append(
            replace(
                pair,
                real=augmentation.apply_changes(pair.real, drawn),
                fake=augmentation.apply_changes(pair.fake, drawn),
            )
        )
    return found


def test_neither_colour_nor_borders_tell_the_two_of_a_pair_apart() -> None:
    """A probe as the leak check's, on pairs as training sees them: only the blending is left to learn."""
    images = [
        (
            f"{number:03d}-{kind}.mp4",
            cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA),
            label,
            "train",
        )
        for number, pair in enumerate(pairs(60, AugmentConfig(blur=0.3, noise=0.3, cutout=0.3)))
        for kind, image, label in (("real", pair.real, 0), ("fake", pair.fake, 1))
    ]
    rows = [made.crop(name, np.zeros((4, 4, 3), np.uint8), label) for name, _, label, _ in images]
    videos = tables.from_rows("videos", made.videos_of(rows))
    config = LeakcheckConfig(bootstrap=0)
    found = probes.run_probes(
        probe_features.collect_samples(made.looked_at(images), videos, config.crops_per_video), config
    )
    for probe in found:
        if probe.group in ("border pixels", "colour") and probe.auc is not None:
            assert probe.auc < 0.6, probe


def test_source_and_target_are_changed_equally_often() -> None:
    """The difference in colour has no direction, so a mean of many is near none."""
    differences = np.array(
        [pair.fake.mean() - pair.real.mean() for pair in pairs(150, AugmentConfig(enabled=False))]
    )
    assert abs(differences.mean()) < 3 * differences.std() / np.sqrt(len(differences))
