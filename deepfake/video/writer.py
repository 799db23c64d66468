"""Pictures as they come, written as an H.264 video with the times that they have."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

CLOCK = Fraction(1, 90_000)  # MPEG's own
# Whatever ends the job, what was written until then plays.
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
ENCODER = {"crf": "26", "preset": "ultrafast", "tune": "zerolatency"}  # there is other work for the cores


class VideoWriter:
    """An MP4 file; use as a context manager. Pictures of another size than the first are made as large."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._container: Any = None
        self._stream: Any = None
        self._last = -1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def write(self, picture: np.ndarray, time_s: float) -> None:
        """The next picture ``(h, w, 3) uint8 RGB``; one that is not later than the last comes right after."""
        if self._container is None:
            self._open(*picture.shape[:2])
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame = frame.reformat(self._stream.width, self._stream.height, "yuv420p", threads=1)
        self._last = max(self._last + 1, round(time_s / CLOCK))
        frame.pts, frame.time_base = self._last, CLOCK
        self._container.mux(self._stream.encode(frame))

    def _open(self, height: int, width: int) -> None:
        self._container = av.open(str(self._path), "w", options=FRAGMENTED)
        self._stream = self._container.add_stream("libx264", rate=25, options=ENCODER)
        self._stream.width, self._stream.height = max(2, width // 2 * 2), max(2, height // 2 * 2)
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = CLOCK
        self._stream.codec_context.thread_count = 1
