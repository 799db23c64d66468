"""What the leak check keeps of one picture: hashes, a thumbnail, and numbers that know nothing of faces.

The perceptual hash is the DCT hash described by Zauner, "Implementation and Benchmarking of Perceptual Image
Hash Functions" (2010): the signs, about their median, of the 8x8 lowest frequencies of a 32x32 grey picture.
"""

import hashlib
from typing import Any

import cv2
import numpy as np

THUMBNAIL = 16  # side of the grey thumbnail that near duplicates are verified with
PIXELS_BYTES = 16  # kept of the hash of the pixels

_SMALL = 32
_LOW = 8
_FLAT = 4.0  # standard deviation of a thumbnail's grey levels below which it shows nothing
_BLACK = 12  # brightest channel of a pixel that counts as black; compression leaves black not quite 0
_MIRROR = np.where(np.arange(_LOW) % 2, -1.0, 1.0)  # DCT-II of a reversed row: odd frequencies change sign


def describe_picture(picture: np.ndarray) -> dict[str, Any]:
    """Everything of one (h, w, 3) uint8 RGB picture, under the names of ``scan.PICTURES``."""
    return {**compute_hashes(picture), **measure_border(picture), **measure_appearance(picture)}


def compute_hashes(picture: np.ndarray) -> dict[str, Any]:
    """``pixels``, ``phash``, ``phash_mirrored``, ``thumbnail`` of (h, w, 3) uint8 RGB; None if it is flat."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA)
    thumbnail = cv2.resize(small, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    if thumbnail.std() < _FLAT:
        return dict.fromkeys(("pixels", "phash", "phash_mirrored", "thumbnail"))
    low = cv2.dct(small.astype(np.float32))[:_LOW, :_LOW]
    digest = hashlib.sha256(repr(picture.shape).encode())
    digest.update(np.ascontiguousarray(picture).data)
    return {
        "pixels": digest.digest()[:PIXELS_BYTES],
        "phash": _pack_signs(low),
        "phash_mirrored": _pack_signs(low * _MIRROR),
        "thumbnail": thumbnail.tobytes(),
    }


def _pack_signs(low: np.ndarray) -> int:
    """The hash as a number below 2**64; the mean grey (first coefficient) takes no part."""
    values = low.ravel()
    signs = values > np.median(values[1:])
    signs[0] = False
    return int.from_bytes(np.packbits(signs).tobytes(), "big")


def measure_border(picture: np.ndarray) -> dict[str, float]:
    """How black and how constant the corners and the outermost pixels are, as shares from 0 to 1.

    A rotation that leaves black corners, a padded crop and a letterbox all show here. ``picture``
    is (h, w, 3) uint8 RGB.
    """
    height, width = picture.shape[:2]
    h, w = max(2, height // 16), max(2, width // 16)
    corners = [picture[y, x] for y in (slice(h), slice(-h, None)) for x in (slice(w), slice(-w, None))]
    sides = [(picture[0], picture[1]), (picture[-1], picture[-2]),
             (picture[:, 0], picture[:, 1]), (picture[:, -1], picture[:, -2])]  # fmt: skip
    outer, inner = (np.concatenate(rows).astype(np.int16) for rows in zip(*sides, strict=True))
    along = np.concatenate([_measure_change(side[1:], side[:-1]) for side, _ in sides])
    return {
        "corner_black": float(np.mean([_is_black(corner).mean() for corner in corners])),
        "edge_black": float(_is_black(outer).mean()),
        "edge_constant": float((along <= 1).mean()),
        "edge_repeated": float((_measure_change(outer, inner) <= 1).mean()),
    }


def _is_black(pixels: np.ndarray) -> np.ndarray:
    return pixels.max(axis=-1) <= _BLACK


def _measure_change(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The largest difference of any channel."""
    return np.abs(a.astype(np.int16) - b.astype(np.int16)).max(axis=-1)


def measure_appearance(picture: np.ndarray) -> dict[str, float]:
    """Mean brightness, contrast, colour and sharpness (log of the variance of the Laplacian).

    Of the middle three quarters of (h, w, 3) uint8 RGB, so that a border does not show here as well.
    """
    height, width = picture.shape[:2]
    picture = picture[height // 8 : height - height // 8, width // 8 : width - width // 8]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    red, green, blue = cv2.mean(picture)[:3]
    mean, deviation = cv2.meanStdDev(grey)
    return {
        "brightness": float(mean[0, 0]),
        "contrast": float(deviation[0, 0]),
        "red_minus_green": red - green,
        "blue_minus_green": blue - green,
        "sharpness": float(np.log1p(cv2.Laplacian(grey, cv2.CV_64F).var())),
    }
