"""The frontal-face Haar cascade that OpenCV carries. Needs no model file; misses turned faces."""

from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from deepfake.config import DetectorConfig
from deepfake.errors import JobError
from deepfake.faces.detectors.base import Detection, choose_looks
from deepfake.video.frame import Frame

# The quick look: half the rows, coarser steps, fewer hits asked for. What it finds must be found again at
# full rows near the same place and size, which costs little, gives the box, and drops most false faces.
QUICK_SCALE_FACTOR, QUICK_NEIGHBORS = 1.3, 2
SCALE_FACTOR = 1.1
NEAR = 0.35  # of the face's side, searched around it
SMALLER, LARGER = 0.7, 1.4  # of the face's side, searched for

_FILE = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"


def load_cascade() -> cv2.CascadeClassifier:
    """OpenCV's cascade for frontal faces; raises ``JobError`` where this OpenCV has none."""
    cascade = cv2.CascadeClassifier(str(_FILE))
    if cascade.empty():
        raise JobError(f"{_FILE}: no cascade there; is this opencv-python-headless below version 5?")
    return cascade


class HaarDetector:
    """OpenCV's ``haarcascade_frontalface_default``.

    Where one face is wanted, a quick look comes first, and the slow search of the whole frame only where
    that finds nothing. The score of a face is its level weight: by how much its best hit passed the cascade's
    last stage, 0 or more. On FF++ clips faces have 5 to 15, what is no face less than 1.
    """

    name = "haar"

    def __init__(self, config: DetectorConfig) -> None:
        self._cascade = load_cascade()
        self._config = config
        # OpenCV tells no cascade's number of stages: the file does.
        self._stages = int(ElementTree.parse(_FILE).findtext("./cascade/stageNum") or 0)

    def detect(self, frame: Frame) -> list[Detection]:
        """Faces of an upright frame in its pixels."""
        rows, share = choose_looks(self._config, frame)
        grey, scale = frame.shrink_grey(rows)
        found = self._confirm(grey, self._look_quickly(grey, share)) if self._config.keep == "largest" else []
        if not found:
            found = self._search(
                grey, _find_min_side(grey, share), None, SCALE_FACTOR, self._config.haar_neighbors
            )
        return [face.scale(1.0 / scale) for face in found]

    def _look_quickly(self, grey: np.ndarray, share: float) -> list[Detection]:
        """Candidates from the halved image, in the pixels of ``grey``."""
        height, width = grey.shape
        half = cv2.resize(grey, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
        found = self._search(half, _find_min_side(half, share), None, QUICK_SCALE_FACTOR, QUICK_NEIGHBORS)
        return [face.scale(2.0) for face in found]

    def _confirm(self, grey: np.ndarray, candidates: list[Detection]) -> list[Detection]:
        """The candidates that a search around each of them confirms, each as its surest hit."""
        height, width = grey.shape
        confirmed = []
        for face in candidates:
            reach = NEAR * face.w
            left, top = max(0, int(face.x - reach)), max(0, int(face.y - reach))
            right, bottom = int(face.x + face.w + reach), int(face.y + face.h + reach)
            part = grey[top : min(height, bottom), left : min(width, right)]
            sides = (int(face.w * SMALLER), int(face.w * LARGER))
            if hits := self._search(part, *sides, SCALE_FACTOR, self._config.haar_neighbors):
                surest = max(hits, key=lambda hit: (hit.score, hit.area, -hit.x, -hit.y))
                confirmed.append(surest.move(left, top))
        return confirmed

    def _search(
        self, grey: np.ndarray, smallest: int, largest: int | None, factor: float, neighbors: int
    ) -> list[Detection]:
        # Windows that fail in the last three of the cascade's stages are reported too; ``levels`` tells them.
        boxes, levels, weights = self._cascade.detectMultiScale3(
            grey,
            scaleFactor=factor,
            minNeighbors=neighbors,
            minSize=(smallest, smallest),
            maxSize=(largest, largest) if largest else (0, 0),
            outputRejectLevels=True,
        )
        return [
            Detection(float(x), float(y), float(w), float(h), max(0.0, float(weight)))
            for (x, y, w, h), level, weight in zip(boxes, np.ravel(levels), np.ravel(weights), strict=True)
            if level == self._stages
        ]


def _find_min_side(grey: np.ndarray, share: float) -> int:
    return max(1, round(share * min(grey.shape)))
