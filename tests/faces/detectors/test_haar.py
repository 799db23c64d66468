"""What is the cascade's own: its keys, its scores, and that its quick look changes nothing but the time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from deepfake.config import DetectorConfig
from deepfake.faces.detectors.base import Detection
from deepfake.faces.detectors.haar import HaarDetector, load_cascade
from deepfake.faces.tracking import measure_overlap
from deepfake.pipelines.demo.people import ASTRONAUT, load_person
from deepfake.video.frame import Frame

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def portrait() -> Image:
    """480x360 RGB, one face of a quarter of its shorter side."""
    return load_person(ASTRONAUT).frames[0]


def detect(image: Image, **options: object) -> list[Detection]:
    return HaarDetector(DetectorConfig.model_validate({"name": "haar", **options})).detect(
        Frame(0, 0.0, image)
    )


def test_all_that_it_finds_the_cascade_passes_by_itself(portrait: Image) -> None:
    crowd = np.hstack([portrait, portrait[:, ::-1]])
    config = DetectorConfig(name="haar")
    side = round(config.min_face * min(crowd.shape[:2]))
    grey = Frame(0, 0.0, crowd).shrink_grey(config.rows)[0]
    plain = load_cascade().detectMultiScale(grey, 1.1, config.haar_neighbors, minSize=(side, side))
    scale = crowd.shape[0] / grey.shape[0]
    passed = [Detection(*(float(value) * scale for value in box), 1.0) for box in plain]
    found = detect(crowd, keep="all")
    assert len(found) == len(passed) == 2
    assert all(max(measure_overlap(one, other) for other in passed) > 0.8 for one in found)


def test_a_quick_look_finds_the_face_that_a_search_of_everything_finds(portrait: Image) -> None:
    [quick], [slow] = detect(portrait, keep="largest"), detect(portrait, keep="all")
    assert measure_overlap(quick, slow) > 0.7
    assert min(quick.score, slow.score) > 0


@pytest.mark.parametrize("keep", ["largest", "all"])
def test_faces_below_the_smallest_that_is_looked_for_are_none(portrait: Image, keep: str) -> None:
    assert len(detect(portrait, keep=keep, min_face=0.15)) == 1
    assert detect(portrait, keep=keep, min_face=0.5, min_face_pixels=10_000) == []


@pytest.mark.parametrize("keep", ["largest", "all"])
def test_a_face_needs_as_many_hits_as_are_asked_for(portrait: Image, keep: str) -> None:
    assert detect(portrait, keep=keep, haar_neighbors=1000) == []


def test_what_it_finds_at_fewer_rows_is_told_in_the_pixels_of_the_frame(portrait: Image) -> None:
    large = cv2.resize(portrait, None, fx=2.5, fy=2.5, interpolation=cv2.INTER_CUBIC)
    [found], [true] = detect(large), detect(portrait)
    assert measure_overlap(found.scale(0.4), true) > 0.7
