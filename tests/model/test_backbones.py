"""Every backbone that a configuration may name, held to keras.applications' own."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.config import ModelConfig, TrainingConfig
from deepfake.config.model import CONV_BACKBONES
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model import inference, keras_runtime, openvino_graph
from deepfake.model.backbones import BACKBONES, check_backbone
from deepfake.model.bundle import Bundle
from deepfake.model.grad_cam import HeatMaps
from deepfake.model.network import (
    POOL_LAYER,
    build_network,
    copy_for_inference,
    list_backbone_layers,
    list_weights,
    set_trainable,
)
from tests.running import ROOT
from tests.small_bundle import save_bundle

NAMES = CONV_BACKBONES
# Each is one of these, or differs from one in its depth or width alone.
TESTED = (
    "efficientnetb0", "efficientnetv2b0", "efficientnetv2s", "mobilenet025", "mobilenet", "mobilenetv2",
    "mobilenetv3small", "mobilenetv3large", "resnet50", "resnet50v2", "densenet121", "vgg16", "xception",
    "inceptionv3", "meso4", "mesoinception4",
)  # fmt: skip


@pytest.fixture(scope="module")
def keras() -> Any:
    return keras_runtime.start_keras(threads=2, seed=1)


def crops(count: int = 2) -> np.ndarray:
    """Noise that is redder than it is blue, so that the order of colours matters."""
    made = np.random.default_rng(0).integers(0, 128, (count, 224, 224, 3), np.uint8)
    return made + np.array([128, 40, 0], np.uint8)


def make_features(keras: Any, network: Any, images: np.ndarray) -> np.ndarray:
    """What is pooled: ``(n, 7, 7, channels) float32``."""
    return np.asarray(
        keras.Model(network.inputs, network.get_layer(POOL_LAYER).input)(images, training=False)
    )


def test_the_table_has_the_names_that_a_configuration_takes() -> None:
    assert list(BACKBONES) == list(NAMES)


def test_a_backbone_that_is_not_built_here_differs_in_its_size_alone_from_one_that_is(keras: Any) -> None:
    tested = [replace(BACKBONES[name], constructor="") for name in TESTED]
    deeper = ("efficientnetv2m", "efficientnetv2l")  # of seven blocks, as EfficientNet's own are
    for name in set(NAMES) - set(TESTED):
        facts = BACKBONES[name]
        assert facts.constructor.lower() == name and hasattr(keras.applications, facts.constructor)
        assert replace(facts, constructor="") in tested or name in deeper


def test_the_table_of_the_pages_says_what_the_code_does() -> None:
    words = {"inside": "own", "tf": "-1 to 1", "torch": "by mean and deviation", "caffe": "BGR minus mean"}
    text = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| `(\w+)` \| [\d.]+ \| (.+) \| (\d+) \|$", text, re.M)
    assert found == [(name, words[x.mode], str(x.count_blocks())) for name, x in BACKBONES.items()]


@pytest.mark.parametrize("name", TESTED)
def test_a_backbone_is_the_one_of_keras_applications_behind_its_own_preprocessing(
    keras: Any, name: str
) -> None:
    facts = BACKBONES[name]
    network = build_network(ModelConfig(backbone=name, weights="none"))
    constructor = facts.find_constructor(keras)
    preprocess = partial(keras.applications.imagenet_utils.preprocess_input, mode=facts.mode)
    if facts.has_imagenet:
        preprocess = sys.modules[constructor.__module__].preprocess_input
    theirs = constructor(include_top=False, weights=None, input_shape=(224, 224, 3), **facts.options)
    ours = [layer for layer in list_backbone_layers(network) if layer.weights]
    for layer, other in zip(ours, [layer for layer in theirs.layers if layer.weights], strict=True):
        other.set_weights(layer.get_weights())
    assert facts.batch_norm == any(isinstance(one, keras.layers.BatchNormalization) for one in ours)
    expected = np.asarray(theirs(preprocess(crops().astype(np.float32)), training=False))
    assert expected.shape[1:3] == ((5, 5) if name == "inceptionv3" else (7, 7)) and expected.std() > 0
    np.testing.assert_allclose(
        make_features(keras, network, crops()), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max()
    )

    # other copies of a network find their weights by the layers' names, in their order
    again = build_network(ModelConfig(backbone=name, weights="none"))
    assert [w.shape for w in list_weights(again)] == [w.shape for w in list_weights(network)]
    own = [x.name for x in ours if not isinstance(x, keras.layers.Normalization)]
    assert set(own) <= {layer.name for layer in again.layers}

    names = [layer.name for layer in list_backbone_layers(network)]
    numbers = {int(match[1]) for match in (re.match(facts.block, layer) for layer in names) if match}
    assert (min(numbers), max(numbers)) == facts.blocks
    set_trainable(network, "top", freeze_batch_norm=False, blocks=1)
    learn = [layer.name for layer in ours if layer.trainable]
    assert learn and all(layer.trainable for layer in ours[-len(learn) :])  # they are the last ones
    parts = [layer.name for layer in list_backbone_layers(network) if layer.trainable]
    known = [re.match(facts.block, part) for part in parts]
    assert {int(match[1]) for match in known if match} == {facts.blocks[1]}
    rates = [x.rate for x in list_backbone_layers(again) if isinstance(x, keras.layers.Dropout)]
    assert max(rates, default=0.0) == pytest.approx(facts.drop_connect, rel=0.15)


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_weights_of_another_origin_get_the_input_that_they_were_trained_on(
    keras: Any, tmp_path: Path, mode: Any
) -> None:
    facts = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25)
    facts.save_weights(tmp_path / "a.weights.h5")
    config = ModelConfig(
        backbone="mobilenet025", weights=str(tmp_path / "a.weights.h5"), input_mode=mode, dense_units=8
    )
    network = build_network(config)
    images = keras.applications.imagenet_utils.preprocess_input(crops().astype(np.float32), mode=mode)
    expected = np.asarray(facts(images, training=False))
    np.testing.assert_allclose(
        make_features(keras, network, crops()), expected, atol=1e-4 * np.abs(expected).max()
    )


def test_weights_of_another_backbone_are_an_error_that_names_the_key(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.weights.h5"
    keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25).save_weights(path)
    for name in ("mobilenet", "mobilenetv3small", "vgg16"):
        with pytest.raises(
            UsageError, match=rf"{path}: not the weights of {name} .{{30,230}}model\.backbone"
        ):
            build_network(ModelConfig(backbone=name, weights=str(path)))


@pytest.mark.parametrize(("name", "weights"), [("meso4", 27_977), ("mesoinception4", 28_615)])
def test_a_mesonet_has_as_many_weights_as_the_paper_says(keras: Any, name: str, weights: int) -> None:
    backbone = BACKBONES[name].find_constructor(keras)(False, None, (256, 256, 3))
    dense = (backbone.output.shape[1] * backbone.output.shape[2] * 16 + 1) * 16 + 17  # the paper's own head
    assert sum(weight.numpy().size for weight in backbone.trainable_weights) + dense == weights


def test_keys_that_do_not_fit_a_backbone_are_refused() -> None:
    check_backbone(ModelConfig(backbone="mobilenet", input_mode="caffe"), TrainingConfig(fine_tune_blocks=13))
    with pytest.raises(UsageError, match="fine_tune_blocks 5: resnet50 has 4"):
        check_backbone(ModelConfig(backbone="resnet50"), TrainingConfig(fine_tune_blocks=5))
    with pytest.raises(UsageError, match=r"meso4 was never trained on it; give --model\.weights none"):
        check_backbone(ModelConfig(backbone="meso4"), TrainingConfig())
    with pytest.raises(UsageError, match=r"input_mode tf: efficientnetb0 scales its own input"):
        check_backbone(ModelConfig(input_mode="tf"), TrainingConfig())


def test_parts_of_a_batch_are_refused_only_where_the_backbone_has_batch_norm_that_learns() -> None:
    tuned = {"accumulate": 2, "freeze_batch_norm": False}
    with pytest.raises(UsageError, match=r"accumulate 2 needs .*, and efficientnetb0 has BatchNorm"):
        check_backbone(ModelConfig(), TrainingConfig(**tuned))
    for more in ({"fine_tune": "none"}, {"freeze_batch_norm": True}):
        check_backbone(ModelConfig(), TrainingConfig(**{**tuned, **more}))
    check_backbone(ModelConfig(backbone="vgg16"), TrainingConfig(**tuned))


@pytest.mark.parametrize(("name", "mode"), [("mobilenet025", "caffe"), ("mobilenetv3small", "own")])
def test_a_bundle_of_another_backbone_scores_and_explains_alike_on_every_runtime(
    keras: Any, tmp_path: Path, name: Any, mode: Any
) -> None:
    config = ModelConfig(backbone=name, weights="none", input_mode=mode)
    network = copy_for_inference(build_network(config))
    save_bundle(str(tmp_path), Storage(), network, threshold=0.5)
    loaded = Bundle.load(str(tmp_path))
    expected = np.asarray(network(crops(), training=False))[:, 0]
    np.testing.assert_allclose(loaded.score(crops()), expected, atol=1e-6)
    exported = inference.prepare_network(loaded, Storage(), "openvino")  # compared with TensorFlow inside
    scorer = openvino_graph.OpenVinoScorer(exported.graph, 224)
    np.testing.assert_allclose(scorer.score(crops()), expected, atol=inference.TOLERANCE)
    assert scorer.has_maps
    np.testing.assert_allclose(scorer.draw_maps(crops()), HeatMaps(loaded)(crops()), atol=1e-3)


@pytest.mark.data
def test_a_face_backbone_from_a_file_is_loaded(keras: Any, data: Path) -> None:
    path = str(data / "weights" / "mobilenet_faceres_notop.weights.h5")
    loaded = build_network(ModelConfig(backbone="mobilenet", weights=path, input_mode="caffe"))
    assert np.abs(loaded.get_layer("conv_pw_13_bn").beta).max() > 0  # it is 0 before any training
    assert make_features(keras, loaded, crops()).std() > 0
