"""Movement of the camera and head, changing light and sensor noise: the same for real and fake.

Parameters are drawn once a clip; a fake takes those of its target, as in FaceForensics++ every fake is
aligned frame by frame with its original.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake.pipelines.demo.people import FACE_CENTRE, HEIGHT, WIDTH, Image


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

    zoom: float
    shift: tuple[float, float]  # pixels
    mirrored: bool
    x: Wave
    y: Wave
    scale: Wave
    degrees: Wave
    light: Wave
    noise: NDArray[np.int16]  # larger than a frame; each frame takes a window of it
    windows: NDArray[np.int64]  # (frames, 2) where

    def compute_matrix(self, seconds: float) -> NDArray[np.float64]:
        """The ``(2, 3) float64`` matrix from the canvas to the frame."""
        turn = cv2.getRotationMatrix2D(
            FACE_CENTRE, self.degrees.at(seconds), self.zoom * (1.0 + self.scale.at(seconds))
        )
        turn[:, 2] += (self.shift[0] + self.x.at(seconds), self.shift[1] + self.y.at(seconds))
        if self.mirrored:
            turn[0] = -turn[0]
            turn[0, 2] += WIDTH - 1
        return turn

    def render_frame(self, image: Image, index: int, fps: int) -> Image:
        """One frame of the clip out of the canvas; both (360, 480, 3) uint8 RGB."""
        seconds = index / fps
        moved = cv2.warpAffine(
            image, self.compute_matrix(seconds), (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )  # fmt: skip
        table = np.clip(np.arange(256) * (1.0 + self.light.at(seconds)), 0, 255).astype(np.uint8)
        top, left = self.windows[index]
        noise = self.noise[top : top + HEIGHT, left : left + WIDTH]
        return cv2.add(cv2.LUT(moved, table), noise, dtype=cv2.CV_8U)


def draw_animation(frames: int, rng: np.random.Generator) -> Animation:
    """A new animation for a clip of so many frames."""
    spare = 64
    noise = rng.normal(0.0, rng.uniform(1.5, 3.0), (HEIGHT + spare, WIDTH + spare, 3))
    return Animation(
        zoom=float(rng.uniform(0.95, 1.12)),
        shift=(float(rng.uniform(-30, 30)), float(rng.uniform(-10, 15))),
        mirrored=bool(rng.integers(2)),
        x=_draw_wave(12.0, rng),
        y=_draw_wave(7.0, rng),
        scale=_draw_wave(0.04, rng),
        degrees=_draw_wave(3.0, rng),
        light=_draw_wave(0.08, rng),
        noise=np.rint(noise).astype(np.int16),
        windows=rng.integers(0, spare, (frames, 2)),
    )


def _draw_wave(swing: float, rng: np.random.Generator) -> Wave:
    return Wave(swing, rng.uniform(0.15, 0.6, 2), rng.uniform(0, 2 * np.pi, 2))
