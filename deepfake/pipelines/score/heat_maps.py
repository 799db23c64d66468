"""Crops under their heat maps, for people to look at, drawn by a process of Ray's while others decode.

Where there are no workers they are drawn at once.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import ray
import ray.exceptions

from deepfake.execution import session
from deepfake.execution.process import skip_final_gc
from deepfake.model.heat import overlay_heat
from deepfake.model.inference import AnyNetwork
from deepfake.pipelines.score import evidence
from deepfake.report import images

log = logging.getLogger(__name__)

CPUS = 0.5  # of it, and of each task that decodes for it: on a node of one CPU both have a place
RESTARTS = 2  # of the process, where its node is lost


class HeatPictures:
    """Draws heat maps of one network, which it begins to load at once; none where there is no network."""

    def __init__(self, network: AnyNetwork | None) -> None:
        self._painter: Any = None
        if network is not None and session.workers_exist():
            painter = ray.remote(num_cpus=CPUS, max_restarts=RESTARTS)(_Painter)
            self._painter = painter.remote(ray.put(network))
        elif network is not None:
            self._painter = _Painter(network, threads=None)

    def begin(self, crops: Sequence[np.ndarray]) -> Callable[[], list[bytes | None]]:
        """Begin with crops, each (size, size, 3) uint8 RGB; the function that waits for the pictures.

        It gives each crop under its heat map as JPEG, in order; None for all where they cannot be had.
        """
        nothing: list[bytes | None] = [None] * len(crops)
        if self._painter is None or not len(crops):
            return lambda: nothing
        if isinstance(self._painter, _Painter):
            drawn: list[bytes | None] = [*self._painter.draw(np.stack(crops))]
            return lambda: drawn
        answer = self._painter.draw.remote(np.stack(crops))

        def wait() -> list[bytes | None]:
            try:
                return [*ray.get(answer)]
            except ray.exceptions.RayError as error:
                log.warning("heat maps could not be made: %s", error)
                return nothing

        return wait


class _Painter:
    def __init__(self, network: AnyNetwork, threads: int | None = 1) -> None:
        skip_final_gc()
        self._draw_maps = network.start_heat_maps(threads)

    def draw(self, crops: np.ndarray) -> list[bytes]:
        return [
            images.encode_jpeg(overlay_heat(crop, heat), evidence.JPEG_QUALITY)
            for crop, heat in zip(crops, self._draw_maps(crops), strict=True)
        ]
