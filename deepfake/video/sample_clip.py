"""A small clip that is known to be good, made here and now."""

from pathlib import Path

import av
import numpy as np

SIZE, FRAMES, RATE = 128, 25, 25  # pixels a side, and a second of them


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
