"""What a face detector is, and what it finds.

A detector looks at each frame by itself, so a face's box never depends on which other frames were looked
at. It chooses at which sizes to look; it answers in the frame's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from deepfake.config import DetectorConfig
from deepfake.video.frame import Frame

SEARCHED_PIXELS = 24  # the least that a cascade finds; YuNet finds smaller ones, less surely


@dataclass(frozen=True)
class Detection:
    """One face."""

    x: float  # left edge, pixels
    y: float  # top edge
    w: float
    h: float
    score: float
    # x, y of right eye, left eye, nose, right and left mouth corner
    landmarks: tuple[float, ...] | None = None

    @property
    def area(self) -> float:
        """Pixels of the box."""
        return self.w * self.h

    def move(self, x: float, y: float) -> Detection:
        """The same face in an image whose origin lies at ``(-x, -y)``."""
        points = self.landmarks
        if points is not None:
            points = tuple(v + (y if i % 2 else x) for i, v in enumerate(points))
        return replace(self, x=self.x + x, y=self.y + y, landmarks=points)

    def scale(self, factor: float) -> Detection:
        """The same face in an image ``factor`` times as large."""
        points = None if self.landmarks is None else tuple(v * factor for v in self.landmarks)
        return replace(
            self, x=self.x * factor, y=self.y * factor, w=self.w * factor, h=self.h * factor, landmarks=points
        )


class Detector(Protocol):
    """Finds faces in one frame."""

    name: str

    def detect(self, frame: Frame) -> list[Detection]:
        """Faces of an upright frame in its pixels, in any order."""
        ...


def choose_looks(config: DetectorConfig, frame: Frame) -> tuple[int, float]:
    """``(rows, share)``: the short side to which a frame is reduced, and the smallest face as a share of it.

    A face of ``min_face_pixels`` counts in every frame, and keeps SEARCHED_PIXELS in the reduced one.
    """
    short = min(frame.size)
    share = min(config.min_face, config.min_face_pixels / short)
    return max(config.rows, round(SEARCHED_PIXELS * short / config.min_face_pixels)), share


def detect_faces(frame: Frame, detector: Detector) -> list[Detection]:
    """Faces that touch the frame, largest first (ties: left, then upper, first)."""
    height, width = frame.size
    inside = [
        face
        for face in detector.detect(frame)
        if min(face.w, face.h) >= 1
        and min(face.x + face.w, width) - max(face.x, 0) >= 2
        and min(face.y + face.h, height) - max(face.y, 0) >= 2
    ]
    return sorted(inside, key=lambda face: (-face.area, face.x, face.y))
