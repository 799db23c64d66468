"""Small video clips of moving, textured pictures, encoded by the tests themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def picture(t: float, width: int = 192, height: int = 144) -> np.ndarray:
    """(height, width, 3) uint8 RGB: a texture that moves with ``t`` in seconds, a bright disc on it."""
    rng = np.random.default_rng(7)
    texture = cv2.resize(rng.integers(0, 160, (24, 48, 3), np.uint8), (width * 2, height))
    shift = int(40 * t) % width
    image = np.ascontiguousarray(texture[:, shift : shift + width])
    centre = (int(width * (0.5 + 0.3 * np.sin(2 * t))), int(height * (0.5 + 0.3 * np.cos(3 * t))))
    cv2.circle(image, centre, height // 8, (250, 60, 30), -1)
    return image


def write_clip(
    path: Path,
    *,
    codec: str = "libx264",
    frames: int = 60,
    rate: int = 25,
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: Sequence[float] | None = None,
    rotation: int = 0,
    size: tuple[int, int] = (192, 144),
    muxer: dict[str, str] | None = None,
    sound: bool = False,
    title: str = "",
) -> Path:
    """Encode a clip; ``times`` in seconds make a variable frame rate. The container is the suffix's.

    ``muxer`` has options for it; ``sound`` adds a track of noise, interleaved.
    """
    width, height = size
    with av.open(str(path), "w", options=muxer or {}) as container:
        if title:
            container.metadata["title"] = title
        stream = container.add_stream(codec, rate=rate)
        noise = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        samples = 0
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        if options:
            stream.options = options
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for i in range(frames):
            t = times[i] if times is not None else i / rate
            frame = av.VideoFrame.from_ndarray(picture(t, width, height), format="rgb24")
            if pix_fmt != "rgb24":
                frame = frame.reformat(format=pix_fmt)
            if times is not None:
                frame.pts, frame.time_base = round(t * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
            for heard in _noise(samples, (i + 1) * 44100 // rate) if noise else []:
                container.mux(noise.encode(heard))
                samples += 1024
        container.mux(stream.encode(None))
        if noise is not None:
            container.mux(noise.encode(None))
    if hasattr(os, "sched_setscheduler"):
        # Run by root, SVT-AV1 gives this thread real-time priority, and what it starts later inherits that.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def _noise(start: int, stop: int) -> list[av.AudioFrame]:
    """Sound of a whole number of 1024 samples that begin from ``start`` and before ``stop``."""
    frames = []
    for first in range(start, stop, 1024):
        samples = np.random.default_rng(first).uniform(-0.1, 0.1, (1, 1024)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 44100, first, Fraction(1, 44100)
        frames.append(frame)
    return frames


def decode_everything(path: Path) -> list[np.ndarray]:
    """(h, w, 3) uint8 RGB of every frame, with PyAV's plain loop."""
    return [frame.to_ndarray(format="rgb24") for frame in _decode(path)]


def decode_and_convert(path: Path, every_n: int) -> list[np.ndarray | None]:
    """The same, of a clip so large that only each ``every_n``-th frame is converted; None for the others."""
    return [
        None if number % every_n else frame.to_ndarray(format="rgb24")
        for number, frame in enumerate(_decode(path))
    ]


def _decode(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield from container.decode(stream)
