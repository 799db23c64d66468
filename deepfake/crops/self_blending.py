"""Self-blended images: out of one real crop a fake and the real that belongs beside it.

After Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images" (CVPR 2022): a face is blended
into a slightly different copy of itself, so that a detector learns the traces of blending and not those of
one generator. Plain numpy and OpenCV; what is drawn follows from (seed, epoch, sample id) alone. Flips, scale
and compression are ``deepfake.crops.augmentation``'s and come afterwards, the same for both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from deepfake.config import CropConfig
from deepfake.crops.augmentation import make_random, recolour
from deepfake.faces.cropping import map_into_wide, place_square
from deepfake.report import images

SHAPES = ("face", "extended", "raised", "sectors")
ELLIPSE = "ellipse"  # where there are no landmarks

_ATTEMPTS = 8
_RGB_SHIFT, _RGB_SHIFT_CHANCE = 20.0, 0.3  # grey levels a channel
_BRIGHTNESS, _CONTRAST = 0.1, 0.1  # share of the range that is added, and a relative change
_DOWNSCALE = (2, 4)
_SHARPEN, _LIGHTNESS = (0.2, 0.5), (0.5, 1.0)
_SHIFT_X, _SHIFT_Y, _SCALE = 0.03, 0.015, 0.95  # shares of the side; the smallest scale of each direction
_ELASTIC, _ELASTIC_SIGMA, _ELASTIC_STEP = 50.0, 7.0, 4  # pixels; every fourth pixel is drawn
_MASK_SIDE, _KERNEL, _SIGMA = (192, 256), (5, 25), (5.0, 45.0)  # pixels, odd sizes, pixels
_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
_WHOLE = 0.999  # a blurred mask is whole where it is 1, but for rounding
_SEEN = 0.1  # a mask is there where it is at least this
_SMALLEST_MASK = 0.01  # share of the crop; less is too little to learn from
_SMALLEST_CHANGE = 0.25  # share of the mask in which the fake must differ from the real

# The face's outline: (half-width as a share of the cheeks', how far down), where 0 is the eyes' height, 1 the
# mouth's and 2 the chin; above the eyes -1 is the height of the mouth again, or the top of the forehead.
_JAW = ((0.97, -0.1), (1.0, 0.3), (0.95, 0.8), (0.82, 1.2), (0.55, 1.7), (0.2, 2.0))
_BROWS = ((0.85, -0.42),)
_FOREHEAD = ((0.92, -0.45), (0.75, -0.8), (0.4, -1.0))
_RAISED = ((0.92, -0.45), (0.7, -0.65), (0.35, -0.7))
_BETWEEN_BROWS = 0.15  # half-width of the nose's root, as a share of the cheeks'
# In heights of eyes to mouth: how far the face may reach from the eyes' middle to the chin, to the forehead,
# and from its middle to the sides. The detector's box decides within these bounds.
_CHIN, _FOREHEAD_TOP, _CHEEK = (1.5, 1.85), (0.75, 1.15), (0.4, 1.05)
_WITHIN_BOX = 0.97  # boxes are a little larger than faces


@dataclass(frozen=True)
class Face:
    """Where the face is, in the pixels of the picture that is blended."""

    box: tuple[float, float, float, float]  # x, y, w, h
    landmarks: np.ndarray | None = None  # (5, 2): right eye, left eye, nose, right and left mouth corner


def locate_face(
    box: tuple[float, float, float, float],
    landmarks: np.ndarray | None,
    frame_size: tuple[int, int],
    config: CropConfig,
    surround: int = 0,
) -> Face:
    """A face of the crops table, in the frame's pixels, as it lies in the crop that was cut of it.

    ``landmarks`` are ``(5, 2) float``, as in ``Face``, or None; ``surround`` are the pixels of its
    surroundings that the picture has beside the crop.
    """
    x, y, w, h = box
    square = place_square(box, frame_size, config, None if landmarks is None else landmarks.ravel().tolist())
    less = config.surround - surround
    level = replace(square, degrees=0.0)  # the box itself is not turned
    corners = map_into_wide(np.array([[x, y], [x + w, y + h]]), level, config) - less
    (left, top), (right, bottom) = corners.tolist()
    points = None if landmarks is None else map_into_wide(landmarks, square, config) - less
    return Face((left, top, right - left, bottom - top), points)


@dataclass(frozen=True)
class Pair:
    """A real crop and the fake made of it; both were changed alike where the mask is 0."""

    real: np.ndarray  # (h, w, 3) uint8 RGB
    fake: np.ndarray  # (h, w, 3) uint8 RGB, equal to the real where mask is 0
    mask: np.ndarray  # (h, w) float32 in [0, 1]: how much of each of the fake's pixels was blended in
    shape: str  # one of SHAPES, or ELLIPSE


def self_blend(crop: np.ndarray, face: Face, seed: int, epoch: int, sample_id: str) -> Pair:
    """The pair that a real crop ``(h, w, 3) uint8 RGB`` gives in one epoch.

    Draws again where the mask is nearly empty or the fake shows no change. A crop on which that goes on, one
    of a single colour or with a box beside it, gets an ellipse in its middle of another colour.
    """
    for attempt in range(_ATTEMPTS):
        pair = _blend_once(crop, face, make_random(seed, epoch, sample_id, f"self-blend {attempt}"))
        if _is_visible(pair):
            return pair
    return _blend_plainly(crop, make_random(seed, epoch, sample_id, "self-blend plainly"))


def _blend_once(crop: np.ndarray, face: Face, random: np.random.Generator) -> Pair:
    mask, shape = draw_outline(crop.shape[:2], face, random)
    changed = _change_colours(crop, random)
    source, target = (changed, crop) if random.random() < 0.5 else (crop, changed)
    source, mask = move(source, mask, random)
    mask = soften(_deform(mask, random), random)
    return Pair(target, blend_images(source, target, mask), mask, shape)


def _is_visible(pair: Pair) -> bool:
    seen = pair.mask >= _SEEN
    changed = (pair.real != pair.fake).any(axis=2)
    enough = _SMALLEST_MASK * seen.size
    return bool(seen.sum() >= enough and changed.sum() >= _SMALLEST_CHANGE * seen.sum())


def _blend_plainly(crop: np.ndarray, random: np.random.Generator) -> Pair:
    height, width = crop.shape[:2]
    middle = Face((0.2 * width, 0.2 * height, 0.6 * width, 0.6 * height))
    mask, shape = draw_outline((height, width), middle, random)
    mask = cv2.GaussianBlur(mask, (0, 0), 3.0)
    darker = crop.mean() > 127  # away from the end of the scale, so that something is left of the change
    shift = random.uniform(0.5, 1.0, 3) * (-_RGB_SHIFT if darker else _RGB_SHIFT)
    return Pair(crop, blend_images(recolour(crop, shift=tuple(shift.tolist())), crop, mask), mask, shape)


def blend_images(source: np.ndarray, target: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """``mask * source + (1 - mask) * target``; exactly the target where the mask is 0.

    The images are ``(h, w, 3) uint8``, the mask ``(h, w) float32`` in [0, 1].
    """
    weight = mask[:, :, None]
    mixed = target + weight * (source.astype(np.float32) - target)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def draw_outline(
    size: tuple[int, int], face: Face, random: np.random.Generator, shape: str | None = None
) -> tuple[np.ndarray, str]:
    """The region to be blended, ``(h, w) float32`` of 0 and 1, and the name of its shape.

    One of SHAPES around the landmarks (``shape`` overrides the draw); where there are none, or they make no
    face, an ellipse within the box.
    """
    drawn = SHAPES[int(random.integers(len(SHAPES)))]
    mask = np.zeros(size, np.uint8)
    axes = None if face.landmarks is None else _Axes.of(np.asarray(face.landmarks, np.float64), face.box)
    if axes is None:
        _draw_ellipse(mask, face.box, random)
        return mask.astype(np.float32), ELLIPSE
    shape = shape or drawn
    for points in _REGIONS[shape](axes):
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(points).astype(np.int32)), 1)
    return mask.astype(np.float32), shape


def _draw_ellipse(
    mask: np.ndarray, box: tuple[float, float, float, float], random: np.random.Generator
) -> None:
    x, y, w, h = box
    across, down, middle = random.uniform((0.36, 0.44, 0.48), (0.48, 0.60, 0.56))
    turn = random.uniform(-8.0, 8.0)
    centre = (x + w / 2, y + middle * h)
    cv2.ellipse(mask, (centre, (2 * across * w, 2 * down * h), turn), 1, cv2.FILLED)


@dataclass(frozen=True)
class _Axes:
    """A face's own coordinates: down from eyes to mouth, right as one looks at the picture; all in pixels."""

    landmarks: np.ndarray  # (5, 2)
    eyes: np.ndarray  # (2,), between the eyes
    down: np.ndarray  # (2,), length 1
    right: np.ndarray  # (2,), length 1
    unit: float  # from the eyes' height to the mouth's
    chin: float  # how far below the eyes
    top: float  # how far above the eyes the forehead ends
    cheeks: tuple[float, float]  # how far to the left and to the right of the middle

    @classmethod
    def of(cls, landmarks: np.ndarray, box: tuple[float, float, float, float]) -> _Axes | None:
        """None where the points ``(5, 2)`` make no face: eyes and mouth in one place, or one that is none."""
        if landmarks.shape != (5, 2) or not np.isfinite(landmarks).all():
            return None
        eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
        unit = float(np.linalg.norm(mouth - eyes))
        if unit < 0.1 * max(box[2], box[3]):
            return None
        down = (mouth - eyes) / unit
        right = np.array([down[1], -down[0]])
        middle = eyes + 0.5 * unit * down

        def reach(start: np.ndarray, direction: np.ndarray, bounds: tuple[float, float]) -> float:
            wanted = _WITHIN_BOX * _measure_exit(start, direction, box)
            return min(max(wanted, bounds[0] * unit), bounds[1] * unit)

        chin, top = reach(eyes, down, _CHIN), reach(eyes, -down, _FOREHEAD_TOP)
        cheeks = (reach(middle, -right, _CHEEK), reach(middle, right, _CHEEK))
        return cls(landmarks, eyes, down, right, unit, chin, top, cheeks)

    def at(self, across: float, down: float) -> np.ndarray:
        """The point ``(2,)`` so many pixels right of and below the middle of the eyes."""
        return self.eyes + across * self.right + down * self.down

    def contour(self, points: tuple[tuple[float, float], ...], forehead: bool = False) -> list[np.ndarray]:
        """Both sides of an outline as the constants above give it: points ``(2,)``, left and right in turn.

        With ``forehead`` what is above the eyes follows its top; brows keep their distance from the eyes.
        """
        found = []
        for width, height in points:
            if height < 0:
                below = height * (self.top if forehead else self.unit)
            elif height <= 1:
                below = height * self.unit
            else:
                below = self.unit + (height - 1) * (self.chin - self.unit)
            found += [self.at(-width * self.cheeks[0], below), self.at(width * self.cheeks[1], below)]
        return found


