"""A grid of captioned crops as one picture, to see at a glance whether the crops are upright faces."""

from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np

from deepfake.report.images import encode_file, encode_jpeg

Image = np.ndarray

CAPTION_ROWS = 34
GAP = 6
PAPER, INK = 255, 40
JPEG_QUALITY = 92
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.38


def build_sheet(
    images: Sequence[tuple[str, Image]],
    columns: int = 8,
    side: int = 160,
    kind: Literal["png", "jpeg"] = "png",
) -> bytes:
    """A picture file of a grid, row by row, each image above its caption.

    Args:
        images: ``(caption, (h, w, 3) uint8 RGB)``. A caption has two lines, broken at its newline if there
            is one, and is cut to fit; what is not ASCII is shown as ``?``, for OpenCV's fonts have
            nothing else.
        columns: images in a row.
        side: images are scaled to fit into a square of so many pixels, keeping their shape.
        kind: ``png`` has the pixels as they are; ``jpeg`` is made in a ninth of the time and has a fifth of
            the size.

    Raises ``ValueError`` for no images, or an image that is not uint8 RGB.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one image")
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    cell_h, cell_w = side + CAPTION_ROWS + GAP, side + GAP
    sheet = np.full((rows * cell_h + GAP, columns * cell_w + GAP, 3), PAPER, np.uint8)
    for i, (caption, image) in enumerate(images):
        top, left = GAP + i // columns * cell_h, GAP + i % columns * cell_w
        fitted = _fit_image(image, side, caption)
        h, w = fitted.shape[:2]
        y, x = top + (side - h) // 2, left + (side - w) // 2
        sheet[y : y + h, x : x + w] = fitted
        for line, words in enumerate(_break_lines(caption, side)):
            at = (left, top + side + 13 + 15 * line)
            cv2.putText(sheet, words, at, FONT, FONT_SCALE, (INK,) * 3, 1, cv2.LINE_AA)
    return encode_jpeg(sheet, JPEG_QUALITY) if kind == "jpeg" else encode_file(sheet, ".png")


def _fit_image(image: Image, side: int, caption: str) -> Image:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"{caption}: expected (h, w, 3) uint8 RGB, got {image.shape} {image.dtype}")
    scale = side / max(image.shape[:2])
    h, w = (max(1, round(length * scale)) for length in image.shape[:2])
    method = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR  # which takes a tenth, and skips no pixel
    return cv2.resize(image, (w, h), interpolation=method)


def _break_lines(caption: str, width: int) -> list[str]:
    """At most two lines that fit; where something is left out, dots say so."""
    per_line = max(4, int(width / cv2.getTextSize("0" * 20, FONT, FONT_SCALE, 1)[0][0] * 20))
    if caption.count("\n") == 1:
        parts = (p if len(p) <= per_line else ".." + p[2 - per_line :] for p in caption.split("\n"))
        return [line for part in parts for line in _break_lines(part, width)]
    text = "".join(c if " " <= c <= "~" else "?" for c in caption)
    if len(text) > 2 * per_line:
        text = text[: per_line - 2] + ".." + text[-per_line:]
    return [part for part in (text[:per_line], text[per_line:]) if part]
