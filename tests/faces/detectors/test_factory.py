"""Which detector a configuration means."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake.config import DetectorConfig
from deepfake.errors import UsageError
from deepfake.faces.detectors.factory import carry_detector, make_detector, resolve_detector
from deepfake.faces.detectors.yunet import FILE_NAME
from deepfake.io.storage import Storage


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("DEEPFAKE_CACHE", str(folder))
    return folder


def test_without_a_model_auto_is_the_detector_that_needs_none_and_nothing_is_downloaded(cache: Path) -> None:
    found = resolve_detector(DetectorConfig(name="auto", min_face=0.1), Storage())
    assert (found.name, found.yunet_model, found.min_face) == ("haar", None, 0.1)
    assert list(cache.iterdir()) == []


@pytest.mark.data
def test_with_a_model_in_the_cache_auto_is_yunet_with_that_file(cache: Path, data: Path) -> None:
    model = cache / FILE_NAME
    model.write_bytes((data / "models" / FILE_NAME).read_bytes())
    found = resolve_detector(DetectorConfig(name="auto"), Storage())
    assert (found.name, found.yunet_model) == ("yunet", str(model))


@pytest.mark.parametrize("name", ["auto", "yunet"])
def test_another_file_in_the_place_of_the_model_is_refused_and_not_passed_over(
    name: str, cache: Path
) -> None:
    (cache / FILE_NAME).write_bytes(b"half a download")
    with pytest.raises(UsageError, match=rf"{FILE_NAME}: sha256 \w+\.\.\., expected 8f2383e4dd3c"):
        resolve_detector(DetectorConfig(name=name), Storage())


@pytest.mark.parametrize("name", ["auto", "yunet"])
def test_a_model_that_is_named_and_absent_is_refused(name: str, tmp_path: Path) -> None:
    config = DetectorConfig(name=name, yunet_model=str(tmp_path / "none.onnx"))
    with pytest.raises(UsageError, match=r"detector\.yunet_model: .*/none\.onnx: no such file"):
        resolve_detector(config, Storage())


def test_haar_asks_for_no_file_whatever_is_named() -> None:
    config = DetectorConfig(name="haar", yunet_model="/nowhere")
    assert carry_detector(resolve_detector(config, Storage()), Storage()) == config
    assert make_detector(config, Storage()).name == "haar"


def test_a_detector_is_made_of_a_choice_that_has_been_made() -> None:
    with pytest.raises(UsageError, match=r"detector\.name 'auto' was not resolved"):
        make_detector(DetectorConfig(name="auto"), Storage())
    with pytest.raises(UsageError, match=r"needs detector\.yunet_model"):
        make_detector(DetectorConfig(name="yunet"), Storage())
