"""That storing a crop loses nothing it should not."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.config import CropConfig
from deepfake.faces import encoding, png
from tests.faces.test_cropping import Image, cut, noise


def golden() -> Image:
    """Red, green, blue and orange quarters."""
    image = np.zeros((100, 100, 3), np.uint8)
    image[:50, :50], image[:50, 50:], image[50:, :50] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    image[50:, 50:] = (255, 128, 0)
    return image


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_red_stays_red_from_frame_to_stored_crop_and_back(suffix: str) -> None:
    config = CropConfig(size=100, margin=0, format=suffix)  # type: ignore[arg-type]
    found = encoding.decode_image(
        encoding.encode_crop(cut(golden(), 0, 0, 100, 100, size=100, margin=0), config)
    )
    corners = [found[10, 10], found[10, 90], found[90, 10], found[90, 90]]
    assert [tuple(corner.tolist()) for corner in corners] == [
        (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 128, 0)
    ]  # fmt: skip


def test_a_stored_crop_has_true_colours_for_other_software_too() -> None:
    from io import BytesIO

    from PIL import Image as Pillow

    data = encoding.encode_crop(golden(), CropConfig())
    assert np.array_equal(np.asarray(Pillow.open(BytesIO(data)).convert("RGB")), golden())


# Storing.


@given(st.integers(0, 2**32 - 1), st.sampled_from(["png", "webp"]), st.sampled_from([32, 57, 224]))
def test_png_and_webp_lose_nothing(seed: int, suffix: Any, size: int) -> None:
    image = noise(size, size, seed)
    assert np.array_equal(
        encoding.decode_image(encoding.encode_crop(image, CropConfig(format=suffix))), image
    )


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_png_of_any_shape_is_read_alike_by_other_software(height: int, width: int, seed: int) -> None:
    from io import BytesIO

    from PIL import Image as Pillow

    image = noise(height, width, seed)
    for kept in (image, np.full_like(image, seed % 256), image[:, ::-1]):  # the last is not contiguous
        with Pillow.open(BytesIO(png.encode_png(kept))) as opened:
            opened.verify()  # the checksums
        with Pillow.open(BytesIO(png.encode_png(kept))) as opened:
            assert opened.mode == "RGB" and np.array_equal(np.asarray(opened), kept)
        assert np.array_equal(png.decode_png(png.encode_png(kept)), kept)


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
        assert png.decode_png(data) is None
        assert encoding.decode_image(data).shape == image.shape
    assert np.array_equal(encoding.decode_image(written_by_others(image)[0]), image)


@given(st.integers(0, 10**6), st.integers(1, 255), st.integers(0, 10**6))
def test_png_reads_nothing_from_damaged_files(place: int, change: int, length: int) -> None:
    image = noise(24, 17)
    data = bytearray(png.encode_png(image))
    data[place % len(data)] ^= change
    assert png.decode_png(bytes(data)) is None  # every byte is under a checksum or known
    assert png.decode_png(bytes(data)[: length % len(data)]) is None
    assert png.decode_png(png.encode_png(image) + b"more") is None


def test_png_unpacks_no_more_than_the_header_promises() -> None:
    """A file of a few kB whose pixels would fill the memory, and one whose header says so."""
    bomb = rechecked(png.encode_png(np.zeros((4000, 4000, 3), np.uint8)), width=2, height=2)
    assert len(bomb) < 200_000 and png.decode_png(bomb) is None
    lying = rechecked(png.encode_png(noise(4, 4)), width=2**31 - 1, height=2**31 - 1)
    assert png.decode_png(lying) is None


def rechecked(data: bytes, width: int, height: int) -> bytes:
    """A PNG file with another size in its header, and the checksum that belongs to it."""
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)]
)
def test_png_refuses_what_is_no_rgb_image(wrong: Image) -> None:
    with pytest.raises(ValueError, match=r"expected \(h, w, 3\) uint8 RGB"):
        png.encode_png(wrong)


@pytest.mark.parametrize("suffix", ["png", "webp", "jpeg"])
def test_what_is_stored_in_passing_has_the_pixels_of_what_is_kept(suffix: Any) -> None:
    config = CropConfig(format=suffix)
    passing = encoding.encode_temporary(noise(224, 224), config)
    assert np.array_equal(
        encoding.decode_image(passing), encoding.decode_image(encoding.encode_crop(noise(224, 224), config))
    )


def test_jpeg_is_close_and_its_quality_is_obeyed() -> None:
    image = cv2.GaussianBlur(noise(224, 224), (0, 0), 4)
    sizes = []
    for quality in (95, 50):
        data = encoding.encode_crop(image, CropConfig(format="jpeg", jpeg_quality=quality))
        sizes.append(len(data))
        assert np.abs(encoding.decode_image(data).astype(int) - image).mean() < 4
    assert sizes[0] > sizes[1]


def test_the_same_crop_makes_the_same_bytes() -> None:
    for suffix in ("png", "webp", "jpeg"):
        config = CropConfig(format=suffix)
        assert encoding.encode_crop(noise(64, 64), config) == encoding.encode_crop(noise(64, 64), config)


@pytest.mark.parametrize("data", [b"", b"no image", encoding.encode_crop(golden(), CropConfig())[:20]])
def test_damaged_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="bytes that are no PNG"):
        encoding.decode_image(data)
