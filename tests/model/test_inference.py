"""The network gives the same scores on every runtime, and is exported once."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepfake.config import ModelConfig
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model import inference, keras_runtime
from deepfake.model.bundle import Bundle
from deepfake.model.grad_cam import HeatMaps
from deepfake.model.network import POOL_LAYER, SCORE_LAYER, build_network
from tests.small_bundle import save_bundle


def _widely_scoring_bundle(uri: str, seed: int = 3) -> str:
    """A bundle with random weights whose scores differ from crop to crop."""
    keras_runtime.start_keras(seed=seed)
    network = build_network(ModelConfig(weights="none"))
    scores = network.get_layer("head_score")
    kernel, bias = scores.get_weights()
    logits = np.log(1 / network(inference.make_probes(), training=False).numpy() - 1)
    scores.set_weights([kernel * 2 / np.std(logits), bias + np.mean(logits) * 2 / np.std(logits)])
    save_bundle(uri, Storage(), network, threshold=0.5, threshold_rule="none")
    return uri


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _widely_scoring_bundle(str(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def network(uri: str) -> inference.Network:
    return inference.prepare_network(Bundle.load(uri), Storage(), "openvino")


def test_openvinos_scores_are_tensorflows(uri: str, network: inference.Network) -> None:
    crops = inference.make_probes()
    expected = Bundle.load(uri, batch_size=5).score(crops)
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(network.start_scorer(threads=1).score(crops), expected, atol=1e-4)
    assert "openvino 20" in network.made_with
    assert "tensorflow" not in network.made_with


def test_openvinos_heat_maps_are_those_of_keras_gradients(uri: str, network: inference.Network) -> None:
    crops = inference.make_probes()
    draw, keras = network.start_heat_maps(threads=1), HeatMaps(Bundle.load(uri))
    for call in ("fake", "real"):
        expected = keras(crops, call)
        assert (expected.max(axis=(1, 2)) > 0).any()
        np.testing.assert_allclose(draw(crops, call), expected, atol=1e-3)


def test_features_of_unit_length_have_scores_and_heat_maps_of_keras(tmp_path: Path) -> None:
    keras = keras_runtime.start_keras(seed=3)
    x = crop = keras.Input((224, 224, 3), dtype="uint8", name="crop")
    x = keras.layers.Conv2D(6, 32, strides=32, activation="relu")(keras.layers.Rescaling(1 / 255)(x))
    x = keras.layers.GlobalAveragePooling2D(name=POOL_LAYER)(x)
    x = keras.layers.UnitNormalization(name="head_unit")(x)
    network = keras.Model(crop, keras.layers.Dense(1, activation="sigmoid", name=SCORE_LAYER)(x))
    save_bundle(str(tmp_path), Storage(), network, threshold=0.5, threshold_rule="none")
    bundle, crops = Bundle.load(str(tmp_path)), inference.make_probes()
    found = inference.prepare_network(bundle, Storage(), "openvino")
    np.testing.assert_allclose(found.start_scorer(threads=1).score(crops), bundle.score(crops), atol=1e-4)
    assert inference.OpenVinoScorer(found.graph).has_maps
    expected = HeatMaps(bundle)(crops)
    assert (expected.max(axis=(1, 2)) > 0).any()
    np.testing.assert_allclose(found.start_heat_maps(threads=1)(crops, "fake"), expected, atol=1e-3)


def test_a_head_of_unknown_layers_has_its_maps_from_tensorflow(tmp_path: Path) -> None:
    keras = keras_runtime.start_keras(seed=3)
    network = build_network(ModelConfig(weights="none"))
    x = network.get_layer(POOL_LAYER).output
    x = keras.layers.Dense(8, activation="gelu", name="head_dense")(x)
    other = keras.Model(network.inputs, keras.layers.Dense(1, activation="sigmoid", name=SCORE_LAYER)(x))
    save_bundle(str(tmp_path), Storage(), other, threshold=0.5, threshold_rule="none")
    found = inference.prepare_network(Bundle.load(str(tmp_path)), Storage(), "openvino")
    assert not inference.OpenVinoScorer(found.graph).has_maps
    assert isinstance(found.start_heat_maps(), HeatMaps)


def test_a_crops_score_depends_on_no_other_crop(network: inference.Network) -> None:
    crops, scorer = inference.make_probes(), network.start_scorer(threads=1)
    together = scorer.score(crops)
    assert [scorer.score(crops[i : i + 1])[0] for i in range(len(crops))] == together.tolist()
    assert scorer.score(crops[:0]).shape == (0,)


def test_an_export_is_quiet_in_a_process_that_has_not_started_tensorflow(uri: str) -> None:
    code = (
        "import sys; from deepfake.model import bundle, inference; "
        "print(len(inference.export_network(bundle.Bundle.load(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, uri],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) > 1_000_000
    assert done.stderr == ""


def test_an_exported_network_is_kept_beside_its_bundle_and_needs_no_tensorflow(
    uri: str, network: inference.Network
) -> None:
    assert len(list(Path(uri, inference.FOLDER).glob("*.zip"))) == 1
    code = (
        "import sys, numpy as np\n"
        "from deepfake.model import inference\n"
        "from deepfake.model.bundle import Bundle\n"
        "from deepfake.io.storage import Storage\n"
        f"network = inference.prepare_network(Bundle.load({uri!r}), Storage())\n"
        "print(network.start_scorer(1).score(inference.make_probes()).tolist())\n"
        "print(sorted({'tensorflow', 'keras', 'openvino_telemetry'} & set(sys.modules)))\n"
    )
    made = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    scores, imported = made.strip().splitlines()
    assert json.loads(scores) == network.start_scorer(1).score(inference.make_probes()).tolist()
    assert imported == "[]"


def test_where_the_bundle_cannot_be_written_the_users_cache_keeps_the_network(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.load(uri)
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "file").touch()
    bundle.uri = str(tmp_path / "file")  # nothing can be written below a file
    graph = inference.prepare_network(bundle, Storage(), "openvino").graph
    (kept,) = (tmp_path / "cache" / inference.FOLDER).glob("*.zip")
    assert kept.read_bytes() == graph
    monkeypatch.setattr(inference, "export_network", None)  # a second export would fail
    assert inference.prepare_network(bundle, Storage(), "openvino").graph == graph


def test_a_damaged_export_is_made_again(uri: str, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    bundle = Bundle.load(uri)
    whole = inference.prepare_network(bundle, Storage()).graph
    (kept,) = Path(uri, inference.FOLDER).glob("*.zip")
    kept.write_bytes(whole[:-1000])
    with caplog.at_level(logging.WARNING):
        again = inference.prepare_network(bundle, Storage()).graph
    assert "damaged" in caplog.text
    np.testing.assert_array_equal(
        inference.OpenVinoScorer(again).score(inference.make_probes()),
        inference.OpenVinoScorer(whole).score(inference.make_probes()),
    )


def test_an_export_with_other_scores_is_refused_by_name_and_otherwise_not_used(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "cache"))
    other = Bundle.load(_widely_scoring_bundle(str(tmp_path / "other"), seed=4))
    wrong = inference.export_network(Bundle.load(uri))
    monkeypatch.setattr(inference, "export_network", lambda bundle: wrong)
    with pytest.raises(UsageError, match="differ from TensorFlow's"):
        inference.prepare_network(other, Storage(), "openvino")
    with caplog.at_level(logging.WARNING):
        assert inference.prepare_network(other, Storage(), "auto").runtime == "tensorflow"
    assert "differ from TensorFlow's" in caplog.text
    assert not Path(other.uri, inference.FOLDER).exists()


def test_openvino_is_refused_on_gpus(uri: str) -> None:
    with pytest.raises(UsageError, match="use_gpu"):
        inference.prepare_network(Bundle.load(uri), Storage(), "openvino", use_gpu=True)
    assert (
        inference.prepare_network(Bundle.load(uri), Storage(), "auto", use_gpu=True).runtime == "tensorflow"
    )
