"""How a crop is stored: pixels to the bytes of an image file, and back."""

import cv2
import numpy as np

from deepfake.config import CropConfig
from deepfake.faces import cropping, png
from deepfake.report import images


def encode_crop(crop: np.ndarray, config: CropConfig) -> bytes:
    """A (n, n, 3) uint8 RGB crop as the bytes of an image file."""
    if config.format == "png":
        return png.encode_png(crop)
    if config.format == "jpeg":
        return images.encode_jpeg(crop, config.jpeg_quality)
    return images.encode_file(crop, ".webp", [cv2.IMWRITE_WEBP_QUALITY, 101])  # above 100 means lossless


def encode_surround(wide: np.ndarray, config: CropConfig) -> bytes:
    """A (n, n, 3) uint8 RGB picture without the crop in its middle, as the bytes of an image file."""
    ring = wide.copy()
    cropping.cut_middle(ring, config.surround)[:] = 0
    return encode_crop(ring, config)


def join_surround(crop: np.ndarray, surround: bytes) -> np.ndarray:
    """The (n, n, 3) uint8 RGB picture of a crop and its encoded surroundings.

    Raises ``ValueError`` where these are damaged, or of another crop.
    """
    wide = decode_image(surround)
    room = len(wide) - len(crop)
    if wide.shape[0] != wide.shape[1] or room < 0 or room % 2:
        raise ValueError(f"surroundings of {wide.shape[1]}x{wide.shape[0]} pixels are none of such a crop")
    cropping.cut_middle(wide, room // 2)[:] = crop
    return wide


def encode_temporary(crop: np.ndarray, config: CropConfig) -> bytes:
    """As ``encode_crop``, of (n, n, 3) uint8 RGB that is soon decoded and thrown away: as fast as can be.

    A BMP takes 0.05 ms to write and 0.04 ms to read, a PNG 1.7 and 1.4; it has 151 kB instead of 69 kB.
    """
    return encode_crop(crop, config) if config.format == "jpeg" else images.encode_file(crop, ".bmp")


def decode_image(data: bytes) -> np.ndarray:
    """The bytes of an image file as (h, w, 3) uint8 RGB; raises ``ValueError`` where they are damaged."""
    ours = png.decode_png(data)
    return images.decode_file(data) if ours is None else ours
