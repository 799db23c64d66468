"""The one crop function: colours, geometry, borders; and that storing loses nothing it should not."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from deepfake.config import CropConfig
from deepfake.faces import cropping, png
from deepfake.faces.detectors.base import Detection
from deepfake.video.frame import Frame

Image = NDArray[np.uint8]


def noise(height: int = 360, width: int = 640, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def cut(image: Image, x: float, y: float, w: float, h: float, **options: Any) -> Image:
    return cropping.cut(Frame(0, 0.0, image), Detection(x, y, w, h, 1.0), CropConfig(**options))


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
    found = dots(cropping.cut(Frame(0, 0.0, image), face, config))
    assert len(found) == 2
    assert abs(found[0][1] - found[1][1]) < 1.0
    assert face.landmarks is not None
    points = np.reshape(face.landmarks, (5, 2))
    told = cropping.into_crop(points, (face.x, face.y, face.w, face.h), config, face.landmarks)
    np.testing.assert_allclose(found, told[:2], atol=1.0)


def test_alignment_leaves_level_faces_and_faces_without_landmarks_as_they_are() -> None:
    image, level = dotted_face(0.0)
    frame = Frame(0, 0.0, image)
    plain = cropping.cut(frame, level, CropConfig())
    assert np.array_equal(cropping.cut(frame, level, CropConfig(align="eyes")), plain)
    without = Detection(level.x, level.y, level.w, level.h, 1.0)
    assert np.array_equal(cropping.cut(frame, without, CropConfig(align="eyes")), plain)


def test_a_turned_face_at_the_edge_of_the_frame_has_no_constant_border() -> None:
    landmarks = (20.0, 30.0, 90.0, 60.0, 50.0, 60.0, 40.0, 90.0, 80.0, 100.0)
    face = Detection(0.0, 0.0, 110.0, 110.0, 1.0, landmarks)
    found = cropping.cut(Frame(0, 0.0, noise()), face, CropConfig(align="eyes"))
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


@pytest.mark.parametrize(("x", "y"), [(-30, 150), (590, 150), (300, -30), (300, 310), (-30, -30), (590, 310)])
def test_what_lies_outside_the_frame_mirrors_what_lies_inside(x: int, y: int) -> None:
    image = noise()
    whole = cv2.copyMakeBorder(image, 200, 200, 200, 200, cv2.BORDER_REFLECT)
    found = cut(image, x, y, 80, 80, size=80, margin=0)
    assert np.array_equal(found, whole[y + 200 : y + 280, x + 200 : x + 280])


@given(st.floats(-60, 660), st.floats(-60, 380), st.floats(70, 300))
def test_no_border_of_a_crop_is_constant_wherever_the_face_stands(x: float, y: float, side: float) -> None:
    found = cut(noise(), min(x, 639.0), min(y, 359.0), side, side, size=128).astype(int)
    for edge in (found[0], found[-1], found[:, 0], found[:, -1]):
        assert edge.std(axis=0).min() > 5


# Colours.


def golden() -> Image:
    """Red, green, blue and orange quarters."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[:50, :50], image[:50, 50:], image[50:, :50] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    image[50:, 50:] = (255, 128, 0)
    return image


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_red_stays_red_from_frame_to_stored_crop_and_back(suffix: str) -> None:
    config = CropConfig(size=100, margin=0, format=suffix)  # type: ignore[arg-type]
    found = cropping.decode(cropping.encode(cut(golden(), 0, 0, 100, 100, size=100, margin=0), config))
    corners = [found[10, 10], found[10, 90], found[90, 10], found[90, 90]]
    assert [tuple(corner.tolist()) for corner in corners] == [
        (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 128, 0)
    ]  # fmt: skip


def test_a_stored_crop_has_true_colours_for_other_software_too() -> None:
    from io import BytesIO

    from PIL import Image as Pillow

    data = cropping.encode(golden(), CropConfig())
    assert np.array_equal(np.asarray(Pillow.open(BytesIO(data)).convert("RGB")), golden())


# Storing.