def _measure_exit(start: np.ndarray, direction: np.ndarray, box: tuple[float, float, float, float]) -> float:
    """How far it is from a point along a direction to the edge of the box; 0 from outside of it."""
    low, high = np.array(box[:2]), np.array(box[:2]) + box[2:]
    edge = np.where(direction > 0, high, low)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(np.abs(direction) > 1e-9, (edge - start) / direction, np.inf)
    return float(max(0.0, distance.min()))


def _outline_sectors(axes: _Axes) -> list[np.ndarray]:
    """The two halves of the face and the nose, which leave out what is between the brows."""
    sides = axes.contour(_JAW) + axes.contour(_BROWS)
    root = axes.contour(((_BETWEEN_BROWS, -0.42),))
    chin, nose = axes.at(0.0, axes.chin), axes.landmarks[2]
    halves = [np.array([*sides[side::2], root[side], nose, chin]) for side in (0, 1)]
    return [*halves, np.array([*axes.landmarks[:2], nose, chin])]


# The convex outlines that make up a region; ``raised`` goes to the middle of the forehead.
_REGIONS: dict[str, Callable[[_Axes], list[np.ndarray]]] = {
    "face": lambda axes: [np.array(axes.contour(_JAW) + axes.contour(_BROWS))],
    "extended": lambda axes: [np.array(axes.contour(_JAW) + axes.contour(_FOREHEAD, forehead=True))],
    "raised": lambda axes: [np.array(axes.contour(_JAW) + axes.contour(_RAISED, forehead=True))],
    "sectors": _outline_sectors,
}


