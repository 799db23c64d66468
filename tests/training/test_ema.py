"""The average of weights: its momentum rises, and the network has its own weights back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deepfake.model import keras_runtime
from deepfake.training.ema import WeightAverage


@pytest.fixture
def weight() -> Any:
    keras_runtime.start_keras(threads=2)
    import tensorflow as tf

    return tf.Variable(np.zeros(2, np.float32))


def test_the_momentum_rises_from_a_tenth_to_its_full_value(weight: Any) -> None:
    average = WeightAverage([weight], momentum=0.2)
    expected, momenta = np.zeros(2), (1 / 10, 2 / 11, 0.2, 0.2)  # 3 / 12 would be more than asked for
    for step, momentum in enumerate(momenta, 1):
        weight.assign([step, -step])
        average.update()
        expected = momentum * expected + (1 - momentum) * np.array([step, -step])
    np.testing.assert_allclose(average.copy_state()[1], expected, rtol=1e-6)
    assert average.copy_state()[0] == len(momenta)


def test_the_networks_own_weights_come_back_even_after_an_error(weight: Any) -> None:
    average = WeightAverage([weight], momentum=0.9)
    weight.assign([4.0, 8.0])
    with pytest.raises(KeyError), average.in_place():
        np.testing.assert_array_equal(weight.numpy(), [0.0, 0.0])
        raise KeyError
    np.testing.assert_array_equal(weight.numpy(), [4.0, 8.0])


def test_one_that_is_loaded_goes_on_and_one_that_restarts_begins_again(weight: Any) -> None:
    first = WeightAverage([weight], momentum=0.9)
    weight.assign([1.0, 1.0])
    first.update()
    second = WeightAverage([weight], momentum=0.9)
    second.load(first.copy_state())
    weight.assign([5.0, 5.0])
    for average in (first, second):
        average.update()
    np.testing.assert_array_equal(second.copy_state()[1], first.copy_state()[1])
    second.restart()
    count, values = second.copy_state()
    assert count == 0 and values.tolist() == [5.0, 5.0]
