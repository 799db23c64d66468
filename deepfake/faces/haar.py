"""The frontal-face Haar cascade that OpenCV carries. Needs no model file; misses turned faces."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from deepfake.errors import JobError
from deepfake.faces.detector import Detection


class HaarDetector:
    """OpenCV's ``haarcascade_frontalface_default`` at scale factor 1.1.

    The score of a face is the number of overlapping hits that were merged into it.
    """

    name = "haar"

    def __init__(self, neighbors: int = 5) -> None:
        path = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise JobError(f"{path}: no cascade there; is this opencv-python-headless below version 5?")
        self._neighbors = neighbors

    def detect(self, bgr: np.ndarray, min_side: int) -> list[Detection]:
        """Faces in a (h, w, 3) uint8 BGR image, in its pixels."""
        grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
        boxes, hits = self._cascade.detectMultiScale2(
            grey, scaleFactor=1.1, minNeighbors=self._neighbors, minSize=(min_side, min_side)
        )
        return [
            Detection(float(x), float(y), float(w), float(h), float(n))
            for (x, y, w, h), n in zip(boxes, hits, strict=True)
        ]
