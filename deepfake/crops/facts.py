"""What is known of stored crops besides their pixels, as numbers. None of it should tell fake from real.

Where it does, a detector can learn it in place of the forgery: the leak check probes for that, and evaluation
says what can be reached by it.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from deepfake.video.sampling import spread_evenly

# Numbers that hold no pixel: what ``describe_boxes`` makes, the bytes of a crop, and columns of the crops.
FACTS = (
    "box_side", "box_area", "box_aspect", "sharpness", "detector_score", "crop_bytes",
    "padded", "shift", "shrink",
)  # fmt: skip
COLUMNS = ("box", "frame_width", "frame_height", *FACTS[3:5], *FACTS[6:])  # that they are made of


def collect_facts(crops: pa.Table, sizes: np.ndarray) -> np.ndarray:
    """``(n, len(FACTS)) float64`` of ``n`` rows with ``COLUMNS``, nan where not known.

    ``sizes`` ``(n,)`` are the bytes of the stored crops.
    """
    made: Mapping[str, np.ndarray] = {**describe_boxes(crops), "crop_bytes": np.asarray(sizes, np.float64)}
    return np.stack([made[name] if name in made else read_floats(crops[name]) for name in FACTS], axis=1)


def describe_boxes(crops: pa.Table) -> dict[str, np.ndarray]:
    """Where faces are and how large, relative to their frames; ``box_side`` in source pixels. ``(n,)`` each.

    ``crops`` has the columns ``box``, ``frame_width`` and ``frame_height``.
    """
    box = crops["box"].combine_chunks()
    x, y, w, h = (box.field(name).to_numpy().astype(np.float64) for name in ("x", "y", "w", "h"))
    width, height = read_floats(crops["frame_width"]), read_floats(crops["frame_height"])
    side = np.maximum(w, h)
    outside = np.max([-x, -y, x + w - width, y + h - height], axis=0)
    return {
        "box_x": (x + w / 2) / width,
        "box_y": (y + h / 2) / height,
        "box_aspect": w / np.maximum(h, 1e-6),
        "box_area": w * h / (width * height),
        "box_outside": np.maximum(0.0, outside) / np.maximum(side, 1e-6),
        "box_side": side,
    }


def read_floats(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers as ``(n,) float64``, nan where null."""
    return column.cast(pa.float64()).to_numpy().astype(np.float64)


def choose_evenly(video: np.ndarray, most: int) -> np.ndarray:
    """Positions ``(k,) int64`` of at most ``most`` rows of each video, each in the middle of its share.

    ``video`` ``(n,)`` are the numbers of the rows' videos, sorted.
    """
    starts = np.flatnonzero(np.diff(video, prepend=-1))
    sizes = np.diff(np.append(starts, len(video)))
    shares = zip(starts.tolist(), sizes.tolist(), strict=True)
    return np.concatenate([np.empty(0, np.int64), *(a + spread_evenly(size, most) for a, size in shares)])
