"""Pictures as files and back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from deepfake.report import images

# Two rows of three: every channel alone, and mixtures.
PIXELS = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[10, 20, 30], [200, 100, 50], [0, 0, 0]]], np.uint8
)


def test_red_stays_red_by_another_librarys_reading() -> None:
    data = images.encode_file(PIXELS, ".png")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), PIXELS)
    np.testing.assert_array_equal(images.decode_file(data), PIXELS)


def test_a_jpeg_of_low_quality_is_smaller_and_further_from_the_picture() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(images.encode_jpeg(noise, 20)) < len(images.encode_jpeg(noise, 95))

    def distance(quality: int) -> float:
        return float(np.abs(images.compress_jpeg(noise, quality).astype(int) - noise).mean())

    assert 0 < distance(95) < distance(20)


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_bytes_that_are_no_image_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=f"{len(data)} bytes that are no image"):
        images.decode_file(data)


@pytest.mark.parametrize(
    ("shape", "fitted"),
    [((50, 100), (10, 20)), ((100, 50), (20, 10)), ((1, 1000), (1, 20)), ((5, 5), (20, 20))],
)
def test_the_longer_side_gets_the_length_and_no_side_vanishes(
    shape: tuple[int, int], fitted: tuple[int, int]
) -> None:
    assert images.fit_side(np.zeros((*shape, 3), np.uint8), 20).shape == (*fitted, 3)
