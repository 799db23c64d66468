"""The model bundle: opens anywhere, and is not believed unverified."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from deepfake.config import ROWS_VERSION, CropConfig, DetectorConfig
from deepfake.errors import JobError, UsageError
from deepfake.io.storage import Storage
from deepfake.model import bundle, keras_runtime, thresholds
from deepfake.model.bundle import Bundle
from deepfake.model.network import build_network
from tests import running
from tests.disks import mount_disk
from tests.small_bundle import save_bundle
from tests.small_network import make_small_model

OPEN_WITH_KERAS_ALONE = """
import sys
import keras, numpy as np
network = keras.models.load_model(sys.argv[1])
np.save(sys.argv[3], network.predict(np.load(sys.argv[2]), verbose=0)[:, 0])
assert not [name for name in sys.modules if name.startswith("deepfake")]
"""


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    random = np.random.default_rng(1)
    blocks = random.integers(0, 256, (9, 7, 7, 3), np.uint8)
    return np.ascontiguousarray(blocks.repeat(32, 1).repeat(32, 2))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, crops: np.ndarray) -> Path:
    keras = keras_runtime.start_keras(threads=2, seed=3)
    network = build_network(make_small_model())
    # the scores of random weights lie within 1e-5 of each other: spread them over (0, 1)
    last = network.get_layer("head_score")
    features = np.asarray(keras.Model(network.input, last.input)(crops, training=False))
    logits = features @ last.get_weights()[0]
    gain = 1 / logits.std()
    last.set_weights([last.get_weights()[0] * gain, -logits.mean(0) * gain])
    folder = tmp_path_factory.mktemp("bundle") / "model"
    save_bundle(
        str(folder),
        Storage(),
        network,
        threshold=0.4,
        crop=CropConfig(margin=0.2),
        detector=DetectorConfig(name="haar"),
        versions=keras_runtime.list_versions(),
    )
    return folder


@pytest.fixture(scope="module")
def loaded(written: Path) -> Bundle:
    return Bundle.load(str(written), Storage(), batch_size=4)


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "model"))


def test_plain_keras_opens_it_and_gives_the_same_scores(
    written: Path, loaded: Bundle, crops: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "crops.npy", crops)
    subprocess.run(
        [sys.executable, "-c", OPEN_WITH_KERAS_ALONE, written / bundle.MODEL_FILE,
         tmp_path / "crops.npy", tmp_path / "scores.npy"],
        check=True, cwd=tmp_path, timeout=running.HANGS_SECONDS,
    )  # fmt: skip
    ours = loaded.score(crops)
    assert ours.dtype == np.float64 and ours.std() > 0.1
    np.testing.assert_allclose(ours, np.load(tmp_path / "scores.npy"), atol=1e-5)


def test_a_score_does_not_depend_on_what_is_scored_with_it(loaded: Bundle, crops: np.ndarray) -> None:
    together = loaded.score(crops)
    alone = np.concatenate([loaded.score(crop[None]) for crop in crops])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    np.testing.assert_allclose(loaded.score(crops[::-1].copy())[::-1], together, atol=1e-5)
    assert loaded.score(crops[:0]).shape == (0,)


def test_a_gpu_would_not_round_what_it_multiplies(loaded: Bundle) -> None:
    import tensorflow as tf

    assert loaded.network is not None
    assert not tf.config.experimental.tensor_float_32_execution_enabled()


def test_only_uint8_crops_are_scored(loaded: Bundle, crops: np.ndarray) -> None:
    with pytest.raises(UsageError, match="do not divide by 255"):
        loaded.score(crops / 255.0)
    with pytest.raises(UsageError, match="must be uint8"):
        loaded.score(crops.astype(np.float32))


def test_it_knows_how_its_crops_were_made(loaded: Bundle) -> None:
    assert loaded.info.threshold == 0.4
    assert loaded.info.crop == CropConfig(margin=0.2)
    assert loaded.info.detector == DetectorConfig(name="haar")
    assert loaded.info.versions["keras"]
    assert len(loaded.sha256) == 64


def test_the_contract_is_written_out(written: Path) -> None:
    found = json.loads((written / "bundle.json").read_text())["input"]
    assert found == {
        "colour": "RGB", "dtype": "uint8", "minimum": 0, "maximum": 255, "size": 224,
        "normalised": "inside the network",
    }  # fmt: skip


def test_a_changed_network_is_refused(copied: Path) -> None:
    path = copied / bundle.MODEL_FILE
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"improved_deepfake_model\.keras: sha256 is .* changed or damaged"):
        Bundle.load(str(copied), Storage())


@pytest.mark.parametrize(
    "key",
    [
        "threshold",
        "crop",
        "calibration",
        "uncertain",
        "training",
        "metrics",
        "runtimes",
        "threshold_rule",
        "input",
    ],
)
def test_what_decides_a_score_cannot_be_edited(copied: Path, key: str) -> None:
    path = copied / "bundle.json"
    content = json.loads(path.read_text())
    curve = {"method": "platt", "slope": 2, "offset": 1, "share_of_fakes": 0.5, "log_loss": {}}
    band = {"low": 0.1, "high": 0.9, "error": 0.05}
    changed = {
        "threshold": 0.9, "crop": None, "calibration": {"mean": curve}, "uncertain": {"mean": band},
        "training": {"identities": {"train": []}}, "metrics": {"val": {"auc": 1.0}},
        "runtimes": {"openvino": "0" * 64}, "threshold_rule": "none at all",
        "input": {**content["input"], "size": 380},
    }  # fmt: skip
    content[key] = changed[key]
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="changed by hand"):
        Bundle.load(str(copied), Storage())


@pytest.mark.parametrize(
    ("key", "value"), [("colour", "BGR"), ("maximum", 1), ("size", 16), ("dtype", "float32")]
)
def test_another_input_contract_is_refused(copied: Path, key: str, value: object) -> None:
    path = copied / "bundle.json"
    content = json.loads(path.read_text())
    content["input"][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=rf"bundle\.json: input\.{key} is {value!r}"):
        Bundle.load(str(copied), Storage())


def test_a_network_that_carries_code_of_its_own_is_refused_and_the_code_does_not_run(tmp_path: Path) -> None:
    """Hashes prove nothing here: whoever made the bundle made them too."""
    keras = keras_runtime.start_keras()
    mark = str(tmp_path / "ran")
    crops = keras.Input((224, 224, 3), dtype="uint8")
    evil = keras.layers.Lambda(lambda x: (open(mark, "w").close(), x[:, 0, 0, :1])[1])
    network = keras.Model(crops, evil(crops))
    Path(mark).unlink()  # it ran while it was made
    save_bundle(str(tmp_path / "model"), Storage(), network, threshold=0.5)
    Path(mark).unlink(missing_ok=True)
    with pytest.raises(UsageError, match="not a network that loads in safe mode"):
        Bundle.load(str(tmp_path / "model"), Storage()).score(np.zeros((1, 224, 224, 3), np.uint8))
    assert not Path(mark).exists()


@pytest.mark.parametrize("version", [None, ROWS_VERSION + 1])
def test_a_bundle_of_crops_of_another_version_is_refused_with_both_numbers(
    copied: Path, version: int | None
) -> None:
    path = copied / "bundle.json"
    content = json.loads(path.read_text())
    assert content.pop("rows_version") == ROWS_VERSION
    path.write_text(json.dumps(content if version is None else {**content, "rows_version": version}))
    with pytest.raises(UsageError, match=f"rows of version {version or 1}, .* of version {ROWS_VERSION}"):
        Bundle.load(str(copied), Storage())


@pytest.mark.parametrize("what", ["absent", "empty", "format", "not JSON", "no network"])
def test_what_is_no_bundle_is_an_error_that_names_it(copied: Path, what: str) -> None:
    path = copied / "bundle.json"
    if what == "absent":
        shutil.rmtree(copied)
    elif what == "empty":
        path.unlink()
    elif what == "format":
        path.write_text('{"format": 2}')
    elif what == "not JSON":
        path.write_text("{")
    else:
        (copied / bundle.MODEL_FILE).unlink()
    with pytest.raises(UsageError, match=str(copied)):
        Bundle.load(str(copied), Storage())


def test_what_validation_decided_comes_back_from_the_file(written: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    faces = pa.table(
        {
            "video_id": [f"{i}.mp4" for i in range(80)],
            "frame_index": [0] * 80,
            "label": labels,
            "score": np.clip(random.normal(0.4 + 0.2 * labels, 0.1), 0, 1),
        }
    )
    chosen = thresholds.choose_decisions(faces)
    info = bundle.read_bundle_info(str(written), Storage()).model_copy(
        update={
            "operating_points": {name: found.operating_points for name, found in chosen.items()},
            "uncertain": {name: found.uncertain for name, found in chosen.items()},
            "calibration": {name: found.calibration for name, found in chosen.items()},
        }
    )
    bundle.write_bundle(str(tmp_path), Storage(), info)
    shutil.copy(written / bundle.MODEL_FILE, tmp_path)
    found = Bundle.load(str(tmp_path), Storage())
    assert found.sha256 != Bundle.load(str(written), Storage()).sha256
    assert found.info.look_up_decisions("max").operating_points == chosen["max"].operating_points
    assert found.find_operating_point("fpr_0.01") == chosen["mean"].operating_points[1]
    assert found.info.look_up_decisions("mean").uncertain == chosen["mean"].uncertain
    scores = np.array([0.3, 0.5, 0.7])
    calibration = found.info.calibration["mean"]
    assert calibration(scores) == pytest.approx(chosen["mean"].calibration(scores))
    assert (calibration(scores, prevalence=0.01) < calibration(scores)).all()
    with pytest.raises(UsageError, match=r"no operating point 'fpr_1'.*balanced, fpr_0\.01, fpr_0\.001"):
        found.find_operating_point("fpr_1")


def test_a_bundle_without_decisions_is_uncalibrated(loaded: Bundle) -> None:
    assert loaded.info.look_up_decisions("mean").operating_points == ()
    assert loaded.info.look_up_decisions("mean").uncertain is None
    assert loaded.info.calibration is None


def test_a_good_bundle_is_not_called_bad_where_the_disk_for_temporary_files_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_bundle(str(tmp_path / "model"), Storage(), build_network(make_small_model()), threshold=0.5)
    with mount_disk(tmp_path / "small", 1) as disk:
        (disk / "filled").write_bytes(bytes(2**20 - 2**15))
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        with pytest.raises(JobError, match="small: no space is left there for temporary files"):
            Bundle.load(str(tmp_path / "model")).score(np.zeros((1, 224, 224, 3), np.uint8))
