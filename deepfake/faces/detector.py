"""What a face detector is, and which one a configuration means.

A detector sees one small image and answers in its pixels; ``find`` bounds the image and scales back.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from deepfake.config import DetectorConfig
from deepfake.errors import UsageError
from deepfake.storage import Storage
from deepfake.video import Frame


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

    def scaled(self, factor: float) -> Detection:
        """The same face in an image ``factor`` times as large."""
        points = None if self.landmarks is None else tuple(v * factor for v in self.landmarks)
        return replace(
            self, x=self.x * factor, y=self.y * factor, w=self.w * factor, h=self.h * factor, landmarks=points
        )


class Detector(Protocol):
    """Finds faces in one image."""

    name: str

    def detect(self, bgr: np.ndarray, min_side: int) -> list[Detection]:
        """Faces at least ``min_side`` pixels high in a (h, w, 3) uint8 BGR image, in any order."""
        ...


def find(frame: Frame, detector: Detector, config: DetectorConfig) -> list[Detection]:
    """Faces of a frame in source pixels, largest first (ties: left, then upper, first)."""
    image, scale = frame.small_bgr(config.rows)
    found = detector.detect(image, max(1, round(config.min_face * image.shape[0])))
    height, width = frame.size
    inside = [
        face
        for face in (d.scaled(1.0 / scale) for d in found)
        if face.w > 0 and face.h > 0 and face.x < width and face.y < height
        and face.x + face.w > 0 and face.y + face.h > 0
    ]  # fmt: skip
    return sorted(inside, key=lambda face: (-face.area, face.x, face.y))


def resolve(config: DetectorConfig, storage: Storage) -> DetectorConfig:
    """The configuration with ``auto`` replaced by the detector that will run, for the record.

    ``yunet`` is chosen where its model is configured or cached; nothing is downloaded for ``auto``.
    """
    from deepfake.faces import yunet

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
        from deepfake.faces.haar import HaarDetector

        return HaarDetector(neighbors=config.haar_neighbors)
    if config.name == "yunet":
        from deepfake.faces import yunet

        if config.yunet_model is None:
            raise UsageError("detector.name yunet needs detector.yunet_model")
        return yunet.YuNetDetector(storage.read_bytes(config.yunet_model), config.yunet_threshold)
    raise UsageError(f"detector.name {config.name!r} was not resolved")


def cache_folder() -> Path:
    """Where downloaded models are kept: DEEPFAKE_CACHE, else the user's cache folder."""
    base = os.environ.get("DEEPFAKE_CACHE")
    return (
        Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "deepfake"
    )
