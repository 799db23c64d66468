"""What the job is measured against: the loop that people write, and the decoding that nobody can leave out.

Both are written for speed, not as straw men: nothing is loaded twice, and they know no bookkeeping.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from deepfake.config import PreprocessJobConfig
from deepfake.faces.detectors.haar import load_cascade


@dataclass(frozen=True)
class Tally:
    """What came out of some clips."""

    frames: int = 0  # frames looked at: those that the sampling keeps
    crops: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.frames + other.frames, self.crops + other.crops)


_load_cascade = functools.cache(load_cascade)  # once in each process


def run_naive_loop(path: str, folder: str, config: PreprocessJobConfig, threads: bool) -> Tally:
    """Read every frame with OpenCV, search each n-th at full size with Haar, save the crops as PNG files.

    ``threads``: OpenCV's own, in decoding and in the search, as they are when nobody touches them; or off,
    for several processes of several threads each may stand in each other's way.
    The crops are those that the job keeps: one face a frame, the largest, or all of them.
    """
    cv2.setNumThreads(-1 if threads else 0)
    cascade = _load_cascade()
    options = [] if threads else [cv2.CAP_PROP_N_THREADS, 1]
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, options)
    size = (config.crop.size, config.crop.size)
    index = frames = crops = 0
    while True:
        found, frame = capture.read()
        if not found:
            break
        if index % config.sampling.every_n == 0:
            frames += 1
            grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            boxes = sorted(cascade.detectMultiScale(grey, 1.1, 5), key=lambda box: -int(box[2]) * int(box[3]))
            for number, box in enumerate(boxes[:1] if config.detector.keep == "largest" else boxes):
                face = cv2.resize(_cut_with_margin(frame, box, config.crop.margin), size)
                cv2.imwrite(f"{folder}/{Path(path).stem}_{index:06d}_{number}.png", face)
                crops += 1
        index += 1
    capture.release()
    return Tally(frames, crops)


def decode_reference_frames(path: str, every_n: int) -> Tally:
    """Decode the reference frames, on one thread, and do nothing with them.

    Every packet goes to the decoder, which skips the pictures that no other picture refers to. ``frames``
    are those that sampling each n-th would keep, so that rates compare.
    """
    packets = 0
    with av.open(path) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        context.thread_count = 1
        context.thread_type = "NONE"
        context.skip_frame = "NONREF"
        for packet in container.demux(stream):
            packets += bool(packet.size)
            packet.decode()
    return Tally(-(-packets // every_n))


def _cut_with_margin(frame: np.ndarray, box: np.ndarray, margin: float) -> np.ndarray:
    """The box widened on each side, as far as the (h, w, 3) frame goes."""
    x, y, w, h = map(int, box)
    dx, dy = int(margin * w), int(margin * h)
    return frame[max(0, y - dy) : y + h + dy, max(0, x - dx) : x + w + dx]
