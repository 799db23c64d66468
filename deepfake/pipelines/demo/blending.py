"""Fakes: one identity's face blended onto another's footage, in four styles.

The styles borrow the names of FaceForensics++'s four methods and a rough idea of which part of the face each
one changes. They are nothing like the methods themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake.pipelines.demo.people import Image


@dataclass(frozen=True)
class Style:
    """How a face is put in. Places and lengths are shares of the face's box."""

    outline: tuple[tuple[float, float], ...]  # convex polygon
    feather: float  # sigma of the blur of its edge
    colour_match: float  # 1: the source takes the target's colours, 0: keeps its own
    detail: float  # the source is resampled to this share of its size and back
    shift: float  # largest misalignment
    jitter: float  # misalignment that changes from frame to frame
    opacity: float


def _make_ellipse(cx: float, cy: float, rx: float, ry: float) -> tuple[tuple[float, float], ...]:
    angles = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    return tuple((cx + rx * float(np.cos(a)), cy + ry * float(np.sin(a))) for a in angles)


_INNER_FACE = (
    (0.2, 0.27), (0.5, 0.22), (0.8, 0.27), (0.86, 0.5), (0.76, 0.82), (0.5, 0.98), (0.24, 0.82), (0.14, 0.5),
)  # fmt: skip

STYLES: Mapping[str, Style] = MappingProxyType({
    "Deepfakes": Style(_make_ellipse(0.5, 0.58, 0.34, 0.4), 0.04, 0.8, 0.45, 0.02, 0.004, 1.0),
    "Face2Face": Style(_make_ellipse(0.5, 0.72, 0.3, 0.26), 0.05, 0.9, 0.5, 0.015, 0.003, 1.0),
    "FaceSwap": Style(_INNER_FACE, 0.012, 0.5, 0.55, 0.03, 0.008, 1.0),
    "NeuralTextures": Style(_make_ellipse(0.5, 0.78, 0.22, 0.15), 0.03, 1.0, 0.35, 0.01, 0.002, 0.9),
})  # fmt: skip

METHODS = tuple(STYLES)


def blend_face(
    target: Image,
    target_box: NDArray[np.float64],
    source: Image,
    source_box: NDArray[np.float64],
    style: Style,
    offset: NDArray[np.float64],
) -> Image:
    """The target's frame with the source's face; (height, width, 3) uint8 RGB.

    ``offset`` is the misalignment: right and down in shares of the box.
    """
    left, top, right, bottom = _find_window(target_box, target)
    mask = _make_mask(target_box - (left, top, 0, 0), (right - left, bottom - top), style)
    here = target[top:bottom, left:right]
    scale = target_box[2] / source_box[2]
    move = target_box[:2] + offset * target_box[2:] - scale * source_box[:2] - (left, top)
    matrix = np.array([[scale, 0.0, move[0]], [0.0, scale, move[1]]])
    there = cv2.warpAffine(
        source, matrix, mask.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    there = _match_colours(_soften(there, style.detail), here, mask, style.colour_match)
    weight = (mask * style.opacity)[..., None]
    result = target.copy()
    result[top:bottom, left:right] = np.rint(weight * there + (1.0 - weight) * here)
    return result


def _find_window(box: NDArray[np.float64], image: Image) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of all that a blend can change: the box and a feathered edge around it."""
    x, y, w, h = box
    left, top = max(0, int(x - 0.2 * w)), max(0, int(y - 0.2 * h))
    height, width = image.shape[:2]
    return left, top, min(width, int(x + 1.2 * w)), min(height, int(y + 1.3 * h))


def _soften(image: Image, detail: float) -> Image:
    """The image resampled to a share of its size and back."""
    if detail >= 1.0:
        return image
    small = cv2.resize(image, None, fx=detail, fy=detail, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)


def _make_mask(box: NDArray[np.float64], size: tuple[int, int], style: Style) -> NDArray[np.float32]:
    """Weights in [0, 1] of the source, in a window of ``size`` (width, height)."""
    points = np.array(style.outline) * box[2:] + box[:2]
    mask = np.zeros(size[::-1], np.uint8)
    cv2.fillConvexPoly(mask, np.rint(points * 16).astype(np.int32), 255, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(mask.astype(np.float32) / 255.0, (0, 0), style.feather * box[2])


def _match_colours(
    source: Image, target: Image, mask: NDArray[np.float32], strength: float
) -> NDArray[np.float32]:
    """The source with mean and spread of the target's colours under the mask."""
    inside = (mask > 0.5).astype(np.uint8)
    (mean, deviation), (wanted_mean, wanted_deviation) = (
        cv2.meanStdDev(image, mask=inside) for image in (source, target)
    )
    slope = 1.0 + strength * (wanted_deviation / np.maximum(deviation, 1.0) - 1.0)
    level = mean + strength * (wanted_mean - mean)
    return np.clip((source - mean[:, 0]) * slope[:, 0] + level[:, 0], 0.0, 255.0).astype(np.float32)