@given(st.integers(0, 2**32 - 1), st.sampled_from(["png", "webp"]), st.sampled_from([32, 57, 224]))
def test_png_and_webp_lose_nothing(seed: int, suffix: Any, size: int) -> None:
    image = noise(size, size, seed)
    assert np.array_equal(cropping.decode(cropping.encode(image, CropConfig(format=suffix))), image)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_png_of_any_shape_is_read_alike_by_other_software(height: int, width: int, seed: int) -> None:
    from io import BytesIO

    from PIL import Image as Pillow

    image = noise(height, width, seed)
    for kept in (image, np.full_like(image, seed % 256), image[:, ::-1]):  # the last is not contiguous
        with Pillow.open(BytesIO(png.encode(kept))) as opened:
            opened.verify()  # the checksums
        with Pillow.open(BytesIO(png.encode(kept))) as opened:
            assert opened.mode == "RGB" and np.array_equal(np.asarray(opened), kept)
        assert np.array_equal(png.decode(png.encode(kept)), kept)


def written_by_others(image: Image) -> list[bytes]:
    """PNG files of a picture that ``png`` did not write."""
    from io import BytesIO

    from PIL import Image as Pillow

    files = [cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()]
    for mode in ("RGB", "L", "P", "RGBA"):
        target = BytesIO()
        Pillow.fromarray(image).convert(mode).save(target, "png")
        files.append(target.getvalue())
    return files


def test_png_leaves_what_others_wrote_to_others() -> None:
    image = cv2.GaussianBlur(noise(64, 48), (0, 0), 3)
    for data in written_by_others(image):
        assert png.decode(data) is None
        assert cropping.decode(data).shape == image.shape
    assert np.array_equal(cropping.decode(written_by_others(image)[0]), image)


@given(st.integers(0, 10**6), st.integers(1, 255), st.integers(0, 10**6))
def test_png_reads_nothing_from_damaged_files(place: int, change: int, length: int) -> None:
    image = noise(24, 17)
    data = bytearray(png.encode(image))
    data[place % len(data)] ^= change
    assert png.decode(bytes(data)) is None  # every byte is under a checksum or known
    assert png.decode(bytes(data)[: length % len(data)]) is None
    assert png.decode(png.encode(image) + b"more") is None


def test_png_unpacks_no_more_than_the_header_promises() -> None:
    """A file of a few kB whose pixels would fill the memory, and one whose header says so."""
    bomb = rechecked(png.encode(np.zeros((4000, 4000, 3), np.uint8)), width=2, height=2)
    assert len(bomb) < 200_000 and png.decode(bomb) is None
    lying = rechecked(png.encode(noise(4, 4)), width=2**31 - 1, height=2**31 - 1)
    assert png.decode(lying) is None


def rechecked(data: bytes, width: int, height: int) -> bytes:
    """A PNG file with another size in its header, and the checksum that belongs to it."""
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
)
def test_png_refuses_what_is_no_rgb_image(wrong: Image) -> None:
    with pytest.raises(ValueError, match=r"expected \(h, w, 3\) uint8 RGB"):
        png.encode(wrong)


@pytest.mark.parametrize("suffix", ["png", "webp", "jpeg"])
def test_what_is_stored_in_passing_has_the_pixels_of_what_is_kept(suffix: Any) -> None:
    config = CropConfig(format=suffix)
    passing = cropping.encode_in_passing(noise(224, 224), config)
    assert np.array_equal(cropping.decode(passing), cropping.decode(cropping.encode(noise(224, 224), config)))


def test_jpeg_is_close_and_its_quality_is_obeyed() -> None:
    image = cv2.GaussianBlur(noise(224, 224), (0, 0), 4)
    sizes = []
    for quality in (95, 50):
        data = cropping.encode(image, CropConfig(format="jpeg", jpeg_quality=quality))
        sizes.append(len(data))
        assert np.abs(cropping.decode(data).astype(int) - image).mean() < 4
    assert sizes[0] > sizes[1]


def test_the_same_crop_makes_the_same_bytes() -> None:
    for suffix in ("png", "webp", "jpeg"):
        config = CropConfig(format=suffix)
        assert cropping.encode(noise(64, 64), config) == cropping.encode(noise(64, 64), config)


@pytest.mark.parametrize("data", [b"", b"no image", cropping.encode(golden(), CropConfig())[:20]])
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no image"):
        cropping.decode(data)


def test_sharpness_falls_with_blur() -> None:
    image = noise(224, 224)
    blurred = [cropping.sharpness(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (1, 2, 4)]
    assert cropping.sharpness(image) > blurred[0] > blurred[1] > blurred[2]
    assert cropping.sharpness(np.full((224, 224, 3), 77, np.uint8)) == 0
