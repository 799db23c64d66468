"""Which detector a configuration means."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deepfake.config import ROWS_VERSION, DetectorConfig
from deepfake.errors import UsageError
from deepfake.faces.detectors.factory import (
    carry_detector,
    forget_absent_model,
    make_detector,
    read_earlier_detector,
    resolve_detector,
)
from deepfake.faces.detectors.yunet import FILE_NAME
from deepfake.io.storage import Storage


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("DEEPFAKE_CACHE", str(folder))
    return folder


@pytest.fixture
def host(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a server on this machine that has the model."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(data / "models"))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/{FILE_NAME}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.data
def test_auto_is_yunet_whose_file_is_fetched_once(
    cache: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFAKE_YUNET_URLS", f"http://127.0.0.1:9/gone {host}")
    found = resolve_detector(DetectorConfig(name="auto"), Storage())
    assert (found.name, found.yunet_model) == ("yunet", str(cache / FILE_NAME))
    assert make_detector(found, Storage()).name == "yunet"
    monkeypatch.setenv("DEEPFAKE_YUNET_URLS", "")
    assert resolve_detector(DetectorConfig(name="auto"), Storage()) == found


def test_where_the_file_cannot_be_had_auto_is_haar_and_says_what_that_costs(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = resolve_detector(DetectorConfig(name="auto", min_face=0.1), Storage())
    assert (found.name, found.yunet_model, found.min_face) == ("haar", None, 0.1)
    (line,) = caplog.messages
    assert "224 of 296 frames of fakes" in line
    assert str(cache) in line
    assert list(cache.iterdir()) == []


def test_yunet_by_name_is_refused_where_the_file_cannot_be_had() -> None:
    with pytest.raises(UsageError, match=rf"{FILE_NAME} could not be fetched .*--detector\.yunet_model"):
        resolve_detector(DetectorConfig(name="yunet"), Storage())


@pytest.mark.data
def test_a_begun_output_goes_on_with_the_detector_that_it_began_with(
    cache: Path, data: Path, tmp_path: Path
) -> None:
    def begin(detector: DetectorConfig) -> DetectorConfig | None:
        section = detector.model_dump(mode="json")
        (tmp_path / "_config.json").write_text(
            json.dumps({"rows_version": ROWS_VERSION, "detector": section})
        )
        return read_earlier_detector(str(tmp_path), Storage())

    assert read_earlier_detector(str(tmp_path), Storage()) is None
    with_yunet = begin(DetectorConfig(name="yunet", yunet_model="/another/machine.onnx"))
    with pytest.raises(UsageError, match=r"detector yunet: .*could not be fetched"):
        resolve_detector(DetectorConfig(), Storage(), with_yunet)
    (cache / FILE_NAME).write_bytes((data / "models" / FILE_NAME).read_bytes())
    found = resolve_detector(DetectorConfig(), Storage(), with_yunet)
    assert (found.name, found.yunet_model) == ("yunet", str(cache / FILE_NAME))
    with_haar = begin(DetectorConfig(name="haar"))
    assert resolve_detector(DetectorConfig(), Storage(), with_haar).name == "haar"
    assert resolve_detector(DetectorConfig(name="yunet"), Storage(), with_haar).name == "yunet"


@pytest.mark.data
def test_a_recorded_file_counts_where_it_is_there(data: Path) -> None:
    here = DetectorConfig(name="yunet", yunet_model=str(data / "models" / FILE_NAME))
    assert forget_absent_model(here, Storage()) == here
    gone = here.model_copy(update={"yunet_model": "/another/machine.onnx"})
    assert forget_absent_model(gone, Storage()).yunet_model is None


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
