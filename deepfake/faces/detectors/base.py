"""What a face detector is, and what it finds.

A detector looks at each frame by itself, so a face's box never depends on which other frames were looked
at. It chooses at which sizes to look; it answers in the frame's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from deepfake.video.frame import Frame


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
