"""Heat maps in a process of Ray's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake.execution import session
from deepfake.io.storage import Storage
from deepfake.model import grad_cam
from deepfake.model.bundle import Bundle
from deepfake.model.heat import overlay_heat
from deepfake.model.inference import prepare_network
from deepfake.model.network import INPUT_SIZE
from deepfake.pipelines.score import evidence
from deepfake.pipelines.score.heat_maps import HeatPictures
from deepfake.report import images
from tests.small_bundle import save_untrained

CROPS = np.random.default_rng(3).integers(0, 256, (5, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    uri = str(tmp_path_factory.mktemp("bundle"))
    save_untrained(uri)
    return Bundle.load(uri, Storage())


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> list[bytes]:
    heats = grad_cam.HeatMaps(bundle)(CROPS)
    return [
        images.encode_jpeg(overlay_heat(crop, heat), evidence.JPEG_QUALITY)
        for crop, heat in zip(CROPS, heats, strict=True)
    ]


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("runtime", ["openvino", "tensorflow"])
@pytest.mark.parametrize("workers", [True, False])
def test_pictures_are_those_of_the_bundles_heat_maps_however_many_at_once(
    bundle: Bundle, expected: list[bytes], monkeypatch: pytest.MonkeyPatch, runtime: str, workers: bool
) -> None:
    monkeypatch.setattr(session, "workers_exist", lambda: workers)
    pictures = HeatPictures(prepare_network(bundle, Storage(), runtime))
    first, none, rest = pictures.begin(CROPS[:2]), pictures.begin([]), pictures.begin(CROPS[2:])

    assert none() == []
    found = first() + rest()
    assert len(found) == len(expected) == 5
    assert all(picture is not None and picture.startswith(b"\xff\xd8") for picture in found)
    for picture, wanted in zip(found, expected, strict=True):
        assert _close(picture, wanted)


def _close(one: bytes | None, other: bytes) -> bool:
    """The same but for the rounding of another number of threads."""
    assert one is not None
    pixels = [
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int) for data in (one, other)
    ]
    return bool(np.abs(pixels[0] - pixels[1]).mean() < 1.0)


def test_where_heat_maps_are_off_every_picture_has_none() -> None:
    crops = np.zeros((2, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
    assert HeatPictures(None).begin(crops)() == [None, None]
