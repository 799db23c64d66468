"""The network gives the same scores on every runtime, and is exported once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.config import ModelConfig
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model import inference, keras_runtime, openvino_graph
from deepfake.model.bundle import Bundle, write_bundle
from deepfake.model.grad_cam import HeatMaps
from deepfake.model.network import POOL_LAYER, SCORE_LAYER, build_network
from tests.small_bundle import save_bundle
from tests.small_network import small_network


def _save_widely_scoring(uri: str, network: Any) -> str:
    """A bundle of a network with random weights, scaled so that scores differ from crop to crop."""
    scores = network.get_layer(SCORE_LAYER)
    kernel, bias = scores.get_weights()
    logits = np.log(1 / network(inference.make_probes(), training=False).numpy() - 1)
    scores.set_weights([kernel * 2 / np.std(logits), bias + np.mean(logits) * 2 / np.std(logits)])
    save_bundle(uri, Storage(), network, threshold=0.5, threshold_rule="none")
    return uri


def _save_small(uri: str, seed: int = 3) -> str:
    """A bundle for what is the same with every network, and takes seconds with the default one."""
    return _save_widely_scoring(uri, small_network(keras_runtime.start_keras(), seed))


@pytest.fixture(scope="module")
def default_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    keras_runtime.start_keras(seed=3)
    network = build_network(ModelConfig(weights="none"))
    return _save_widely_scoring(str(tmp_path_factory.mktemp("default")), network)


@pytest.fixture(scope="module")
def default_network(default_uri: str) -> inference.Network:
    return inference.prepare_network(Bundle.load(default_uri), Storage(), "openvino")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return _save_small(str(tmp_path_factory.mktemp("bundle")))


@pytest.fixture(scope="module")
def network(uri: str) -> inference.Network:
    return inference.prepare_network(Bundle.load(uri), Storage(), "openvino")


def test_openvinos_scores_are_tensorflows(default_uri: str, default_network: inference.Network) -> None:
    crops = inference.make_probes()
    expected = Bundle.load(default_uri, batch_size=5).score(crops)
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(default_network.start_scorer(threads=1).score(crops), expected, atol=1e-4)
    assert "openvino 20" in default_network.made_with
    assert "tensorflow" not in default_network.made_with


def test_openvinos_heat_maps_are_those_of_keras_gradients(
    default_uri: str, default_network: inference.Network
) -> None:
    crops = inference.make_probes()
    draw, keras = default_network.start_heat_maps(threads=1), HeatMaps(Bundle.load(default_uri))
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
    assert openvino_graph.OpenVinoScorer(found.graph, 224).has_maps
    expected = HeatMaps(bundle)(crops)
    assert (expected.max(axis=(1, 2)) > 0).any()
    np.testing.assert_allclose(found.start_heat_maps(threads=1)(crops, "fake"), expected, atol=1e-3)


def test_a_head_of_unknown_layers_has_its_maps_from_tensorflow(tmp_path: Path) -> None:
    keras = keras_runtime.start_keras(seed=3)
    network = small_network(keras)
    x = network.get_layer(POOL_LAYER).output
    x = keras.layers.Dense(8, activation="gelu", name="head_dense")(x)
    other = keras.Model(network.inputs, keras.layers.Dense(1, activation="sigmoid", name=SCORE_LAYER)(x))
    save_bundle(str(tmp_path), Storage(), other, threshold=0.5, threshold_rule="none")
    found = inference.prepare_network(Bundle.load(str(tmp_path)), Storage(), "openvino")
    assert not openvino_graph.OpenVinoScorer(found.graph, 224).has_maps
    assert isinstance(found.start_heat_maps(), HeatMaps)


def test_a_crops_score_depends_on_no_other_crop(default_network: inference.Network) -> None:
    crops, scorer = inference.make_probes(), default_network.start_scorer(threads=1)
    together = scorer.score(crops)
    assert [scorer.score(crops[i : i + 1])[0] for i in range(len(crops))] == together.tolist()
    assert scorer.score(crops[:0]).shape == (0,)


def test_an_export_is_quiet_in_a_process_that_has_not_started_tensorflow(default_uri: str) -> None:
    code = (
        "import sys; from deepfake.model import bundle, inference; "
        "print(len(inference.export_openvino(bundle.Bundle.load(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, default_uri],
        env=os.environ | {"TF_ENABLE_ONEDNN_OPTS": "1"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout) > 1_000_000
    assert done.stderr == ""


def test_an_exported_network_is_kept_and_needs_no_tensorflow(uri: str, network: inference.Network) -> None:
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


def test_a_bundle_carries_the_network_that_training_exported_and_a_start_exports_nothing(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(tmp_path / "model")
    shutil.copytree(uri, folder)
    loaded = Bundle.load(folder)
    runtimes = inference.export_beside(loaded, Storage())
    write_bundle(folder, Storage(), loaded.info.model_copy(update={"runtimes": runtimes}))
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inference, "export_openvino", None)  # another export would fail
    found = inference.prepare_network(Bundle.load(folder), Storage(), "openvino")
    (kept,) = Path(folder, inference.FOLDER).glob("*.zip")
    assert kept.read_bytes() == found.graph
    assert found.start_scorer(1).score(inference.make_probes()) == pytest.approx(
        loaded.score(inference.make_probes()), abs=inference.TOLERANCE
    )


def test_a_network_that_somebody_put_beside_a_bundle_is_not_believed(
    uri: str, network: inference.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hash beside it, right scores on the probes, as everybody knows them; the name is the right one."""
    folder = tmp_path / "model"
    shutil.copytree(uri, folder)
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "cache"))
    name = inference.name_export(Bundle.load(str(folder)).info.model_sha256)
    planted = folder / inference.FOLDER / f"{name}.zip"
    planted.parent.mkdir(exist_ok=True)
    other = inference.export_openvino(Bundle.load(_save_small(str(tmp_path / "other"), seed=4)))
    planted.write_bytes(other)
    digest = hashlib.sha256(other).hexdigest()
    planted.with_suffix(".json").write_text(json.dumps({"sha256": digest}))
    found = inference.prepare_network(Bundle.load(str(folder)), Storage(), "openvino")
    assert found.graph != other
    scores = [one.start_scorer(1).score(inference.make_probes()) for one in (found, network)]
    np.testing.assert_allclose(*scores, atol=inference.TOLERANCE)
    raw = json.loads((folder / "bundle.json").read_text())
    raw["runtimes"] = {name: digest}
    (folder / "bundle.json").write_text(json.dumps(raw))
    with pytest.raises(UsageError, match="sha256 does not fit its content"):
        Bundle.load(str(folder))


