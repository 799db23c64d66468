"""Heat maps as numbers and pictures, whatever made them: ``deepfake.model.grad_cam`` or an exported graph."""

from typing import Literal

import cv2
import numpy as np

Call = Literal["fake", "real"]


def enlarge(coarse: np.ndarray, size: int) -> np.ndarray:
    """Heat ``(size, size) float32`` in [0, 1] of a map's few places, all of them at least 0."""
    fine = cv2.resize(coarse.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    highest = float(fine.max())
    return np.clip(fine / highest, 0.0, 1.0) if highest > 0 else np.zeros_like(fine)


def overlay_heat(crop: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The crop ``(h, w, 3) uint8 RGB`` under its heat ``(h, w)`` in [0, 1]; where cold, as it was."""
    colours = cv2.applyColorMap(np.rint(255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    weight = 0.6 * heat[:, :, None]
    return np.clip(np.rint((1 - weight) * crop + weight * colours), 0, 255).astype(np.uint8)


def measure_share_inside(heat: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Share ``(n,) float64`` of each map's heat that lies where its mask is above 0; nan without heat.

    ``heat`` and ``masks`` are ``(n, h, w)``. Heat that is even everywhere has the mask's share of area.
    """
    inside = np.where(masks > 0, heat, 0.0).sum(axis=(1, 2), dtype=np.float64)
    total = heat.sum(axis=(1, 2), dtype=np.float64)
    return np.divide(inside, total, out=np.full(len(heat), np.nan), where=total > 0)
