"""Image files of RGB pictures, and back: the one place where BGR, which OpenCV stores, becomes RGB."""

from collections.abc import Sequence
from functools import cache
from statistics import NormalDist

import cv2
import numpy as np


def encode_file(picture: np.ndarray, suffix: str, options: Sequence[int] = ()) -> bytes:
    """A (h, w, 3) uint8 RGB picture as the bytes of a file; ``options`` of ``cv2.imencode``."""
    written, data = cv2.imencode(suffix, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    if not written:
        raise ValueError(f"a picture of shape {picture.shape} could not be encoded as {suffix}")
    return data.tobytes()


def encode_jpeg(picture: np.ndarray, quality: int) -> bytes:
    """A (h, w, 3) uint8 RGB picture as JPEG; ``quality`` 0 to 100."""
    return encode_file(picture, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def decode_file(data: bytes) -> np.ndarray:
    """The bytes of an image file as (h, w, 3) uint8 RGB; raises ``ValueError`` where they are none."""
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        raise ValueError(f"{len(data)} bytes that are no image")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def compress_jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    """A (h, w, 3) uint8 RGB picture as it looks after having been a JPEG."""
    return decode_file(encode_jpeg(picture, quality))


def resample(picture: np.ndarray, size: tuple[int, int], down: int = cv2.INTER_AREA) -> np.ndarray:
    """A (h, w, 3) uint8 picture scaled down to ``(width, height)``, by method ``down``, and up again."""
    small = cv2.resize(picture, (max(1, size[0]), max(1, size[1])), interpolation=down)
    return cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """A (h, w, 3) uint8 picture under a Gaussian blur, its border reflected."""
    return cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def add_noise(picture: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """A (h, w, 3) uint8 picture with Gaussian noise of ``sigma`` grey levels, rounded to whole ones.

    Values are drawn from 65,536 quantiles, in a third of the time that normal numbers take; none is beyond
    4.3 sigma, as it would be once in 65,536 times.
    """
    levels = np.rint(sigma * _list_normal_quantiles()).astype(np.int16)
    grain = levels[random.integers(0, len(levels), picture.shape, np.uint16)]
    return cv2.add(picture, grain, dtype=cv2.CV_8U)


@cache
def _list_normal_quantiles() -> np.ndarray:
    """(65536,) float64: the middle of each of as many equal parts of the standard normal distribution."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / 65536) for i in range(65536)])


def fit_side(picture: np.ndarray, side: int) -> np.ndarray:
    """A (h, w, 3) uint8 picture scaled so that its longer side has ``side`` pixels."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
