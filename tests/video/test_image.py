"""Still images as footage."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from deepfake.io.tables import Status
from deepfake.video import image
from deepfake.video.errors import VideoError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def saved(kind: str, pixels: np.ndarray = PIXELS) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def accept(width: int, height: int) -> None:
    assert (width, height) == (9, 6)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_pixels_are_those_that_another_library_wrote(kind: str) -> None:
    data = saved(kind)
    assert image.is_image(data[:16])
    found, rgb = image.read_image(io.BytesIO(data), accept)
    assert found == kind.lower()
    np.testing.assert_array_equal(rgb, PIXELS)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_kinds_are_known_by_their_first_bytes(kind: str) -> None:
    data = saved(kind)
    assert image.is_image(data[:16])
    found, rgb = image.read_image(io.BytesIO(data), accept)
    assert (found, rgb.shape) == (kind.lower(), PIXELS.shape)


@pytest.mark.parametrize(
    "head", [b"", b"\x00\x00\x00\x18ftypmp42", b"RIFF\x00\x00\x00\x00AVI LIST", b"GIF89a"]
)
def test_videos_are_not_taken_for_images(head: bytes) -> None:
    assert not image.is_image(head)


def test_the_size_is_checked_before_anything_is_unpacked() -> None:
    def refuse(width: int, height: int) -> None:
        raise VideoError(Status.UNSUPPORTED, f"{width} by {height}")

    only_header = saved("PNG")[:50]
    with pytest.raises(VideoError, match="9 by 6"):
        image.read_image(io.BytesIO(only_header), refuse)


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"\x89PNG\r\n\x1a\n and no more", Status.UNREADABLE), (saved("PNG")[:50], Status.DECODE_ERROR)],
)
def test_what_is_wrong_with_an_image_is_its_status(data: bytes, status: Status) -> None:
    with pytest.raises(VideoError) as raised:
        image.read_image(io.BytesIO(data), accept)
    assert raised.value.status == status
    assert " at 0x" not in str(raised.value), "two runs differ"
