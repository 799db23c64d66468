"""Movement of the camera and head, changing light and sensor noise: how a clip is filmed.

Parameters are drawn once a clip; a fake takes those of its target, as in FaceForensics++ every fake is
aligned frame by frame with its original.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake.pipelines.demo.people import FACE_CENTRE, Image, measure_canvas


@dataclass(frozen=True)
class Wave:
    """A slow sum of two sines with a given largest swing."""

    swing: float
    rates: NDArray[np.float64]  # (2,) per second
    phases: NDArray[np.float64]  # (2,) radians

    def at(self, seconds: float) -> float:
        """Value in [-swing, swing]."""
        return self.swing * float(np.sin(2 * np.pi * self.rates * seconds + self.phases).mean())


@dataclass(frozen=True)
class Animation:
    """How one clip moves and is lit."""

    scale: float  # of the canvas
    zoom: float
    shift: tuple[float, float]  # pixels
    mirrored: bool
    x: Wave
    y: Wave
    distance: Wave
    degrees: Wave
    light: Wave
    noise: NDArray[np.int16]  # larger than a frame; each frame takes a window of it
    windows: NDArray[np.int64]  # (frames, 2) where

    def compute_matrix(self, seconds: float) -> NDArray[np.float64]:
        """The ``(2, 3) float64`` matrix from the canvas to the frame."""
        centre = np.multiply(FACE_CENTRE, self.scale)
        turn = cv2.getRotationMatrix2D(
            centre, self.degrees.at(seconds), self.zoom * (1.0 + self.distance.at(seconds))
        )
        turn[:, 2] += (self.shift[0] + self.x.at(seconds), self.shift[1] + self.y.at(seconds))
        if self.mirrored:
            turn[0] = -turn[0]
            turn[0, 2] += measure_canvas(self.scale)[0] - 1
        return turn

    def render_frame(self, image: Image, index: int, fps: int) -> Image:
        """One frame of the clip out of the canvas; both (height, width, 3) uint8 RGB."""
        seconds = index / fps
        height, width = image.shape[:2]
        moved = cv2.warpAffine(
            image, self.compute_matrix(seconds), (width, height), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )  # fmt: skip
        table = np.clip(np.arange(256) * (1.0 + self.light.at(seconds)), 0, 255).astype(np.uint8)
        top, left = self.windows[index]
        noise = self.noise[top : top + height, left : left + width]
        return cv2.add(cv2.LUT(moved, table), noise, dtype=cv2.CV_8U)


def draw_animation(frames: int, rng: np.random.Generator, scale: float = 1.0) -> Animation:
    """A new animation for a clip of so many frames."""
    spare = 64
    width, height = measure_canvas(scale)
    deviation = rng.uniform(1.6, 3.2) / scale  # a cheap camera has small and noisy pictures
    noise = rng.normal(0.0, deviation, (height + spare, width + spare, 3))
    return Animation(
        scale=scale,
        zoom=float(rng.uniform(0.95, 1.12)),
        shift=(scale * float(rng.uniform(-30, 30)), scale * float(rng.uniform(-10, 15))),
        mirrored=bool(rng.integers(2)),
        x=_draw_wave(12.0 * scale, rng),
        y=_draw_wave(7.0 * scale, rng),
        distance=_draw_wave(0.04, rng),
        degrees=_draw_wave(3.0, rng),
        light=_draw_wave(0.08, rng),
        noise=np.rint(noise).astype(np.int16),
        windows=rng.integers(0, spare, (frames, 2)),
    )


def _draw_wave(swing: float, rng: np.random.Generator) -> Wave:
    return Wave(swing, rng.uniform(0.15, 0.6, 2), rng.uniform(0, 2 * np.pi, 2))
