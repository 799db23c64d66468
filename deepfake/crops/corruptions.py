"""What happens to footage on its way: crops made worse by known amounts. Plain numpy and OpenCV.

Each change is the same for every crop: the noise, too, is the same for each.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from deepfake.report import images


@dataclass(frozen=True)
class Corruption:
    """One way of making a crop worse, and how much."""

    kind: str  # a key of KINDS, or "none"
    amount: float

    def __call__(self, crop: np.ndarray) -> np.ndarray:
        """The changed crop, ``(h, w, 3) uint8 RGB`` like the one given, which stays as it was."""
        return crop if self.kind == "none" else KINDS[self.kind](crop, self.amount)


NONE = Corruption("none", 0.0)
JPEG, RESIZE, BLUR, NOISE = "JPEG quality", "resized to pixels", "blur, sigma", "noise, sigma"


KINDS: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = {
    JPEG: lambda crop, quality: images.compress_jpeg(crop, int(quality)),
    RESIZE: lambda crop, side: images.resample(crop, (int(side), int(side))),
    BLUR: images.blur,
    NOISE: lambda crop, sigma: images.add_noise(crop, sigma, np.random.default_rng(0)),
}
CORRUPTIONS: tuple[Corruption, ...] = (
    NONE,
    *(Corruption(JPEG, quality) for quality in (90, 70, 50, 30)),
    *(Corruption(RESIZE, side) for side in (112, 64, 32)),
    *(Corruption(BLUR, sigma) for sigma in (1, 2, 4)),
    *(Corruption(NOISE, sigma) for sigma in (4, 8, 16)),
)
