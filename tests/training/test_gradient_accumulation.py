"""A batch in parts is the update of the whole batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deepfake.config import TrainingConfig
from deepfake.model import keras_runtime
from deepfake.model.network import list_trainable, list_weights, replace_layers
from deepfake.training.distributed.collective import Collective
from deepfake.training.distributed.crop_dropout import Masks, choose_dropout
from deepfake.training.gradient_accumulation import AccumulatedStep
from deepfake.training.learner import Learner
from deepfake.training.schedule import Phase
from deepfake.training.step import StepOptions, TrainStep
from tests.small_network import batch, small_network


@pytest.fixture(scope="module")
def keras() -> Any:
    return keras_runtime.start_keras(threads=2, seed=1)


@pytest.fixture(scope="module")
def alone(keras: Any) -> Collective:
    """A training of one worker."""
    return Collective(0, 1)


MASKS = Masks(0, 8)
OPTIONS = StepOptions(MASKS)


def prepare(keras: Any, freeze_backbone_norm: bool) -> tuple[Any, list[Any], Any]:
    """A network, what learns of it, and its optimizer."""
    plain = small_network(keras)
    network = replace_layers(plain, choose_dropout(plain, MASKS))
    network.get_layer("stem_bn").trainable = not freeze_backbone_norm
    variables = list_trainable(network)
    network.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    network.optimizer.build(variables)
    return network, variables, network.optimizer


@pytest.mark.parametrize("parts", [2, 4, 9])
def test_parts_give_the_scores_loss_and_weights_of_the_whole_batch(
    keras: Any, alone: Collective, parts: int
) -> None:
    """With all that dropout and stochastic depth drop, in both passes over the backbone."""
    whole, divided = (prepare(keras, freeze_backbone_norm=True) for _ in range(2))
    step, in_parts = TrainStep(*whole, alone, OPTIONS), AccumulatedStep(*divided, alone, parts, OPTIONS)
    for number in range(2):
        np.testing.assert_allclose(in_parts(*batch(number)), step(*batch(number)), rtol=1e-4)
        assert in_parts.loss == pytest.approx(step.loss, rel=1e-4)
    for mine, theirs in zip(list_weights(divided[0]), list_weights(whole[0]), strict=True):
        np.testing.assert_allclose(np.asarray(mine), np.asarray(theirs), rtol=1e-3, atol=1e-5)


def test_a_configuration_chooses_it(keras: Any, alone: Collective) -> None:
    settings = TrainingConfig(accumulate=3)
    made = Learner(small_network(keras), Phase("all", 1, 0.01), settings, alone)
    assert isinstance(made.train, AccumulatedStep)
