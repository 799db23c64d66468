"""The one crop function: a face box in a frame becomes a square image."""

import math
from collections.abc import Sequence

import cv2
import numpy as np

from deepfake.config import CropConfig
from deepfake.faces.detectors.base import Detection
from deepfake.video.frame import Frame


def cut_face(frame: Frame, face: Detection, config: CropConfig) -> np.ndarray:
    """The face with its margin, resized: (config.size, config.size, 3) uint8 RGB.

    The square has the longer side of the box, widened by ``config.margin`` of it on each side; where it
    leaves the frame, the frame is reflected, so that no constant border tells anything. The face's box
    must touch the frame. With ``config.align`` a face that has landmarks is turned until its eyes are level.
    """
    left, top, side = compute_square((face.x, face.y, face.w, face.h), config)
    turn = _measure_tilt(face.landmarks, config)
    # what a turn brings into the square
    around = math.ceil(side * (math.sqrt(2.0) - 1.0) / 2.0) if turn else 0
    region = _cut_mirrored(frame, left - around, top - around, side + 2 * around)
    size = round(len(region) * config.size / side)
    interpolation = cv2.INTER_AREA if side > config.size else cv2.INTER_CUBIC
    image = cv2.resize(region, (size, size), interpolation=interpolation)
    return _turn(image, turn, config.size * len(region) / (side * size), config.size) if turn else image


def _cut_mirrored(frame: Frame, left: int, top: int, side: int) -> np.ndarray:
    """(side, side, 3) of a frame, reflected where the square leaves it."""
    height, width = frame.size
    right, bottom = left + side, top + side
    region = frame.cut_region(max(0, left), max(0, top), min(width, right), min(height, bottom))
    outside = (max(0, -top), max(0, bottom - height), max(0, -left), max(0, right - width))
    return cv2.copyMakeBorder(region, *outside, cv2.BORDER_REFLECT) if any(outside) else region


def _measure_tilt(landmarks: Sequence[float] | None, config: CropConfig) -> float:
    """Degrees by which the line from right to left eye falls; 0 where faces are not to be turned."""
    if config.align == "none" or landmarks is None:
        return 0.0
    right_x, right_y, left_x, left_y = landmarks[:4]
    return math.degrees(math.atan2(left_y - right_y, left_x - right_x))


def _turn(image: np.ndarray, degrees: float, scale: float, size: int) -> np.ndarray:
    """The middle (size, size, 3) of a square image after a counter-clockwise turn about its centre."""
    middle = (len(image) - 1) / 2.0
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees, scale)
    matrix[:, 2] += (size - 1) / 2.0 - middle
    return cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def compute_square(box: tuple[float, float, float, float], config: CropConfig) -> tuple[int, int, int]:
    """Left, top and side, in the frame's pixels, of what the crop of a face box ``x, y, w, h`` shows.

    That is before the turn of ``config.align``, which keeps the centre.
    """
    x, y, w, h = box
    side = max(1, round(max(w, h) * (1.0 + 2.0 * config.margin)))
    left = math.floor(x + w / 2.0 - side / 2.0 + 0.5)  # not round(): it goes to the even neighbour
    return left, math.floor(y + h / 2.0 - side / 2.0 + 0.5), side


def map_into_crop(
    points: np.ndarray,
    box: tuple[float, float, float, float],
    config: CropConfig,
    landmarks: Sequence[float] | None = None,
) -> np.ndarray:
    """Points ``(n, 2)`` of the frame in the pixels of the crop that ``cut_face`` makes of the face box.

    ``landmarks`` of the face, as in ``Detection``, tell how ``config.align`` turned it.
    """
    left, top, side = compute_square(box, config)
    found = (np.asarray(points, np.float64) - (left, top) + 0.5) * (config.size / side) - 0.5
    if turn := _measure_tilt(landmarks, config):
        middle = (config.size - 1) / 2.0
        matrix = cv2.getRotationMatrix2D((middle, middle), turn, 1.0)
        found = found @ matrix[:, :2].T + matrix[:, 2]
    return found


def measure_sharpness(crop: np.ndarray) -> float:
    """Variance of the Laplacian of a (h, w, 3) uint8 RGB crop in grey; low for blurred or enlarged faces."""
    edges = cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_16S)  # at most 4 x 255: exact
    return float(cv2.meanStdDev(edges)[1][0, 0] ** 2)
