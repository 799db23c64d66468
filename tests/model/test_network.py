"""The network's input contract, and what of it learns."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from deepfake.config import ModelConfig
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model import bundle, keras_runtime
from deepfake.model.network import (
    POOL_LAYER,
    build_network,
    check_contract,
    check_crops,
    check_weights,
    copy_for_inference,
    list_backbone_layers,
    list_weights,
    rebuild_network,
    replace_layers,
    set_trainable,
)
from deepfake.training.distributed.collective import Collective
from deepfake.training.distributed.sync_batch_norm import choose_norms
from tests.small_network import make_small_model

UNTRAINED = ModelConfig(weights="none")


@pytest.fixture(scope="module")
def keras() -> Any:
    return keras_runtime.start_keras(threads=2, seed=1)


@pytest.fixture(scope="module")
def network(keras: Any) -> Any:
    return build_network(UNTRAINED)


def crops(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), np.uint8)


def activations(keras: Any, network: Any, layer: str, images: np.ndarray) -> np.ndarray:
    part = keras.Model(network.inputs, network.get_layer(layer).output)
    return np.asarray(part(images, training=False))


def test_the_first_layers_see_what_keras_applications_expects(keras: Any, network: Any) -> None:
    pristine = keras.applications.EfficientNetB0(include_top=False, weights=None)
    by_type = {type(layer).__name__: layer.name for layer in reversed(pristine.layers)}
    rescaling, normalization = by_type["Rescaling"], by_type["Normalization"]
    ours = {type(layer).__name__: layer.name for layer in reversed(network.layers)}
    images = crops()
    pristine.get_layer("stem_conv").set_weights(network.get_layer("stem_conv").get_weights())
    for mine, theirs in (
        (ours["Rescaling"], rescaling),
        (ours["Normalization"], normalization),
        ("stem_conv", "stem_conv"),
    ):
        # keras.applications documents RGB floats in 0..255
        expected = activations(keras, pristine, theirs, images.astype("float32"))
        np.testing.assert_array_equal(activations(keras, network, mine, images), expected)
    assert activations(keras, network, ours["Rescaling"], images).max() == pytest.approx(1.0)


def test_the_input_is_uint8_and_a_score_is_one_number_in_0_to_1(network: Any) -> None:
    assert str(network.inputs[0].dtype) == "uint8"
    check_contract(network, 224, "here")
    scores = np.asarray(network(crops(), training=False))
    assert scores.shape == (2, 1) and scores.dtype == np.float32
    assert ((scores >= 0) & (scores <= 1)).all()


def test_divided_crops_reach_the_network_as_black(network: Any) -> None:
    divided = crops().astype("float32") / 255 * 0.999
    black = np.zeros((2, 224, 224, 3), np.uint8)
    np.testing.assert_array_equal(network.predict(divided, verbose=0), network.predict(black, verbose=0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (crops() / 255.0, "must be uint8 RGB in 0..255, got float64; do not divide by 255"),
        (crops().astype(np.int32), "got int32"),
        (crops()[0], r"must have shape \(n, 224, 224, 3\), got \(224, 224, 3\)"),
        (crops()[:, :100], "must have shape"),
        (crops()[..., :1], "must have shape"),
    ],
)
def test_other_arrays_are_refused(wrong: np.ndarray, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_crops(wrong, 224)


def test_a_network_of_another_contract_is_refused(keras: Any) -> None:
    inputs = keras.Input((128, 128, 3))
    other = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    with pytest.raises(UsageError, match=r"x\.keras: the network takes .*128"):
        check_contract(other, 224, "x.keras")


def test_a_frozen_backbone_learns_nothing_and_drops_nothing(keras: Any) -> None:
    frozen = build_network(UNTRAINED.model_copy(update={"dropout": 0.0, "head_dropout": 0.0}))
    set_trainable(frozen, "head", freeze_batch_norm=False)
    names = {variable.path.split("/")[0] for variable in frozen.trainable_variables}
    assert names == {"head_norm", "head_dense", "head_dense_norm", "head_score"}
    top = keras.Model(frozen.inputs, frozen.get_layer(POOL_LAYER).input)
    training, inference = (np.asarray(top(crops(), training=t)) for t in (True, False))
    np.testing.assert_array_equal(training, inference)


def test_batch_norm_alone_can_be_frozen(keras: Any, network: Any) -> None:
    set_trainable(network, "all", freeze_batch_norm=True)
    norms = [x for x in list_backbone_layers(network) if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 49
    assert not any(layer.trainable for layer in norms)
    assert network.get_layer("stem_conv").trainable and network.get_layer("head_norm").trainable
    set_trainable(network, "all", freeze_batch_norm=False)
    assert all(layer.trainable for layer in network.layers)


def test_the_heads_norms_know_the_features_of_the_last_batches(keras: Any) -> None:
    """By features of 200 batches ago, which the backbone gives no more, scores are of another network."""
    network = build_network(ModelConfig(backbone="mobilenet025", weights="none"))
    random = np.random.default_rng(0)
    for name in ("head_norm", "head_dense_norm"):
        norm = network.get_layer(name)
        for _ in range(50):
            norm(random.normal(3.0, 0.5, (32, norm.gamma.shape[0])).astype(np.float32), training=True)
        np.testing.assert_allclose(norm.moving_mean.numpy(), 3.0, atol=0.2)
        np.testing.assert_allclose(norm.moving_variance.numpy(), 0.25, atol=0.15)


def test_the_last_blocks_can_learn_alone(keras: Any) -> None:
    tuned = build_network(UNTRAINED)
    set_trainable(tuned, "top", freeze_batch_norm=True, blocks=2)
    learning = {variable.path.split("/")[0] for variable in tuned.trainable_variables}
    backbone = {name.split("_")[0][:6] for name in learning if not name.startswith("head_")}
    assert backbone == {"block6", "block7", "top"}
    assert not {name for name in learning if name.endswith("_bn")} and "head_norm" in learning
    dropping = {x.name[:6] for x in tuned.layers if isinstance(x, keras.layers.Dropout) and x.rate > 0}
    assert dropping == {"block6", "head_d"}  # the blocks below run as in inference


def test_norms_can_learn_alone_below_a_head_on_the_sphere(keras: Any) -> None:
    tuned = build_network(make_small_model().model_copy(update={"head": "sphere"}))
    set_trainable(tuned, "norms", freeze_batch_norm=False)
    learning = {variable.path for variable in tuned.trainable_variables}
    norms = [x for x in list_backbone_layers(tuned) if isinstance(x, keras.layers.BatchNormalization)]
    assert learning == {weight.path for norm in norms for weight in (norm.gamma, norm.beta)} | {
        "head_score/kernel", "head_score/bias"
    }  # fmt: skip
    features = keras.Model(tuned.inputs, tuned.get_layer("head_score").input)(crops(), training=False)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, rtol=1e-5)
    with pytest.raises(UsageError, match="vgg16 has no norms"):
        set_trainable(build_network(ModelConfig(backbone="vgg16", weights="none")), "norms", False)


def test_weights_have_one_order_in_all_copies_of_a_network(network: Any) -> None:
    copy = rebuild_network(network, type)
    ours, theirs = list_weights(network), list_weights(copy)
    assert [w.path for w in ours] == [w.path for w in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_what_is_saved_computes_in_float32_whatever_it_was_trained_in(keras: Any) -> None:
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = build_network(UNTRAINED)
        saved = copy_for_inference(mixed)
        assert keras.mixed_precision.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in saved.layers} <= {"float32", "uint8"}
    for before, after in zip(mixed.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_what_is_saved_has_no_optimizer(network: Any) -> None:
    trained = rebuild_network(network, type)
    trained.compile("adam", "binary_crossentropy")
    trained.optimizer.build(trained.trainable_variables)
    saved = copy_for_inference(trained)
    assert trained.compiled and not saved.compiled
    size = sum(weight.numpy().nbytes for weight in network.weights)
    assert size < len(bundle.serialise_network(saved)) < 1.1 * size


def test_what_is_trained_and_what_is_saved_see_crops_as_the_loaded_backbone_does(
    keras: Any, tmp_path: Path
) -> None:
    """Loaded backbones carry the mean and variance of their own data, which Keras holds as constants too."""
    network = build_network(UNTRAINED)
    (norm,) = [layer for layer in network.layers if isinstance(layer, keras.layers.Normalization)]
    norm.set_weights([np.full(3, 0.45, np.float32), np.full(3, 0.05, np.float32), np.int64(1)])
    norm.finalize_state()
    crops = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), np.uint8)

    def first_features(net: Any) -> np.ndarray:
        return np.asarray(keras.Model(net.inputs, net.get_layer("stem_conv").output)(crops))

    expected = first_features(network)
    two_workers = SimpleNamespace(world=2, present=1.0)
    trained = replace_layers(network, choose_norms(network, cast(Collective, two_workers), False))
    saved = copy_for_inference(trained)
    saved.save(tmp_path / "a.keras")
    loaded = keras.models.load_model(tmp_path / "a.keras")
    for copy in (trained, saved, loaded):
        np.testing.assert_allclose(first_features(copy), expected, atol=1e-5)
    assert {type(layer).__module__.split(".")[0] for layer in saved.layers} == {"keras"}
    norm.set_weights([np.zeros(3, np.float32), np.ones(3, np.float32), np.int64(1)])
    norm.finalize_state()
    assert np.abs(first_features(network) - expected).max() > 0.1  # it matters


def test_weights_that_are_not_there_are_an_error_with_a_remedy(tmp_path: Path) -> None:
    path = str(tmp_path / "nowhere.weights.h5")
    with pytest.raises(UsageError, match=r"nowhere\.weights\.h5: no such file; give --model\.weights none"):
        check_weights(ModelConfig(weights=path), Storage())
    with pytest.raises(UsageError, match=r"a \*\.weights\.h5 file of mobilenetv2 without top"):
        check_weights(ModelConfig(backbone="mobilenetv2", weights=path), Storage())
    with pytest.raises(UsageError, match="expected imagenet, none or a file"):
        check_weights(ModelConfig(weights="imagenette"), Storage())


def test_weights_of_something_else_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(UsageError, match=str(path)):
        build_network(ModelConfig(weights=str(path)))


def test_a_failed_download_names_the_alternatives(keras: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "EfficientNetB0", fail)
    with pytest.raises(UsageError, match=r"URL fetch failure.*--model\.weights none.*--model\.weights PATH"):
        check_weights(ModelConfig(weights="imagenet"), Storage())


@pytest.mark.data
def test_a_backbone_from_a_file_is_loaded(data: Path) -> None:
    path = data / "weights" / "efficientnetb0_transfer_notop.weights.h5"
    loaded = build_network(ModelConfig(weights=str(path)))
    kernel = loaded.get_layer("stem_conv").get_weights()[0]
    assert np.abs(kernel).max() > 0.5  # freshly drawn ones stay below 0.4