def _change_colours(crop: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The crop in slightly other colours, and coarser or sharper."""
    brightness, contrast = random.uniform(-1.0, 1.0, 2)
    shift = random.uniform(-_RGB_SHIFT, _RGB_SHIFT, 3) * (random.random() < _RGB_SHIFT_CHANCE)
    shift += 255.0 * _BRIGHTNESS * brightness
    image = recolour(crop, contrast=1.0 + _CONTRAST * float(contrast), shift=tuple(shift.tolist()))
    if random.random() < 0.5:
        factor, (height, width) = _DOWNSCALE[int(random.integers(2))], image.shape[:2]
        return images.resample(image, (width // factor, height // factor), cv2.INTER_NEAREST)
    return _sharpen(image, float(random.uniform(*_SHARPEN)), float(random.uniform(*_LIGHTNESS)))


def _sharpen(image: np.ndarray, strength: float, lightness: float) -> np.ndarray:
    kernel = np.full((3, 3), -strength, np.float32)
    kernel[1, 1] = 1.0 - strength + strength * (8.0 + lightness)
    return cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def move(source: np.ndarray, mask: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Source ``(h, w, 3)`` and mask ``(h, w)`` shifted and stretched together, in both directions apart."""
    height, width = mask.shape
    size = (width, height)
    shift = random.uniform((-_SHIFT_X, -_SHIFT_Y), (_SHIFT_X, _SHIFT_Y)) * size
    scale = np.exp(random.uniform(np.log(_SCALE), -np.log(_SCALE), 2))
    middle = (np.array(size) - 1.0) / 2.0
    matrix = np.column_stack([np.diag(scale), middle - scale * middle + shift])
    return (
        cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
        cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT),
    )


