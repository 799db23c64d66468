"""A clip that is known to be good, put through extraction where nothing else comes out of it.

It tells a program that cannot open videos at all from an archive whose files happen to hit one bug. There is
no face in it: what fails with a face only does not show.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.sandbox import PROGRAM, IsolatedExtractor
from deepfake.io.storage import Storage
from deepfake.io.tables import Status

SIZE, FRAMES, RATE = 128, 25, 25  # pixels a side, and a second of them


def failure(config: ExtractConfig, storage: Storage, program: Sequence[str] = PROGRAM) -> str | None:
    """Why a clip made here cannot be decoded by a child process as a worker's; None where it can."""
    extractor = IsolatedExtractor(config, storage, program, tell=False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            clip = Path(folder, "canary.mp4")
            write_clip(clip)
            video = extractor.extract({"video_id": clip.name, "uri": str(clip), "label": None}).video
    finally:
        extractor.close()
    return video["status_detail"] if video["status"] == Status.DECODE_ERROR else None


def write_clip(path: Path) -> None:
    """A grey ramp that moves, in MPEG-4, which every build of FFmpeg writes and reads."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        ramp = np.linspace(0, 255, SIZE).astype(np.uint8)
        for i in range(FRAMES):
            picture = np.broadcast_to(np.roll(ramp, i)[None, :, None], (SIZE, SIZE, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
