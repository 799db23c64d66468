"""Crops under their heat maps, for people to look at, drawn in a process of Ray's while others decode.

Heat maps take gradients, which only TensorFlow has: starting it and loading the network takes longer than
hundreds of maps, so it is done once for all.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
import ray.exceptions

from deepfake.errors import UsageError
from deepfake.execution.process import skip_final_gc
from deepfake.io.storage import Storage
from deepfake.model import grad_cam, keras_runtime
from deepfake.model.bundle import Bundle
from deepfake.pipelines.score import evidence
from deepfake.report import images

log = logging.getLogger(__name__)

CROPS_AT_ONCE = 8  # gradients take memory
CPUS = 0.5  # of it, and of each task that decodes for it: on a node of one CPU both have a place
RESTARTS = 2  # of the process, where its node is lost


class HeatPictures:
    """Draws heat maps of one bundle; begins to load it at once. Needs a Ray session."""

    def __init__(self, bundle: str, storage: Storage) -> None:
        painter = ray.remote(num_cpus=CPUS, max_restarts=RESTARTS)(_Painter)
        self._painter: Any = None
        try:  # to read it here: a bundle on this machine's disk need not be on the painter's
            loaded = Bundle.load(bundle, storage, batch_size=CROPS_AT_ONCE)
        except UsageError as error:
            log.warning("heat maps could not be made: %s", error)
        else:
            self._painter = painter.remote(ray.put(loaded))

    def begin(self, crops: Sequence[np.ndarray]) -> Drawing:
        """Begin with crops, each (224, 224, 3) uint8 RGB."""
        begun = self._painter is not None and len(crops) > 0
        return Drawing(len(crops), self._painter.draw.remote(np.stack(crops)) if begun else None)


class Drawing:
    """Pictures that are being drawn."""

    def __init__(self, count: int, drawn: ray.ObjectRef | None = None) -> None:
        self._count, self._drawn = count, drawn

    def wait(self) -> list[bytes | None]:
        """Each crop under its heat map as JPEG, in order; None for all where they cannot be had."""
        if self._drawn is None:
            return [None] * self._count
        try:
            return list(ray.get(self._drawn))
        except ray.exceptions.RayError as error:
            log.warning("heat maps could not be made: %s", error)
            return [None] * self._count


class _Painter:
    def __init__(self, bundle: Bundle) -> None:
        skip_final_gc()
        keras_runtime.start(threads=1)
        self._maps = grad_cam.HeatMaps(bundle)

    def draw(self, crops: np.ndarray) -> list[bytes]:
        heats = self._maps(crops)
        return [
            images.encode_jpeg(grad_cam.overlay(crop, heat), evidence.JPEG_QUALITY)
            for crop, heat in zip(crops, heats, strict=True)
        ]
