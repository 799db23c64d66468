"""A network in another format gives its scores; what a format needs is asked for by name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.model import export, inference, keras_runtime
from deepfake.model.bundle import Bundle
from tests.small_bundle import save_bundle
from tests.small_network import small_network


def test_an_exported_network_scores_any_number_of_crops_as_the_bundle_does(tmp_path: Path) -> None:
    network = small_network(keras_runtime.start_keras())
    save_bundle(str(tmp_path / "bundle"), Storage(), network, threshold=0.5)
    bundle = Bundle.load(str(tmp_path / "bundle"))
    path = export.export_network(bundle, "openvino", tmp_path)
    run = export.FORMATS["openvino"].start(path)
    crops = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), np.uint8)
    for some in (crops, crops[:1]):
        assert run(some) == pytest.approx(bundle.score(some), abs=1e-4)


def test_a_signal_reaches_a_process_whose_networks_are_gone(tmp_path: Path) -> None:
    network = small_network(keras_runtime.start_keras())
    save_bundle(str(tmp_path / "bundle"), Storage(), network, threshold=0.5)
    (tmp_path / "graph").write_bytes(inference.export_openvino(Bundle.load(str(tmp_path / "bundle"))))
    code = """
import signal, sys
from deepfake.model.openvino_graph import OpenVinoScorer

graph = open(sys.argv[1], "rb").read()
first, second = (OpenVinoScorer(graph, 224) for _ in range(2))
del first
del second
signal.signal(signal.SIGTERM, lambda *_: print("stopped"))
signal.raise_signal(signal.SIGTERM)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "graph")], capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


def test_a_format_whose_packages_are_absent_names_those_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    needs = replace(export.FORMATS["onnx"], modules=("numpy", "no_such_module", "nor_this"))
    monkeypatch.setattr(export, "FORMATS", {**export.FORMATS, "onnx": needs})
    with pytest.raises(
        UsageError, match=r"^--format onnx needs no_such_module, nor_this: pip install no_such"
    ):
        export.require_modules("onnx")
    export.require_modules("litert")
