"""High dynamic range and wide gamut as a standard display shows them: BT.709 primaries, BT.1886's curve.

By the formulas of ITU-R BT.2100-2 (PQ; HLG on a display of 1000 cd/m2), BT.2408 (a white of 203 cd/m2 is
white), BT.2087 (primaries) and BT.1886, by table. As FFmpeg's zscale filter does by default, HLG's last
exponent is applied to each colour by itself, and what is brighter than white is white. No wheel of PyAV 18
has that filter; swscale's own conversion is up to five grey levels off and takes three seconds to set up.
"""

from functools import cache

import cv2
import numpy as np
from av.video.reformatter import ColorTrc

# ITU-T H.273, as FFmpeg numbers them.
PQ, HLG = 16, 18  # transfer characteristics
BT709, UNSPECIFIED, BT2020 = 1, 2, 9  # colour primaries

WHITE, HLG_PEAK = 203.0, 1000.0  # cd/m2
GAMMA = 2.4  # BT.1886
STEPS = np.float32(4095)  # of the square root of light
ROWS = 64  # converted at a time, so that a large picture takes little memory

BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def is_standard(transfer: int, primaries: int) -> bool:
    """Whether such a picture is shown as it is stored."""
    return transfer not in (PQ, HLG) and primaries != BT2020


def name_transfer(transfer: int) -> str | None:
    """FFmpeg's name of transfer characteristics; None where there are none."""
    if transfer == UNSPECIFIED or transfer not in list(ColorTrc):
        return None
    return ColorTrc(transfer).name.lower().replace("_", "-")


def to_standard(signal: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """What a standard display shows of a picture: (h, w, 3) uint16 RGB, full range -> uint8 RGB."""
    is_wide = primaries == BT2020 or (primaries == UNSPECIFIED and transfer in (PQ, HLG))
    shown = np.empty(signal.shape, np.uint8)
    for top in range(0, len(signal), ROWS):
        light = _tabulate_light(transfer)[signal[top : top + ROWS]]
        if is_wide:
            light = cv2.transform(light, BT2020_TO_BT709)
        root = np.sqrt(np.clip(light, 0, 1, out=light), out=light)
        shown[top : top + ROWS] = _tabulate_signal()[(root * STEPS + np.float32(0.5)).astype(np.uint16)]
    return shown


@cache
def _tabulate_light(transfer: int) -> np.ndarray:
    """(65536,) float32: light of each value of the signal, 1 for white."""
    signal = np.linspace(0, 1, 65536)
    if transfer == PQ:
        root = signal ** (32 / 2523)
        light = (np.maximum(root - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)
        light *= 10_000 / WHITE
    elif transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        light = light**1.2 * (HLG_PEAK / WHITE)
    else:
        light = signal**GAMMA
    return light.astype(np.float32)


@cache
def _tabulate_signal() -> np.ndarray:
    """(4096,) uint8: the standard signal of each step."""
    return np.rint(255 * np.linspace(0, 1, int(STEPS) + 1) ** (2 / GAMMA)).astype(np.uint8)
