"""Known mistakes of training recipes, on purpose: to measure what they do to numbers. Never a default.

The configuration is ``faults``; each mistake is done in one place. Rotated copies and the split of frames are
here. The division by 255 and the swapped colours are layers of the network (``model.network``), so that what
is saved scores exactly as it was trained.
"""

import logging

import cv2
import numpy as np

from deepfake.config import FaultsConfig
from deepfake.crops.dataset import Rows

log = logging.getLogger(__name__)

DEGREES = 5.0
VALIDATION_SHARE = 0.2
_FRAME_SPLIT = 4  # what the random stream is for; others are in ``deepfake.training.data``

WORDS = {
    "frame_split": "training and validation show the same videos",
    "rotate_fakes": "of every fake there is a copy with black corners, so the corners tell fakes",
    "divide_by_255": "the network gets an almost constant image",
    "bgr": "the network takes red for blue",
}


def warn_of_faults(faults: FaultsConfig) -> None:
    """Say each mistake that is switched on, so that nobody takes the numbers for results."""
    for name in faults.list_names():
        log.warning("faults.%s is on: %s. The validation numbers of this run mean nothing", name, WORDS[name])


def add_rotated_copies(rows: Rows) -> Rows:
    """The rows, then a turned copy of every fake."""
    return rows.add_copies(np.flatnonzero(rows.label == 1), "turned")


def split_frames(rows: Rows, seed: int) -> tuple[Rows, Rows]:
    """Training and validation rows, chosen at random whatever video they are of."""
    order = np.random.default_rng((seed, _FRAME_SPLIT)).permutation(len(rows))
    held_out = round(len(rows) * VALIDATION_SHARE)
    return rows.take(np.sort(order[held_out:])), rows.take(np.sort(order[:held_out]))


def turn_crop(crop: np.ndarray) -> np.ndarray:
    """The crop ``(h, w, 3) uint8`` rotated by five degrees, with the black corners that this uncovers."""
    height, width = crop.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), DEGREES, 1.0)
    return cv2.warpAffine(
        crop, matrix, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=(0, 0, 0)
    )