@pytest.mark.parametrize("where", ["", ".", "link"])
def test_an_export_in_the_cache_that_somebody_else_may_have_written_is_not_believed(
    uri: str, network: inference.Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """This user's own files: in a folder of all users anybody can give another network's this name."""
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    monkeypatch.setattr(inference, "export_openvino", lambda bundle: network.graph)
    bundle = Bundle.load(uri)
    inference.prepare_network(bundle, Storage())
    (kept,) = (tmp_path / inference.FOLDER).glob("*.zip")
    planted = b"another network"
    kept.write_bytes(planted)
    kept.with_suffix(".json").write_text(json.dumps({"sha256": hashlib.sha256(planted).hexdigest()}))
    assert inference.prepare_network(bundle, Storage()).graph == planted  # of this user alone
    if where == "link":
        kept.rename(tmp_path / "elsewhere.zip")
        kept.symlink_to(tmp_path / "elsewhere.zip")
    else:
        (kept.parent / where if where else kept).chmod(0o777)
    assert inference.prepare_network(bundle, Storage()).graph == network.graph
    monkeypatch.setattr(inference, "export_openvino", None)  # another export would fail
    assert inference.prepare_network(bundle, Storage()).graph == network.graph  # kept, and private again


@pytest.mark.parametrize("damage", ["cut", "list", "deep", "no zip"])
def test_a_damaged_export_is_made_again(
    uri: str, network: inference.Network, caplog: pytest.LogCaptureFixture, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, damage: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(inference, "export_openvino", lambda bundle: network.graph)
    bundle = Bundle.load(uri)
    inference.prepare_network(bundle, Storage())
    (kept,) = (tmp_path / "cache" / inference.FOLDER).glob("*.zip")
    if damage == "cut":
        kept.write_bytes(network.graph[:-1000])
    elif damage == "no zip":
        kept.write_bytes(b"no zip")
    else:
        kept.with_suffix(".json").write_text({"list": "[]", "deep": "[" * 60_000}[damage])
    with caplog.at_level(logging.WARNING):
        again = inference.prepare_network(bundle, Storage()).graph
    assert "damaged" in caplog.text and again == network.graph == kept.read_bytes()


def test_an_export_with_other_scores_is_refused_by_name_and_otherwise_not_used(
    uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "cache"))
    other = Bundle.load(_save_small(str(tmp_path / "other"), seed=4))
    wrong = inference.export_openvino(Bundle.load(uri))
    monkeypatch.setattr(inference, "export_openvino", lambda bundle: wrong)
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
