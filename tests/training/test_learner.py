"""One phase's network and its options: what they do, and that a checkpoint goes on exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from deepfake.config import TrainingConfig
from deepfake.model import keras_runtime
from deepfake.model.network import POOL_LAYER, copy_for_inference, list_trainable, list_weights
from deepfake.training.callbacks import PhaseCallbacks
from deepfake.training.checkpoint import CheckpointError
from deepfake.training.distributed.collective import Collective
from deepfake.training.ema import WeightAverage
from deepfake.training.learner import Learner, assign_weights
from deepfake.training.schedule import Part, Phase
from deepfake.training.step import TrainStep
from tests.small_network import batch, small_network


@pytest.fixture(scope="module")
def keras() -> Any:
    return keras_runtime.start_keras(threads=2, seed=1)


def learner(keras: Any, network: Any = None, trains: Part = "all", **options: Any) -> Learner:
    settings = TrainingConfig(**options)
    return Learner(network or small_network(keras), Phase(trains, 3, 0.01), settings, Collective(0, 1))


@pytest.mark.parametrize(
    "options",
    [
        {"ema": 0.9, "weight_decay": 0.1, "clip_norm": 0.5, "label_smoothing": 0.1},
        {"accumulate": 3, "ema": 0.9},
    ],
    ids=["every option", "in parts"],
)
def test_a_learner_that_is_loaded_goes_on_as_if_nothing_had_been(keras: Any, options: dict[str, Any]) -> None:
    first = learner(keras, **options)
    for number in range(3):
        first.train(*batch(number))
    stored = first.copy_state()
    first.learning_rate = 0.005
    expected = [first.train(*batch(number)) for number in range(3, 6)]

    second = learner(keras, small_network(keras, seed=11), **options)
    second.load(stored)
    second.learning_rate = 0.005
    for number, scores in zip(range(3, 6), expected, strict=True):
        np.testing.assert_array_equal(second.train(*batch(number)), scores)  # dropout masks too
    for name, arrays in first.copy_state().items():
        for mine, theirs in zip(arrays, second.copy_state()[name], strict=True):
            np.testing.assert_array_equal(mine, theirs, err_msg=name)


def test_labels_are_smoothed_in_the_loss(keras: Any) -> None:
    crops, labels = batch(1)
    trained = learner(keras, label_smoothing=0.2)
    scores = trained.train(crops, labels).astype(np.float64)
    soft = np.where(labels == 1, 0.9, 0.1)
    expected = -(soft * np.log(scores) + (1 - soft) * np.log(1 - scores)).mean()
    assert trained.train.loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_score_that_is_surely_wrong_is_learned_from(keras: Any, accumulate: int) -> None:
    trained = learner(keras, accumulate=accumulate)
    last = trained.network.get_layer("head_score")
    last.set_weights([np.zeros((3, 1), np.float32), np.array([-40.0], np.float32)])
    scores = trained.train(batch(0)[0], np.ones(6))
    assert scores == pytest.approx(np.zeros(6)) and trained.train.loss == pytest.approx(40)
    assert float(np.asarray(last.bias)[0]) == pytest.approx(-40 + 0.01)  # Adam's first step, whole


def test_no_step_is_longer_than_the_clipped_gradient(keras: Any) -> None:
    network = small_network(keras)
    optimizer = keras.optimizers.SGD(1.0, global_clipnorm=0.001)
    network.compile(optimizer, "binary_crossentropy")
    variables = list_trainable(network)
    optimizer.build(variables)
    before = [np.asarray(v).copy() for v in variables]
    TrainStep(network, variables, optimizer, Collective(0, 1))(*batch(0))
    moved = (
        sum(np.square(np.asarray(v).copy() - old).sum() for v, old in zip(variables, before, strict=True))
        ** 0.5
    )
    assert moved == pytest.approx(0.001, rel=1e-3)


def test_weight_decay_shrinks_kernels_and_leaves_biases_and_scales(keras: Any) -> None:
    def after(decay: float) -> dict[str, np.ndarray]:
        trained = learner(keras, weight_decay=decay)
        for weight in trained.network.trainable_variables:
            weight.assign(np.ones(weight.shape, np.float32))
        trained.train(*batch(0))
        return {v.path: np.asarray(v).copy() for v in trained.network.trainable_variables}

    plain, decayed = after(1e-9), after(0.5)
    for path, value in decayed.items():
        difference = plain[path] - value
        expected = 0.01 * 0.5 if "kernel" in path else 0.0  # rate times decay times the weight, which is 1
        np.testing.assert_allclose(difference, expected, atol=1e-6, err_msg=path)


def test_the_average_follows_the_weights_and_takes_their_place_for_a_while(keras: Any) -> None:
    (variable,) = [keras.Variable(np.zeros(2, np.float32))]
    average = WeightAverage([variable], 0.5)
    expected = np.zeros(2)
    for update in range(4):
        variable.assign(np.full(2, update + 1.0))
        average.update()
        momentum = min(0.5, (1 + update) / (10 + update))
        expected = expected * momentum + (update + 1) * (1 - momentum)
    with average.in_place():
        np.testing.assert_allclose(np.asarray(variable), expected, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(variable), [4, 4])


def test_statistics_of_norms_that_learn_are_averaged_with_the_weights(keras: Any) -> None:
    trained = learner(keras, ema=0.99, freeze_batch_norm=True)
    norms = [trained.network.get_layer(name) for name in ("stem_bn", "head_norm")]
    seen = [[np.asarray(norm.moving_mean).copy() for norm in norms]]
    for number in range(3):
        trained.train(*batch(number))
        seen.append([np.asarray(norm.moving_mean).copy() for norm in norms])
    expected = seen[0]
    for update, now in enumerate(seen[1:]):
        momentum = (1 + update) / (10 + update)
        expected = [momentum * old + (1 - momentum) * new for old, new in zip(expected, now, strict=True)]
    with trained.as_saved():
        for norm, mean in zip(norms, expected, strict=True):
            np.testing.assert_allclose(np.asarray(norm.moving_mean), mean, rtol=1e-4, atol=1e-7)
    assert not norms[0].trainable and np.abs(seen[3][1] - expected[1]).max() > 1e-4
    np.testing.assert_array_equal(np.asarray(norms[1].moving_mean), seen[3][1])


def test_validation_multiplies_float32_as_such_and_training_as_the_card_likes(keras: Any) -> None:
    import tensorflow as tf

    trained, enabled = learner(keras), tf.config.experimental.tensor_float_32_execution_enabled
    tf.config.experimental.enable_tensor_float_32_execution(True)
    with trained.as_saved():
        assert not enabled()
    assert enabled()


def test_validation_sees_the_average_and_training_goes_on_with_the_weights(keras: Any) -> None:
    trained = learner(keras, ema=0.99)
    for number in range(3):
        trained.train(*batch(number))
    own = trained.copy_weights()
    plain = trained.score(batch(9)[0])
    with trained.as_saved():
        averaged = trained.score(batch(9)[0])
        assert any((a != b).any() for a, b in zip(own, trained.copy_weights(), strict=True))
    assert np.abs(plain - averaged).max() > 0
    np.testing.assert_array_equal(trained.score(batch(9)[0]), plain)


def test_weights_of_another_network_are_refused(keras: Any) -> None:
    with pytest.raises(CheckpointError, match="another network"):
        assign_weights(small_network(keras), [np.zeros(3)])


def test_any_keras_callback_is_told_what_fit_would_tell_it(keras: Any) -> None:
    network = small_network(keras)
    network.compile("sgd", "binary_crossentropy")
    heard: list[str] = []

    class Listener(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            heard.append(f"begin {self.params['epochs']} {self.model is network}")

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            heard.append(f"batch {batch} {logs['loss']}")

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.seen = logs["val_balanced_loss"]
            self.model.stop_training = True

    params = {"epochs": 4, "steps": 2, "verbose": 0}
    settings = TrainingConfig(schedule="plateau", early_stopping_patience=2)
    told = PhaseCallbacks(keras, network, settings, [Listener()], params)
    assert not told.tell("on_epoch_begin", 0)
    assert not told.tell("on_train_batch_end", 0, loss=0.5)
    assert told.tell("on_epoch_end", 0, val_balanced_loss=0.25)
    assert heard == ["begin 4 True", "batch 0 0.5"]
    state = told.copy_state()
    assert state[0]["best"] == 0.25 and state[-1]["seen"] == 0.25  # early stopping's, and the user's own
    again = PhaseCallbacks(keras, network, settings, [Listener()], params)
    again.load(state)
    for kept, found in zip(state, again.copy_state(), strict=True):
        assert kept.items() <= found.items()


def test_a_compiled_step_takes_the_same_step(keras: Any) -> None:
    plain, compiled = learner(keras, small_network(keras, dropout=0, depth=0)), None
    compiled = learner(keras, small_network(keras, dropout=0, depth=0), jit_compile=True)
    np.testing.assert_allclose(compiled.train(*batch(0)), plain.train(*batch(0)), rtol=1e-4)
    for mine, theirs in zip(compiled.copy_weights(), plain.copy_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("parts", [1, 3])
def test_norms_that_learn_alone_keep_the_statistics_that_were_loaded(keras: Any, parts: int) -> None:
    network = small_network(keras)
    stem = network.get_layer("stem_bn")
    random = np.random.default_rng(0)
    for weight in (stem.moving_mean, stem.moving_variance):
        weight.assign(random.uniform(0.5, 2.0, weight.shape))
    tuned = learner(keras, network, "norms", fine_tune="norms", accumulate=parts)
    before = {weight.path: np.asarray(weight).copy() for weight in list_weights(tuned.network)}
    crops, labels = batch(0)
    features = keras.Model(tuned.network.inputs, tuned.network.get_layer(POOL_LAYER).output)
    np.testing.assert_allclose(features(crops, training=True), features(crops, training=False), rtol=1e-6)
    tuned.train(crops, labels)
    changed = {
        weight.path for weight in list_weights(tuned.network)
        if (np.asarray(weight) != before[weight.path]).any()
    }  # fmt: skip
    assert {path for path in changed if not path.startswith("head_")} == {
        path for path in before if "_bn/" in path and path.endswith(("gamma", "beta"))
    }
    saved = copy_for_inference(tuned.network)
    np.testing.assert_allclose(saved.predict(crops, verbose=0)[:, 0], tuned.score(crops), atol=1e-6)
