"""What happens to footage on its way: crops made worse by known amounts. Plain numpy and OpenCV.

Each change is the same for every crop: no chance but the grain's, which follows from the pixels' place.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from deepfake.report import images


@dataclass(frozen=True)
class Change:
    """One way of making a crop worse, and how much."""

    kind: str  # a key of KINDS, or "none"
    amount: float

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """The changed crop, ``(h, w, 3) uint8 RGB`` like the one given, which stays as it was."""
        return crop if self.kind == "none" else KINDS[self.kind](crop, self.amount)


NONE = Change("none", 0.0)
JPEG, RESIZE, BLUR, NOISE = "JPEG quality", "resized to pixels", "blur, sigma", "noise, sigma"


def _compressed(crop: np.ndarray, quality: float) -> np.ndarray:
    return images.compress(crop, int(quality))


def _resized(crop: np.ndarray, side: float) -> np.ndarray:
    height, width = crop.shape[:2]
    small = cv2.resize(crop, (int(side), int(side)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def _blurred(crop: np.ndarray, sigma: float) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def _noisy(crop: np.ndarray, sigma: float) -> np.ndarray:
    grain = np.random.default_rng(0).standard_normal(crop.shape, np.float32) * np.float32(sigma)
    return np.clip(np.rint(crop + grain), 0, 255).astype(np.uint8)


KINDS = {JPEG: _compressed, RESIZE: _resized, BLUR: _blurred, NOISE: _noisy}
CHANGES: tuple[Change, ...] = (
    NONE,
    *(Change(JPEG, quality) for quality in (90, 70, 50, 30)),
    *(Change(RESIZE, side) for side in (112, 64, 32)),
    *(Change(BLUR, sigma) for sigma in (1, 2, 4)),
    *(Change(NOISE, sigma) for sigma in (4, 8, 16)),
)
