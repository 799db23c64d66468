"""How near faces are to the edges of their frames, and how that is kept from telling fake from real.

Where a face is close to the edge of its frame, what can be shown around it is moved, or is less. How data
sets were framed differs between their reals and their fakes, so that would be learnt. In training each crop
is therefore shown as if its frame ended also where that of a random crop of the other class does: what is
left is then distributed alike in both classes. Plain numpy; nothing of pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from deepfake.config import CropConfig
from deepfake.faces.cropping import Box, map_into_wide, measure_room, place_square

_LEAST_ROOM = 0.5  # in sides of the box; where two frames leave less in common, a crop's own alone counts


@dataclass(frozen=True)
class Framing:
    """Where a window may be cut out of a picture, in its pixels; a pixel's middle is at a half."""

    centre: tuple[float, float]  # x, y of the middle of the face's box
    room: Box = (-math.inf, -math.inf, math.inf, math.inf)  # left, top, right, bottom of what may be shown


def measure_rooms(crops: pa.Table) -> np.ndarray:
    """``(n, 4) float32``: from the middle of each box to the edges of its frame, in sides of the box.

    To the left, upper, right and lower edge; of a table with ``box``, ``frame_width`` and ``frame_height``.
    """
    box = crops["box"].combine_chunks()
    x, y, w, h, width, height = (
        column.to_numpy().astype(np.float64)
        for column in (*map(box.field, ("x", "y", "w", "h")), crops["frame_width"], crops["frame_height"])
    )
    across, down = x + w / 2, y + h / 2
    edges = np.stack([across, down, width - across, height - down], axis=1)
    return (edges / np.maximum(np.maximum(w, h), 1.0)[:, None]).astype(np.float32)


def find_framing(
    size: int,
    box: Box,
    landmarks: Sequence[float] | None,
    frame_size: tuple[int, int],
    cut: CropConfig,
    other_room: Sequence[float] | None = None,
) -> Framing:
    """Where windows may be cut out of a crop of ``size`` pixels, with its surroundings or without.

    ``cut`` says how it was cut out of its frame. ``other_room`` is a row of ``measure_rooms``: what may be
    shown lies within that, too.
    """
    x, y, w, h = box
    square = place_square(box, frame_size, cut, landmarks)
    less = cut.surround - (size - cut.size) / 2.0  # that the picture has less on each side
    centre = map_into_wide(np.array([[x + w / 2.0, y + h / 2.0]]) - 0.5, square, cut)[0] + 0.5 - less
    room = np.clip(np.array(measure_room(square, frame_size, cut)) - less, 0.0, size)
    if other_room is not None:
        side = max(w, h) * cut.size / square.side
        reach = np.array(other_room) * side
        low, high = np.maximum(room[:2], centre - reach[:2]), np.minimum(room[2:], centre + reach[2:])
        if (high - low).min() >= _LEAST_ROOM * side:
            room = np.concatenate([low, high])
    left, top, right, bottom = room.tolist()
    return Framing((float(centre[0]), float(centre[1])), (left, top, right, bottom))
