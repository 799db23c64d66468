"""The one crop function: colours, geometry, borders; and that storing loses nothing it should not."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepfake.config import CropConfig
from deepfake.faces import cropping
from deepfake.faces.detectors.base import Detection
from deepfake.video.frame import Frame

Image = NDArray[np.uint8]


def noise(height: int = 360, width: int = 640, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def cut(image: Image, x: float, y: float, w: float, h: float, **options: Any) -> Image:
    return cropping.cut_face(Frame(0, 0.0, image), Detection(x, y, w, h, 1.0), CropConfig(**options)).crop


def dotted_face(degrees: float) -> tuple[Image, Detection]:
    """A grey picture with a red dot where each eye is, and the face whose eyes lie that far from level."""
    image = np.full((600, 800, 3), 90, np.uint8)
    turn = np.radians(degrees)
    reach = 60.0 * np.array([np.cos(turn), np.sin(turn)])
    eyes = [np.array([400.0, 280.0]) - reach, np.array([400.0, 280.0]) + reach]
    for x, y in eyes:
        cv2.circle(image, (round(x * 16), round(y * 16)), 6 * 16, (255, 0, 0), -1, cv2.LINE_AA, 4)
    points = (*eyes[0], *eyes[1], 400.0, 320.0, 370.0, 350.0, 430.0, 350.0)
    return image, Detection(300.0, 200.0, 200.0, 220.0, 1.0, points)


def dots(crop: Image) -> list[tuple[float, float]]:
    """Centres of the red dots, from left to right."""
    red = (crop[:, :, 0].astype(int) - crop[:, :, 1] > 80).astype(np.uint8)
    _, _, _, centres = cv2.connectedComponentsWithStats(red)
    return sorted((float(x), float(y)) for x, y in centres[1:])


# Geometry.


@pytest.mark.parametrize("degrees", [-40, -7, 0, 12, 75])
@pytest.mark.parametrize("size", [224, 400])
def test_aligned_faces_have_level_eyes_where_the_landmarks_are_said_to_lie(degrees: float, size: int) -> None:
    image, face = dotted_face(degrees)
    config = CropConfig(align="eyes", size=size)
    found = dots(cropping.cut_face(Frame(0, 0.0, image), face, config).crop)
    assert len(found) == 2
    assert abs(found[0][1] - found[1][1]) < 1.0
    assert face.landmarks is not None
    points = np.reshape(face.landmarks, (5, 2))
    square = cropping.place_square((face.x, face.y, face.w, face.h), (600, 800), config, face.landmarks)
    told = cropping.map_into_wide(points, square, config) - config.surround
    np.testing.assert_allclose(found, told[:2], atol=1.0)


def test_alignment_leaves_level_faces_and_faces_without_landmarks_as_they_are() -> None:
    image, level = dotted_face(0.0)
    frame = Frame(0, 0.0, image)
    plain = cropping.cut_face(frame, level, CropConfig()).crop
    assert np.array_equal(cropping.cut_face(frame, level, CropConfig(align="eyes")).crop, plain)
    without = Detection(level.x, level.y, level.w, level.h, 1.0)
    assert np.array_equal(cropping.cut_face(frame, without, CropConfig(align="eyes")).crop, plain)


def test_a_turned_face_at_the_edge_of_the_frame_has_no_constant_border() -> None:
    landmarks = (20.0, 30.0, 90.0, 60.0, 50.0, 60.0, 40.0, 90.0, 80.0, 100.0)
    face = Detection(0.0, 0.0, 110.0, 110.0, 1.0, landmarks)
    found = cropping.cut_face(Frame(0, 0.0, noise()), face, CropConfig(align="eyes")).crop
    for border in (found[0], found[-1], found[:, 0], found[:, -1]):
        assert border.std() > 10


@given(
    st.floats(-100, 639), st.floats(-100, 359), st.floats(8, 400), st.floats(8, 400),
    st.sampled_from([32, 224, 300]), st.floats(0, 1),
)  # fmt: skip
def test_every_face_that_touches_the_frame_gives_a_square_of_the_size_asked_for(
    x, y, w, h, size, margin
) -> None:
    if x + w < 1 or y + h < 1:
        x, y = max(x, 1 - w), max(y, 1 - h)
    found = cut(noise(), x, y, w, h, size=size, margin=margin)
    assert found.shape == (size, size, 3)
    assert found.dtype == np.uint8


def test_without_resizing_a_crop_is_the_pixels_of_the_frame() -> None:
    image = noise()
    assert np.array_equal(cut(image, 200, 100, 64, 64, size=64, margin=0), image[100:164, 200:264])


def test_the_margin_is_a_share_of_the_longer_side_on_each_side() -> None:
    image = noise()
    found = cut(image, 200, 120, 40, 80, size=160, margin=0.5)  # 80 high: 40 more on each side
    assert np.array_equal(found, image[80:240, 140:300])


def moved(dx: int, dy: int, side: int) -> tuple[Image, Image]:
    """The crops of a face, and of the same face ``(dx, dy)`` pixels further on."""
    scene = noise(200, 200)
    found = []
    for left, top in ((0, 0), (dx, dy)):
        image = np.zeros((260, 260, 3), np.uint8)
        image[top : top + 200, left : left + 200] = scene
        found.append(cut(image, 80 + left, 80 + top, side, side, margin=0.25))
    return found[0], found[1]


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from(range(20, 64, 4)))
def test_the_same_face_elsewhere_in_a_frame_gives_the_same_crop(dx: int, dy: int, side: int) -> None:
    assert np.array_equal(*moved(dx, dy, side))


def test_the_same_holds_where_the_square_begins_on_half_a_pixel() -> None:
    assert np.array_equal(*moved(1, 0, 22))


# Borders.


@given(
    st.floats(-60, 620), st.floats(-60, 340), st.floats(20, 300), st.floats(20, 300), st.floats(0, 0.5),
    st.sampled_from([0.0, -20.0, 33.0]),
)  # fmt: skip
def test_a_square_lies_in_its_frame_and_shows_what_the_frame_has_of_the_face(
    x: float, y: float, w: float, h: float, margin: float, degrees: float
) -> None:
    turn = np.radians(degrees)
    eyes = (x, y, x + 50 * np.cos(turn), y + 50 * np.sin(turn), 0, 0, 0, 0, 0, 0)
    square = cropping.place_square((x, y, w, h), (360, 640), CropConfig(margin=margin, align="eyes"), eyes)
    assert square.degrees == pytest.approx(degrees)
    wanted = round(max(w, h) * (1 + 2 * margin))
    assert square.shrink == pytest.approx(square.side / wanted)
    if not degrees:
        across = (max(x, 0.0), min(x + w, 640.0), square.left, 640 - square.side)
        down = (max(y, 0.0), min(y + h, 360.0), square.top, 360 - square.side)
        for low, high, start, room in (across, down):
            assert start <= low + 1.0 and high - 1.0 <= start + square.side  # whole pixels
            assert square.padded > 0 or 0 <= start <= room
    if max(w, h) * (1 + 2 * margin) * 1.5 < 360:  # there is room for it
        assert (square.padded, square.shrink) == (0.0, 1.0)


def test_how_a_face_at_the_edge_is_shown_is_told_in_three_numbers() -> None:
    def place(*box: float) -> cropping.Square:
        return cropping.place_square(box, (360, 640), CropConfig(margin=0.25))  # type: ignore[arg-type]

    inside, beside, tall, wide = (
        place(200, 100, 80, 80),
        place(0, 100, 80, 80),
        place(9, 0, 100, 360),
        place(9, 0, 600, 50),
    )
    assert (inside.left, inside.top, inside.side) == (180, 80, 120)
    assert (inside.padded, inside.shift, inside.shrink) == (0, 0, 1)
    assert (beside.left, beside.padded, beside.shift, beside.shrink) == (0, 0, 20 / 80, 1)
    assert (tall.top, tall.side, tall.padded, tall.shrink) == (0, 360, 0, 360 / 540)
    assert (wide.side, wide.shrink) == (600, 600 / 900)
    assert wide.padded == pytest.approx(1 - 360 / 600)


def test_what_lies_outside_the_frame_mirrors_what_lies_inside() -> None:
    image = noise()
    whole = cv2.copyMakeBorder(image, 300, 300, 0, 0, cv2.BORDER_REFLECT)
    found = cut(image, 20, 0, 600, 50, size=600, margin=0)
    assert np.array_equal(found, whole[180:780, 20:620])


def test_the_surroundings_are_what_the_frame_shows_around_the_crop() -> None:
    image, config = noise(), CropConfig(size=130, margin=0.15, reach=0.35)
    found = cropping.cut_face(Frame(0, 0.0, image), Detection(200, 150, 100, 90, 1.0), config)
    assert config.surround == 20
    assert np.array_equal(found.wide, image[110:280, 165:335])
    assert np.array_equal(found.crop, image[130:260, 185:315])
    whole = CropConfig(size=130, margin=0.15, reach=0.15)
    assert np.array_equal(
        cropping.cut_face(Frame(0, 0.0, image), Detection(200, 150, 100, 90, 1.0), whole).wide, found.crop
    )


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_what_is_room_in_a_picture_is_of_the_frame(degrees: float) -> None:
    turn = np.radians(degrees)
    eyes = (40.0, 90.0, 40 + 40 * np.cos(turn), 90 + 40 * np.sin(turn), 60, 100, 50, 120, 70, 120)
    config = CropConfig(align="eyes")
    square = cropping.place_square((20.0, 60.0, 80.0, 90.0), (360, 640), config, eyes)
    left, top, right, bottom = cropping.measure_room(square, (360, 640), config)
    frame = np.array([[0, 0], [640, 0], [640, 360], [0, 360]], np.float64) - 0.5
    edges = (cropping.map_into_wide(frame, square, config) + 0.5).astype(np.float32)
    for corner in ((left, top), (right, top), (right, bottom), (left, bottom)):
        assert cv2.pointPolygonTest(edges, corner, True) > -0.5
    if not degrees:  # the frame ends there on the left, and nowhere else
        whole = config.size + 2 * config.surround
        assert left == pytest.approx(edges[0, 0], abs=0.01) and left > 0
        assert (top, right, bottom) == (0, whole, whole)


@given(st.floats(-60, 660), st.floats(-60, 380), st.floats(70, 300))
def test_no_border_of_a_crop_is_constant_wherever_the_face_stands(x: float, y: float, side: float) -> None:
    found = cut(noise(), min(x, 639.0), min(y, 359.0), side, side, size=128).astype(int)
    for edge in (found[0], found[-1], found[:, 0], found[:, -1]):
        assert edge.std(axis=0).min() > 5


# Colours.


def test_sharpness_falls_with_blur() -> None:
    image = noise(224, 224)
    blurred = [cropping.measure_sharpness(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (1, 2, 4)]
    assert cropping.measure_sharpness(image) > blurred[0] > blurred[1] > blurred[2]
    assert cropping.measure_sharpness(np.full((224, 224, 3), 77, np.uint8)) == 0
