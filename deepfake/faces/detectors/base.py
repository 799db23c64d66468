"""What a face detector is, and which one a configuration means.

A detector looks at each frame by itself, so a face's box never depends on which other frames were looked
at. It chooses at which sizes to look; it answers in the frame's pixels.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2

from deepfake.config import DetectorConfig
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.video.frame import Frame


@dataclass(frozen=True)
class Detection:
    """One face."""

    x: float  # left edge, pixels
    y: float  # top edge
    w: float
    h: float
    score: float
    landmarks: tuple[float, ...] | None = (
        None  # x, y of right eye, left eye, nose, right and left mouth corner
    )

    @property
    def area(self) -> float:
        """Pixels of the box."""
        return self.w * self.h

    def moved(self, x: float, y: float) -> Detection:
        """The same face in an image whose origin lies at ``(-x, -y)``."""
        points = self.landmarks
        if points is not None:
            points = tuple(v + (y if i % 2 else x) for i, v in enumerate(points))
        return replace(self, x=self.x + x, y=self.y + y, landmarks=points)

    def scaled(self, factor: float) -> Detection:
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


def find(frame: Frame, detector: Detector) -> list[Detection]:
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


def resolve(config: DetectorConfig, storage: Storage) -> DetectorConfig:
    """The configuration with ``auto`` replaced by the detector that will run, for the record.

    ``yunet`` is chosen where its model is configured or cached; nothing is downloaded for ``auto``.
    """
    from deepfake.faces.detectors import yunet

    if config.name == "haar":
        return config
    if config.name == "yunet":
        return config.model_copy(update={"yunet_model": yunet.locate_model(config, storage, download=True)})
    model = yunet.locate_model(config, storage, download=False)
    if model is None:
        return config.model_copy(update={"name": "haar"})
    return config.model_copy(update={"name": "yunet", "yunet_model": model})


def make(config: DetectorConfig, storage: Storage) -> Detector:
    """A detector, loaded and ready; ``config`` as ``resolve`` gave it."""
    cv2.setNumThreads(0)  # parallelism is the job's; OpenCV's own threads would fight over the cores
    if config.name == "haar":
        from deepfake.faces.detectors.haar import HaarDetector

        return HaarDetector(config)
    if config.name == "yunet":
        from deepfake.faces.detectors import yunet

        if config.yunet_model is None:
            raise UsageError("detector.name yunet needs detector.yunet_model")
        return yunet.YuNetDetector(config, storage.read_bytes(config.yunet_model))
    raise UsageError(f"detector.name {config.name!r} was not resolved")


def cache_folder() -> Path:
    """Where downloaded models are kept: DEEPFAKE_CACHE, else the user's cache folder."""
    base = os.environ.get("DEEPFAKE_CACHE")
    return (
        Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "deepfake"
    )