def _deform(mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The mask with its edge bent by about a pixel (Simard et al., 2003).

    The field is drawn and smoothed at every fourth pixel, which is a tenth of the work; smoothed over a
    fourth of the pixels, noise has four times the spread, so its strength is a fourth.
    """
    height, width = mask.shape
    small = (2, -(-height // _ELASTIC_STEP), -(-width // _ELASTIC_STEP))
    noise = random.uniform(-1.0, 1.0, small).astype(np.float32) * (_ELASTIC / _ELASTIC_STEP)
    x, y = (
        cv2.resize(cv2.GaussianBlur(field, (0, 0), _ELASTIC_SIGMA / _ELASTIC_STEP), (width, height))
        for field in noise
    )
    columns = np.arange(width, dtype=np.float32) + x
    rows = np.arange(height, dtype=np.float32)[:, None] + y
    return cv2.remap(mask, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def soften(mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A mask ``(h, w) float32`` of 0 and 1 with a soft edge, eroded, and of a strength drawn from six."""
    height, width = mask.shape
    side = int(random.integers(_MASK_SIDE[0], _MASK_SIDE[1] + 1))
    kernels = 2 * random.integers(_KERNEL[0] // 2, _KERNEL[1] // 2 + 1, 2) + 1
    sigma = float(random.uniform(*_SIGMA))
    ratio = _RATIOS[int(random.integers(len(_RATIOS)))]
    first, second = int(kernels[0]), int(kernels[1])
    soft = _scale(cv2.GaussianBlur(cv2.resize(mask, (side, side)), (first, first), 0.0))
    soft[soft < _WHOLE] = 0.0
    soft = _scale(cv2.GaussianBlur(soft, (second, second), sigma))
    return np.clip(cv2.resize(soft, (width, height)), 0.0, 1.0) * np.float32(ratio)


def _scale(mask: np.ndarray) -> np.ndarray:
    highest = float(mask.max())
    return mask / highest if highest > 0 else mask
