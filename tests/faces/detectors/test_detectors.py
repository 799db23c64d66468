"""What every detector promises, seen on a real face: one set of tests for all of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deepfake.config import DetectorConfig
from deepfake.faces.detectors.base import Detection, Detector, choose_looks, detect_faces
from deepfake.faces.detectors.factory import carry_detector, make_detector, resolve_detector
from deepfake.faces.tracking import measure_overlap
from deepfake.io.storage import Storage
from deepfake.pipelines.demo.people import ASTRONAUT, FACE_SIDE, load_person
from deepfake.video.decoder import Frame

Image = NDArray[np.uint8]


@pytest.fixture(scope="module", params=["haar", pytest.param("yunet", marks=pytest.mark.data)])
def detector(request: pytest.FixtureRequest, data: Path) -> Detector:
    model = data / "models" / "face_detection_yunet_2023mar.onnx"
    return make_detector(DetectorConfig(name=request.param, yunet_model=str(model)), Storage())


@pytest.fixture(scope="module")
def face() -> Detection:
    """Where the portrait's one face is."""
    x, y, w, h = load_person(ASTRONAUT).boxes[0].tolist()
    assert w == pytest.approx(FACE_SIDE, rel=0.05)
    return Detection(x, y, w, h, 1.0)


@pytest.fixture(scope="module")
def portrait() -> Image:
    """480x360 RGB."""
    return load_person(ASTRONAUT).frames[0]


def test_a_face_is_found_where_it_is_in_the_pixels_of_the_frame(
    detector: Detector, portrait: Image, face: Detection
) -> None:
    for factor in (0.75, 1, 2.5):
        image = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        (found,) = detect_faces(Frame(0, 0.0, image), detector)
        assert measure_overlap(found.scale(1 / factor), face) > 0.5


@pytest.mark.parametrize("shape", [(720, 1280), (1280, 720)], ids=["landscape", "portrait"])
def test_the_smallest_face_is_the_same_however_the_picture_is_held(
    detector: Detector, portrait: Image, face: Detection, shape: tuple[int, int]
) -> None:
    factor = 0.2 * 720 / face.h
    image = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    canvas = np.full((*shape, 3), 128, np.uint8)
    canvas[100 : 100 + len(image), 50 : 50 + image.shape[1]] = image
    found = detect_faces(Frame(0, 0.0, canvas), detector)
    true = face.scale(factor).move(50, 100)
    assert any(measure_overlap(one, true) > 0.5 for one in found)


@pytest.mark.parametrize("shape", [(3024, 4032), (4032, 3024), (4320, 8192)], ids=str)
@pytest.mark.parametrize("keep", ["largest", "all"])
def test_a_face_of_300_pixels_is_found_in_a_large_photograph(
    detector: Detector, portrait: Image, face: Detection, shape: tuple[int, int], keep: str, data: Path
) -> None:
    model = str(data / "models" / "face_detection_yunet_2023mar.onnx")
    options = {"name": detector.name, "keep": keep, "yunet_model": model}
    finder = make_detector(DetectorConfig.model_validate(options), Storage())
    factor = 300 / face.h
    image = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    canvas = np.full((*shape, 3), 128, np.uint8)
    canvas[700 : 700 + len(image), 900 : 900 + image.shape[1]] = image
    true = face.scale(factor).move(900, 700)
    found = detect_faces(Frame(0, 0.0, canvas), finder)
    assert any(measure_overlap(one, true) > 0.5 for one in found)


def test_a_large_frame_keeps_its_smallest_face_and_others_are_as_before() -> None:
    config = DetectorConfig()
    for size in ((360, 640), (1080, 1920), (1792, 3000)):
        assert choose_looks(config, Frame(0, 0.0, np.zeros((*size, 3), np.uint8))) == (360, 0.125)
    rows, share = choose_looks(config, Frame(0, 0.0, np.zeros((4320, 8192, 3), np.uint8)))
    assert (rows, share * 4320) == (463, 224)


def test_what_is_found_does_not_depend_on_the_frames_before(detector: Detector, portrait: Image) -> None:
    first = detect_faces(Frame(0, 0.0, portrait), detector)
    detect_faces(Frame(1, 0.1, np.ascontiguousarray(portrait[::-1])), detector)
    detect_faces(Frame(2, 0.2, np.ascontiguousarray(portrait[:200, :300])), detector)
    assert detect_faces(Frame(3, 0.3, portrait), detector) == first


def test_a_sure_face_scores_above_a_blurred_one_and_no_score_is_negative(
    detector: Detector, portrait: Image
) -> None:
    (sure,) = detect_faces(Frame(0, 0.0, portrait), detector)
    blurred = detect_faces(Frame(0, 0.0, cv2.GaussianBlur(portrait, (0, 0), 9)), detector)
    assert all(0 <= other.score < sure.score for other in blurred)


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_an_empty_picture_holds_no_face(detector: Detector, shade: int) -> None:
    assert detect_faces(Frame(0, 0.0, np.full((360, 480, 3), shade, np.uint8)), detector) == []


def test_landmarks_lie_in_the_box_with_the_eyes_above_the_mouth(detector: Detector, portrait: Image) -> None:
    (found,) = detect_faces(Frame(0, 0.0, portrait), detector)
    if found.landmarks is None:
        assert detector.name == "haar"
        return
    x, y = np.reshape(found.landmarks, (5, 2)).T
    assert ((x > found.x) & (x < found.x + found.w) & (y > found.y) & (y < found.y + found.h)).all()
    assert max(y[:2]) < y[2] < min(y[3:])
    assert x[0] < x[1] and x[3] < x[4]


@pytest.mark.data
@pytest.mark.parametrize("share", [0.15, 0.19, 0.24, 0.3, 0.6])
def test_yunet_places_a_face_of_any_size_as_well_as_by_looking_at_all_rows(
    portrait: Image, face: Detection, data: Path, share: float
) -> None:
    model = str(data / "models" / "face_detection_yunet_2023mar.onnx")
    quick = make_detector(DetectorConfig(name="yunet", yunet_model=model), Storage())
    every = make_detector(DetectorConfig(name="yunet", yunet_model=model, keep="all"), Storage())
    factor = share * 720 / face.h
    image = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    canvas = np.full((720, 1280, 3), 128, np.uint8)
    image = image[:720, :1280]
    canvas[: len(image), : image.shape[1]] = image
    frame = Frame(0, 0.0, canvas)
    (found,), (slowly,) = detect_faces(frame, quick)[:1], detect_faces(frame, every)[:1]
    true = face.scale(factor)
    assert measure_overlap(found, slowly) > 0.7
    assert measure_overlap(found, true) > 0.9 * measure_overlap(slowly, true)


@pytest.mark.data
def test_what_other_machines_are_given_needs_no_file_of_this_one(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes((data / "models/face_detection_yunet_2023mar.onnx").read_bytes())
    named = resolve_detector(DetectorConfig(name="yunet", yunet_model=str(file)), Storage())
    given = carry_detector(named, Storage())
    file.unlink()
    received = DetectorConfig.model_validate_json(given.model_dump_json())  # as a child process is told it
    assert make_detector(received, Storage()).name == "yunet"
