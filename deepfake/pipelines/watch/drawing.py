"""A frame with a box around each face, and beside it the running score and the verdict."""

from collections.abc import Sequence

import cv2
import numpy as np

from deepfake.model.verdicts import VERDICT_WORDS
from deepfake.pipelines.watch.judging import JudgedFace

# RGB; a face without a verdict is grey, so that no colour says what nothing proves.
COLOURS = {"likely_fake": (214, 40, 40), "uncertain": (230, 160, 0), "likely_real": (30, 130, 76)}
NO_VERDICT = (110, 110, 110)
FONT = cv2.FONT_HERSHEY_SIMPLEX
PICTURE_HEIGHT = 480  # of which the letters have their natural size


def draw_faces(
    picture: np.ndarray, faces: Sequence[JudgedFace], frame_width: int, footer: str = ""
) -> np.ndarray:
    """A copy of a picture ``(h, w, 3) uint8 RGB`` of a frame so wide, with its faces and a line below."""
    drawn = picture.copy()
    size = max(0.4, picture.shape[0] / PICTURE_HEIGHT * 0.5)
    scale = picture.shape[1] / frame_width
    for face in faces:
        x, y, w, h = (round(scale * value) for value in face.box)
        colour = COLOURS.get(face.verdict or "", NO_VERDICT)
        cv2.rectangle(drawn, (x, y), (x + w, y + h), colour, max(1, round(3 * size)))
        words = VERDICT_WORDS[face.verdict] if face.verdict else "no verdict"
        _write(drawn, f"face {face.track}: {face.running:.2f} {words}", (x, y), colour, size)
    if footer:
        _write(drawn, footer, (0, len(drawn)), (0, 0, 0), size)
    return drawn


def _write(
    picture: np.ndarray, text: str, corner: tuple[int, int], colour: tuple[int, int, int], size: float
) -> None:
    """White letters on a bar whose lower left corner is this one, moved into the picture."""
    (width, height), below = cv2.getTextSize(text, FONT, size, 1)
    bar = height + below + 4
    x = max(0, min(corner[0], picture.shape[1] - width - 4))
    y = max(bar, min(corner[1], len(picture)))
    cv2.rectangle(picture, (x, y - bar), (x + width + 4, y), colour, cv2.FILLED)
    cv2.putText(picture, text, (x + 2, y - below - 2), FONT, size, (255, 255, 255), 1, cv2.LINE_AA)
