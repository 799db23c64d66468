"""The one crop function: a face box in a frame becomes a square image, and what lies around it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.config import CropConfig
from deepfake.faces.detectors.base import Detection
from deepfake.video.frame import Frame

Box = tuple[float, float, float, float]  # x, y, w, h in the frame's pixels


@dataclass(frozen=True)
class Square:
    """What the crop of a face shows of its frame, in the frame's pixels.

    That is before the turn of ``config.align``, which keeps the centre.
    """

    left: int
    top: int
    side: int
    around: int  # how much further the stored surroundings reach, on each side
    degrees: float  # by which the face is turned, counter-clockwise
    padded: float  # share of the square that lies outside the frame
    shift: float  # by which its centre was moved off that of the box, in sides of the box
    shrink: float  # its side, as a share of the side that was wanted


@dataclass(frozen=True)
class CutFace:
    """A face and its surroundings."""

    wide: np.ndarray  # (n, n, 3) uint8 RGB, the crop in its middle; n is config.size + 2 config.surround
    crop: np.ndarray  # (config.size, config.size, 3) uint8 RGB


def cut_face(frame: Frame, face: Detection, config: CropConfig) -> CutFace:
    """The face with its margin, resized to (config.size, config.size, 3) uint8 RGB, and what is around it.

    ``place_square`` says which square that is. Where it leaves the frame all the same, as its surroundings
    often do, the frame is reflected, so that no constant border tells anything. The face's box must touch
    the frame. With ``config.align`` a face that has landmarks is turned until its eyes are level.
    """
    square = place_square((face.x, face.y, face.w, face.h), frame.size, config, face.landmarks)
    side, size = square.side + 2 * square.around, config.size + 2 * config.surround
    # what a turn brings into the picture
    corners = math.ceil(side * (math.sqrt(2.0) - 1.0) / 2.0) if square.degrees else 0
    reach = square.around + corners
    region = _cut_mirrored(frame, square.left - reach, square.top - reach, side + 2 * corners)
    turned_size = round(len(region) * size / side)
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    wide = cv2.resize(region, (turned_size, turned_size), interpolation=interpolation)
    if square.degrees:
        wide = _turn(wide, square.degrees, size * len(region) / (side * turned_size), size)
    return CutFace(wide, cut_middle(wide, config.surround))


def cut_middle(wide: np.ndarray, surround: int) -> np.ndarray:
    """``(n, n, 3)`` without ``surround`` pixels on each side."""
    return wide[surround : len(wide) - surround, surround : len(wide) - surround]


def place_square(
    box: Box, frame_size: tuple[int, int], config: CropConfig, landmarks: Sequence[float] | None = None
) -> Square:
    """What the crop of a face box shows of a frame of ``(height, width)`` pixels.

    The square has the longer side of the box, widened by ``config.margin`` of it on each side, about the
    middle of the box. Where it would leave the frame it is moved, and where it is larger than the frame
    made smaller, but shows all of the box that the frame has.
    """
    x, y, w, h = box
    height, width = frame_size
    degrees = _measure_tilt(landmarks, config)
    turn = math.radians(degrees)
    extent = abs(math.cos(turn)) + abs(math.sin(turn))  # of the turned square, in sides
    longer = max(w, h)
    wanted = max(1, round(longer * (1.0 + 2.0 * config.margin)))
    seen = max(min(x + w, width) - max(x, 0.0), min(y + h, height) - max(y, 0.0))
    side = min(wanted, max(int(min(frame_size) / extent + 1e-9), math.ceil(seen), 1))
    over = math.ceil(side * (extent - 1.0) / 2.0 - 1e-9)  # that the turned square reaches further
    # not round(): it goes to the even neighbour
    middle = [math.floor(at + length / 2.0 - side / 2.0 + 0.5) for at, length in ((x, w), (y, h))]
    left, top = (
        _move_inside(start, over, length - side - over)
        for start, length in zip(middle, (width, height), strict=True)
    )
    return Square(
        left, top, side, round(config.surround * side / config.size), degrees,
        padded=_measure_padding(left, top, side, degrees, frame_size),
        shift=math.hypot(left - middle[0], top - middle[1]) / max(longer, 1.0),
        shrink=side / wanted,
    )  # fmt: skip


def _move_inside(start: int, low: int, high: int) -> int:
    """The value in ``low..high`` that is closest to ``start``; their middle where there is none."""
    return (low + high) // 2 if low > high else min(max(start, low), high)


def _measure_padding(left: int, top: int, side: int, degrees: float, frame_size: tuple[int, int]) -> float:
    height, width = frame_size
    if not degrees and min(left, top, width - left - side, height - top - side) >= 0:
        return 0.0
    centre = (left + side / 2.0, top + side / 2.0)
    corners = cv2.boxPoints((centre, (float(side), float(side)), degrees))
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    share = 1.0 - cv2.intersectConvexConvex(corners, frame)[0] / side**2
    return share if share > 1e-5 else 0.0  # the area is float32


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


def map_into_wide(points: np.ndarray, square: Square, config: CropConfig) -> np.ndarray:
    """Points ``(n, 2)`` of the frame in the pixels of ``CutFace.wide``.

    ``config.surround`` less are those of the crop.
    """
    size = config.size + 2 * config.surround
    left, top = square.left - square.around, square.top - square.around
    scale = size / (square.side + 2 * square.around)
    found = (np.asarray(points, np.float64) - (left, top) + 0.5) * scale - 0.5
    if square.degrees:
        middle = (size - 1) / 2.0
        matrix = cv2.getRotationMatrix2D((middle, middle), square.degrees, 1.0)
        found = found @ matrix[:, :2].T + matrix[:, 2]
    return found


def measure_room(square: Square, frame_size: tuple[int, int], config: CropConfig) -> Box:
    """What of ``CutFace.wide`` is of the frame and not mirrored: left, top, right, bottom in its pixels.

    Of a turned face the largest square about its middle, for the frame's edges lie aslant in it.
    """
    height, width = frame_size
    size, reach = config.size + 2 * config.surround, square.side / 2.0 + square.around
    x, y = square.left + square.side / 2.0, square.top + square.side / 2.0
    scale = size / (2.0 * reach)
    sides = [x, y, width - x, height - y]
    if square.degrees:
        turn = math.radians(square.degrees)
        sides = [min(sides) / (abs(math.cos(turn)) + abs(math.sin(turn)))] * 4
    left, top, right, bottom = (scale * min(max(side, 0.0), reach) for side in sides)
    return size / 2.0 - left, size / 2.0 - top, size / 2.0 + right, size / 2.0 + bottom


def measure_sharpness(crop: np.ndarray) -> float:
    """Variance of the Laplacian of a (h, w, 3) uint8 RGB crop in grey; low for blurred or enlarged faces."""
    edges = cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_16S)  # at most 4 x 255: exact
    return float(cv2.meanStdDev(edges)[1][0, 0] ** 2)
