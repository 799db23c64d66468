"""Stateless augmentation of one training crop. Plain numpy and OpenCV; knows nothing of labels or of Ray.

What is done to a crop depends only on (seed, epoch, sample id): not on the worker, the order, or the class.
Real and fake crops therefore see the same distribution of changes, and a resumed epoch sees the same pixels.
"""

import hashlib
from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.config import AugmentConfig
from deepfake.crops.framing import Framing
from deepfake.report import images

_BLUR_SIGMA = (0.5, 1.5)  # pixels
_NOISE_SIGMA = (2.0, 8.0)  # grey levels
_DOWNSCALE = (0.4, 0.9)  # share of the side
_CUTOUT = (0.1, 0.35)  # share of the side
_MIRROR = 0.2  # most of the side
_GREY = 127


@dataclass(frozen=True)
class DrawnChanges:
    """Everything random about one sample, drawn in a fixed order so that options do not shift each other."""

    flip: bool
    degrees: float
    scale: float
    brightness: float  # grey levels
    contrast: float
    blur: float | None
    noise: float | None
    noise_seed: int
    downscale: float | None
    jpeg: int | None
    cutout: tuple[float, float, float, float] | None  # x, y, w, h as shares of the side
    hue_degrees: float = 0.0
    saturation: float = 1.0
    rgb_shift: tuple[float, ...] = (0.0, 0.0, 0.0)  # grey levels
    move: tuple[float, float] = (0.0, 0.0)  # shares of the side
    mirror: tuple[int, float] | None = None  # which edge, and how much of the side


def make_random(seed: int, epoch: int, sample_id: str, purpose: str = "") -> np.random.Generator:
    """The random numbers of one sample in one epoch, others for each purpose."""
    name = f"{seed}|{epoch}|{sample_id}" + (f"|{purpose}" if purpose else "")
    key = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(key, "big"))


def draw_changes(config: AugmentConfig, seed: int, epoch: int, sample_id: str) -> DrawnChanges:
    """The changes that one sample gets in one epoch."""
    random = make_random(seed, epoch, sample_id)
    chance = random.random(6)
    signed = random.uniform(-1.0, 1.0, 4)
    share = random.random(8)
    low, high = config.jpeg_quality
    noise_seed = int(random.integers(2**63))
    hue, saturation, *rgb = random.uniform(-1.0, 1.0, 5).tolist()
    x, y = (random.uniform(-1.0, 1.0, 2) * config.translation).tolist()
    mirrored, width_mirrored = random.random(2).tolist()
    edge = int(random.integers(4))
    is_lit, is_coloured = (random.random(2) < (config.light, config.colour)).tolist()

    def between(bounds: tuple[float, float], index: int) -> float:
        return float(bounds[0] + (bounds[1] - bounds[0]) * share[index])

    width, height = between(_CUTOUT, 4), between(_CUTOUT, 5)
    cutout = (float(share[6] * (1 - width)), float(share[7] * (1 - height)), width, height)
    return DrawnChanges(
        flip=bool(chance[0] < config.flip),
        degrees=float(signed[0] * config.rotation_degrees),
        scale=float(1.0 + signed[1] * config.scale),
        brightness=float(255.0 * signed[2] * config.brightness * is_lit),
        contrast=float(1.0 + signed[3] * config.contrast * is_lit),
        blur=between(_BLUR_SIGMA, 0) if chance[1] < config.blur else None,
        noise=between(_NOISE_SIGMA, 1) if chance[2] < config.noise else None,
        noise_seed=noise_seed,
        downscale=between(_DOWNSCALE, 2) if chance[3] < config.downscale else None,
        jpeg=min(high, low + int(share[3] * (high - low + 1))) if chance[4] < config.jpeg else None,
        cutout=cutout if chance[5] < config.cutout else None,
        hue_degrees=hue * config.hue_degrees * is_coloured,
        saturation=1.0 + saturation * config.saturation * is_coloured,
        rgb_shift=tuple(one * config.rgb_shift * is_coloured for one in rgb),
        move=(x, y),
        mirror=(edge, width_mirrored * _MIRROR) if mirrored < config.mirror else None,
    )


