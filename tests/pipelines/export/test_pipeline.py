"""A bundle's network in other formats gives the bundle's scores, and the page's examples run."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepfake.config import ExportJobConfig
from deepfake.errors import JobError, UsageError
from deepfake.io.storage import Storage
from deepfake.model import inference, keras_runtime
from deepfake.model.bundle import Bundle
from deepfake.model.network import INPUT_LAYER, INPUT_SIZE, POOL_LAYER, SCORE_LAYER
from deepfake.pipelines.export import pipeline
from tests.running import ROOT
from tests.small_bundle import save_bundle, save_untrained

HEADINGS = {"onnx": "ONNX", "openvino": "OpenVINO", "litert": "LiteRT", "saved_model": "SavedModel"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("bundle"))
    save_untrained(uri)
    return uri


def read_example(name: str) -> str:
    """The Python code of a format in docs/export.md."""
    page = (ROOT / "docs/export.md").read_text()
    found = re.search(rf"^## {HEADINGS[name]}\n.*?```python\n(.*?)```", page, re.M | re.S)
    assert found
    return found[1]


@pytest.mark.slow(40)
@pytest.mark.parametrize("name", HEADINGS)
def test_an_export_gives_the_bundles_scores_in_the_pages_example_too(
    name: str, bundle: str, small_crops: Path
) -> None:
    if name == "onnx":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("tf2onnx")
    config = ExportJobConfig.model_validate(
        {"bundle": bundle, "format": name, "input": str(small_crops), "crops": 5}
    )
    done = pipeline.run(config)
    facts = json.loads(Path(bundle, "export", name, "export.json").read_text())
    assert facts["bundle_sha256"] == Bundle.load(bundle).sha256
    assert facts["crops"] == 5
    assert facts["largest_difference"] == done.summary["largest_difference"] < 1e-4
    crop = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    folder = Path(bundle, "export")
    cv2.imwrite(str(folder / "face.png"), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    ran = subprocess.run(
        [sys.executable, "-c", read_example(name)], cwd=folder, capture_output=True, text=True, check=True
    )
    assert float(ran.stdout) == pytest.approx(Bundle.load(bundle).score(crop[None])[0], abs=1e-4)


@pytest.mark.parametrize("name", HEADINGS)
def test_constants_of_a_network_are_no_inputs_of_its_export(name: str, tmp_path: Path) -> None:
    """The default backbone begins with such a layer."""
    if name == "onnx":
        pytest.importorskip("onnxruntime")
    keras = keras_runtime.start_keras(seed=1)
    crop = keras.Input((INPUT_SIZE, INPUT_SIZE, 3), dtype="uint8", name=INPUT_LAYER)
    x = keras.layers.Normalization(mean=[120.0, 110.0, 100.0], variance=[60.0, 50.0, 70.0])(crop)
    x = keras.layers.GlobalAveragePooling2D(name=POOL_LAYER)(x)
    network = keras.Model(crop, keras.layers.Dense(1, activation="sigmoid", name=SCORE_LAYER)(x))
    save_bundle(str(tmp_path / "bundle"), Storage(), network, threshold=0.5)
    config = ExportJobConfig(bundle=str(tmp_path / "bundle"), format=name, output=str(tmp_path / "out"))
    assert pipeline.run(config).summary["largest_difference"] < 1e-4


def test_other_scores_than_the_bundles_leave_nothing(
    bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "TOLERANCE", -1.0)
    with pytest.raises(JobError, match=r"saved_model: scores differ from the bundle's by up to .*nothing"):
        pipeline.run(ExportJobConfig(bundle=bundle, format="saved_model", output=str(tmp_path / "out")))
    assert not list(tmp_path.rglob("*.pb"))


@pytest.mark.skipif(importlib.util.find_spec("onnxruntime") is not None, reason="ONNX Runtime is installed")
def test_a_format_whose_packages_are_absent_names_them(bundle: str) -> None:
    with pytest.raises(UsageError, match=r"--format onnx needs .*onnxruntime: pip install .*onnxruntime"):
        pipeline.run(ExportJobConfig(bundle=bundle, format="onnx", output="out"))


def test_a_split_without_labelled_crops_is_named(bundle: str, small_crops: Path, tmp_path: Path) -> None:
    config = ExportJobConfig(
        bundle=bundle, format="litert", output=str(tmp_path), input=str(small_crops), split="none"
    )
    with pytest.raises(UsageError, match="no labelled crops of split 'none'"):
        pipeline.choose_comparison_crops(config, Bundle.load(bundle, Storage()), Storage())
