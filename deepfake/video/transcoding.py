"""A video's frames written again as H.264 of some quality, as uploads do."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from deepfake.io.tables import Status
from deepfake.video.decoder import VideoFile
from deepfake.video.errors import VideoError

FALLBACK_RATE = Fraction(25)  # frames a second of what lasts for no time
# What x264 writes depends on how many threads it has, and its macroblock tree reads memory that nobody wrote
# (that of PyAV 18.1; MALLOC_PERTURB_ shows it). So the pictures are the same each time, on every machine.
ENCODER = {"preset": "veryfast", "x264-params": "threads=1:mbtree=0"}


def recompress(source: VideoFile, target: Path, crf: int) -> None:
    """Write the frames of an open video as H.264 with this CRF, upright and of square pixels.

    Raises ``VideoError`` where no frame can be decoded.
    """
    info = source.info
    rate = Fraction(info.frames_total / info.duration_s).limit_denominator(1000) if info.duration_s else None
    rate = rate or FALLBACK_RATE
    encoded = None
    with av.open(str(target), "w") as copy:
        for number, frame in enumerate(source.decode_frames(np.arange(len(source.times)))):
            if encoded is None:
                encoded = copy.add_stream("libx264", rate=rate, options={"crf": str(crf), **ENCODER})
                height, width = frame.size
                encoded.width, encoded.height = width // 2 * 2, height // 2 * 2  # 4:2:0 needs even sides
                encoded.pix_fmt = "yuv420p"
            picture = frame.to_picture(encoded.width, encoded.height)
            picture.pts, picture.time_base = number, 1 / rate
            copy.mux(encoded.encode(picture))
        if encoded is None:
            raise VideoError(Status.DECODE_ERROR, source.incomplete or "no frame could be decoded")
        copy.mux(encoded.encode())