def apply_changes(
    picture: np.ndarray, changes: DrawnChanges, size: int | None = None, framing: Framing | None = None
) -> np.ndarray:
    """The changed crop, ``(size, size, 3) uint8 RGB``, of a picture of the same kind, which stays as it was.

    ``size`` is the picture's own by default. First come light and colour and what cameras and uploads do:
    blur, noise, scaling, JPEG; then the window is cut, which resamples their traces, as that of a face in a
    compressed frame does. Borders that a rotation uncovers are filled by reflection: a black corner would
    tell which crops were rotated.
    """
    shift = tuple(changes.brightness + one for one in changes.rgb_shift)
    image = recolour(picture, changes.contrast, changes.hue_degrees, changes.saturation, shift)
    if changes.blur is not None:
        image = images.blur(image, changes.blur)
    if changes.noise is not None:
        image = images.add_noise(image, changes.noise, np.random.default_rng(changes.noise_seed))
    if changes.downscale is not None:
        height, width = image.shape[:2]
        image = images.resample(image, (round(width * changes.downscale), round(height * changes.downscale)))
    if changes.jpeg is not None:
        image = images.compress_jpeg(image, changes.jpeg)
    image = cut_window(image, changes, len(picture) if size is None else size, framing)
    if changes.mirror is not None:
        image = _mirror_edge(image, *changes.mirror)
    if changes.cutout is not None:
        image = _cut_out(image, changes.cutout)
    return np.ascontiguousarray(image)


def cut_window(
    picture: np.ndarray, changes: DrawnChanges, size: int, framing: Framing | None = None
) -> np.ndarray:
    """A window ``(size, size, 3) uint8`` of a picture, moved, turned, scaled and flipped.

    Without ``framing`` it lies about the picture's middle, and what it shows beyond the picture is mirrored.
    With it, it lies about the face, is moved until it lies within the room, and where it is larger than the
    room made smaller.
    """
    still = changes.degrees == 0.0 and changes.scale == 1.0 and changes.move == (0.0, 0.0)
    if framing is None and still and len(picture) == size:
        return cv2.flip(picture, 1) if changes.flip else picture.copy()
    middle = (picture.shape[1] / 2.0, picture.shape[0] / 2.0)
    centre, side = place_window(changes, size, framing or Framing(middle))
    matrix = cv2.getRotationMatrix2D((0.0, 0.0), changes.degrees, size / side)
    matrix[:, 2] = (size - 1) / 2.0 - matrix[:, :2] @ (centre - 0.5)
    if changes.flip:
        matrix = np.array([[-1.0, 0.0, size - 1.0], [0.0, 1.0, 0.0]]) @ np.vstack([matrix, [0.0, 0.0, 1.0]])
    return cv2.warpAffine(
        picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )


def place_window(changes: DrawnChanges, size: int, framing: Framing) -> tuple[np.ndarray, float]:
    """Centre ``(2,) float64`` and side of a window, in the picture's pixels; see ``cut_window``."""
    turn = np.deg2rad(changes.degrees)
    extent = float(abs(np.cos(turn)) + abs(np.sin(turn)))  # of the turned window, in its sides
    low, high = np.array(framing.room[:2]), np.array(framing.room[2:])
    side = min(size / changes.scale, float((high - low).min()) / extent)
    centre = np.array(framing.centre) + np.array(changes.move) * side
    reach = side * extent / 2.0
    return np.clip(centre, low + reach, high - reach), side


def recolour(
    image: np.ndarray,
    contrast: float = 1.0,
    hue_degrees: float = 0.0,
    saturation: float = 1.0,
    shift: tuple[float, ...] = (0.0, 0.0, 0.0),
) -> np.ndarray:
    """``(h, w, 3) uint8 RGB`` in other light and colours; the same array where nothing is asked for.

    All of it is one linear map of each pixel's three values: hue turns about the grey axis, saturation is
    the distance from it, contrast that from the mean; ``shift`` is in grey levels.
    """
    if (contrast, hue_degrees, saturation) == (1.0, 0.0, 1.0) and not any(shift):
        return image
    grey = np.full((3, 3), 1.0 / 3.0)
    angle = np.deg2rad(hue_degrees)
    across = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / np.sqrt(3.0)
    turn = np.cos(angle) * (np.eye(3) - grey) + np.sin(angle) * across  # of what is not grey (Rodrigues)
    linear = contrast * (grey + saturation * turn)
    offset = (1.0 - contrast) * float(image.mean()) + np.asarray(shift)
    return cv2.transform(image, np.column_stack([linear, offset]))


def _mirror_edge(image: np.ndarray, edge: int, share: float) -> np.ndarray:
    """The image with a strip along one edge mirrored from inside, as where a face leaves its frame."""
    turned = np.rot90(image, edge)
    width = round(share * len(turned))
    return np.ascontiguousarray(
        np.rot90(np.concatenate([turned[width : 2 * width][::-1], turned[width:]]), -edge)
    )


def _cut_out(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    height, width = image.shape[:2]
    left, top = int(box[0] * width), int(box[1] * height)
    result = image.copy()
    result[top : top + int(box[3] * height), left : left + int(box[2] * width)] = _GREY
    return result
