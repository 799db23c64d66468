"""Heat maps: they point at what the score comes from, and say how much of it a mask holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.config import ModelConfig
from deepfake.crops.self_blending import Face
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model import keras_runtime
from deepfake.model.bundle import Bundle
from deepfake.model.grad_cam import (
    BlendHeat,
    HeatMaps,
    measure_blend_heat,
)
from deepfake.model.heat import measure_share_inside, overlay_heat
from deepfake.model.network import INPUT_SIZE, POOL_LAYER, SCORE_LAYER, build_network
from tests import small_bundle
from tests.small_bundle import save_bundle

SIDE = INPUT_SIZE


@pytest.fixture(scope="module")
def red_is_fake(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle.red_is_fake(str(tmp_path_factory.mktemp("red") / "model"), batch_size=2)


def crop_with(red: tuple[int, int] | None, blue: tuple[int, int] | None = None) -> np.ndarray:
    """A grey crop with a red and a blue patch of 64 pixels at a row and column."""
    crop = np.full((SIDE, SIDE, 3), 128, np.uint8)
    for place, colour in ((red, (255, 60, 0)), (blue, (0, 60, 255))):
        if place is not None:
            crop[place[0] : place[0] + 64, place[1] : place[1] + 64] = colour
    return crop


def test_heat_is_where_the_evidence_is_for_each_call(red_is_fake: Bundle) -> None:
    crops = np.stack(
        [crop_with((32, 96), (128, 0)), crop_with((160, 0), (0, 160)), crop_with((0, 0), (64, 64))]
    )
    assert set(red_is_fake.score(crops)) <= {0.0, 0.5, 1.0}  # saturated, so a gradient of the score is zero
    for call, places in (("fake", ((32, 96), (160, 0), (0, 0))), ("real", ((128, 0), (0, 160), (64, 64)))):
        heat = HeatMaps(red_is_fake)(crops, call)
        assert heat.shape == (3, SIDE, SIDE) and heat.dtype == np.float32
        for one, (row, column) in zip(heat, places, strict=True):
            assert one.max() == 1 and one.min() >= 0
            assert one[row + 32, column + 32] == pytest.approx(1, abs=0.05)
            assert one[row : row + 64, column : column + 64].sum() > 0.6 * one.sum()


def test_batches_do_not_change_a_map_and_no_crops_give_no_maps(red_is_fake: Bundle) -> None:
    crops = np.stack([crop_with((32 * i, 64)) for i in range(5)])  # batches of two
    together = HeatMaps(red_is_fake)(crops)
    for one, crop in zip(together, crops, strict=True):
        np.testing.assert_array_equal(HeatMaps(red_is_fake)(crop[None])[0], one)
    assert HeatMaps(red_is_fake)(crops[:0]).shape == (0, SIDE, SIDE)


def test_a_crop_in_which_nothing_speaks_for_a_fake_has_no_heat(red_is_fake: Bundle) -> None:
    heat = HeatMaps(red_is_fake)(crop_with(None, blue=(64, 64))[None])
    np.testing.assert_array_equal(heat, 0)


def test_normalised_crops_are_refused(red_is_fake: Bundle) -> None:
    with pytest.raises(UsageError, match="uint8"):
        HeatMaps(red_is_fake)(np.zeros((1, SIDE, SIDE, 3), np.float32))


def test_a_map_of_the_whole_network_is_the_weighted_sum_of_its_features(tmp_path: Path) -> None:
    """Against differences of the logit: a little more of one feature everywhere, and how the logit moves."""
    keras = keras_runtime.start_keras(threads=2, seed=1)
    network = build_network(ModelConfig(weights="none"))
    save_bundle(str(tmp_path / "model"), Storage(), network, threshold=0.5)
    loaded = Bundle.load(str(tmp_path / "model"))
    crop = np.random.default_rng(0).integers(0, 256, (1, 7, 7, 3), np.uint8).repeat(32, 1).repeat(32, 2)
    features = network.get_layer(POOL_LAYER).input
    values = np.asarray(keras.Model(network.input, features)(crop, training=False))
    head = keras.Model(features, network.get_layer(SCORE_LAYER).input)
    kernel, bias = network.get_layer(SCORE_LAYER).get_weights()
    step = 0.05 * values.std()
    moved = np.concatenate([values + step * one for one in np.eye(values.shape[-1], dtype=np.float32)])
    logits = np.asarray(head(np.concatenate([values, moved]), training=False)) @ kernel + bias
    weights = (logits[1:, 0] - logits[0, 0]).astype(np.float64)
    expected = np.maximum((values[0] * weights).sum(-1), 0)
    found = HeatMaps(loaded)(crop)[0]
    centres = found[16::32, 16::32]  # the nearest pixels to the middles of the 7 x 7 places
    assert expected.max() > 0
    np.testing.assert_allclose(centres, expected / expected.max(), atol=0.1)


@given(st.integers(0, 1000), st.floats(0.05, 0.95))
def test_the_share_inside_a_mask_is_its_area_for_even_heat_and_all_for_heat_within(
    seed: int, density: float
) -> None:
    mask = (np.random.default_rng(seed).random((1, 24, 24)) < density).astype(np.float32) * 0.25
    mask[0, 0, 0], mask[0, -1, -1] = 0.25, 0.0
    even = np.full((1, 24, 24), 0.3, np.float32)
    assert measure_share_inside(even, mask)[0] == pytest.approx((mask > 0).mean(), rel=1e-5)
    assert measure_share_inside(even * (mask > 0), mask)[0] == pytest.approx(1)
    assert measure_share_inside(even * (mask == 0), mask)[0] == 0
    assert np.isnan(measure_share_inside(0 * even, mask)[0])


def test_an_overlay_leaves_cold_places_as_they_were_and_colours_hot_ones() -> None:
    crop = crop_with((32, 96))
    heat = np.zeros((SIDE, SIDE), np.float32)
    heat[:100] = 1.0
    seen = overlay_heat(crop, heat)
    assert seen.dtype == np.uint8
    np.testing.assert_array_equal(seen[100:], crop[100:])
    assert (np.abs(seen[:100].astype(int) - crop[:100]).max(axis=2) > 20).all()


def test_heat_on_self_blended_fakes_is_measured_against_the_area_of_the_masks(red_is_fake: Bundle) -> None:
    """This network looks for red and not for blending; of grey crops only the blending's colours are red."""
    random = np.random.default_rng(2)
    crops = np.stack([random.integers(100, 156, (SIDE, SIDE, 1), np.uint8).repeat(3, 2) for _ in range(12)])
    faces = [Face((47.0, 42.0, 130.0, 140.0))] * len(crops)
    found = measure_blend_heat(HeatMaps(red_is_fake), crops, faces)
    assert found.crops == 12 and found == measure_blend_heat(HeatMaps(red_is_fake), crops, faces)
    assert found.share is not None and found.area is not None and 0.02 < found.area < 0.6
    assert measure_blend_heat(HeatMaps(red_is_fake), crops[:0], []) == BlendHeat(0, 0, None, None)
