"""What dropout drops of a crop, whoever has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from deepfake.model import keras_runtime
from deepfake.model.network import copy_for_inference, replace_layers
from deepfake.training.distributed.crop_dropout import Masks, choose_dropout
from tests.small_network import batch, small_network

BATCH = 6


@pytest.fixture(scope="module")
def keras() -> Any:
    return keras_runtime.start_keras(threads=2, seed=1)


def draw(
    places: Sequence[int], shape: Sequence[int] = (3,), step: int = 0, seed: int = 0, name: str = "a"
) -> np.ndarray:
    masks = Masks(seed, BATCH)
    with masks.drawing(np.int64(step), np.array(places)):
        return masks.draw(name, shape).numpy()


def test_a_crops_numbers_are_the_same_in_whichever_slice_it_is(keras: Any) -> None:
    whole = draw(range(BATCH))
    for slices in ([range(4), range(4, 6)], [[5, 0, 3], [1], [2, 4]]):
        for places in slices:
            np.testing.assert_array_equal(draw(places), whole[list(places)])


def test_steps_seeds_layers_and_crops_have_numbers_of_their_own(keras: Any) -> None:
    drawn = [draw(range(BATCH), (2000,), **own) for own in ({}, {"step": 1}, {"seed": 1}, {"name": "b"})]
    rows = np.concatenate(drawn)
    related = np.abs(np.corrcoef(rows) - np.eye(len(rows)))
    assert related.max() < 0.1 and rows.mean() == pytest.approx(0.5, abs=0.01)
    assert (rows >= 0).all() and (rows < 1).all()


def test_a_layer_drops_its_share_and_scales_the_rest_and_nothing_in_inference(keras: Any) -> None:
    plain = keras.Sequential([keras.Input((1000,)), keras.layers.Dropout(0.3, name="drop")])
    masks = Masks(0, BATCH)
    network = replace_layers(plain, choose_dropout(plain, masks))
    ones = np.ones((2, 1000), np.float32)
    with masks.drawing(np.int64(3), np.array([4, 1])):
        found = network(ones, training=True).numpy()
    np.testing.assert_array_equal(found == 0, draw([4, 1], (1000,), step=3, name="drop") < 0.3)
    assert found[found > 0] == pytest.approx(1 / 0.7)
    np.testing.assert_array_equal(network(ones, training=False), ones)


def test_stochastic_depth_drops_a_crop_whole_and_the_saved_network_has_keras_own_layers(keras: Any) -> None:
    masks = Masks(0, BATCH)
    plain = small_network(keras, depth=0.5)
    network = replace_layers(plain, choose_dropout(plain, masks))
    upto = keras.Model(network.inputs, network.get_layer("block1a_drop").output)
    with masks.drawing(np.int64(0), np.arange(BATCH)):
        dropped = (upto(batch(0, BATCH)[0], training=True).numpy() == 0).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(dropped, draw(range(BATCH), (1, 1, 1), name="block1a_drop").ravel() < 0.5)
    saved = copy_for_inference(network)
    assert type(saved.get_layer("head_dropout")) is keras.layers.Dropout
