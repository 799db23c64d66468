"""Which detections through a video are the same person, by the overlap of their boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfake.faces.detectors.base import Detection

MIN_OVERLAP = 0.2  # sampled frames lie far apart, so a face has moved; strangers rarely overlap at all
MAX_GAP = 3  # sampled frames that a person may be missing from


@dataclass
class _OpenTrack:
    number: int
    last: Detection
    last_frame: int


class Tracker:
    """Gives the faces of one frame after the other the numbers of their tracks.

    Numbers count up from 0 in order of first appearance. In each frame the pairing of open tracks and
    detections that maximises the summed overlap is taken, pairs below ``MIN_OVERLAP`` excepted.
    """

    def __init__(self) -> None:
        self._tracks: list[_OpenTrack] = []
        self._started = self._frames = 0

    def assign(self, detections: Sequence[Detection]) -> list[int]:
        """Track numbers of the detections in the next frame."""
        position = self._frames
        self._frames += 1
        self._tracks = [track for track in self._tracks if position - track.last_frame <= MAX_GAP]
        numbers = [-1] * len(detections)
        if self._tracks and detections:
            overlaps = np.array([[measure_overlap(t.last, d) for d in detections] for t in self._tracks])
            for row, column in _match_pairs(overlaps):
                if overlaps[row, column] >= MIN_OVERLAP:
                    numbers[column] = self._tracks[row].number
                    self._tracks[row].last, self._tracks[row].last_frame = detections[column], position
        for column, detection in enumerate(detections):
            if numbers[column] < 0:
                numbers[column] = self._started
                self._tracks.append(_OpenTrack(self._started, detection, position))
                self._started += 1
        return numbers


def assign_tracks(frames: Sequence[Sequence[Detection]]) -> list[list[int]]:
    """Track numbers, shaped as ``frames`` (detections of each sampled frame, in order of time)."""
    tracker = Tracker()
    return [tracker.assign(detections) for detections in frames]


def _match_pairs(overlaps: np.ndarray) -> list[tuple[int, int]]:
    """``(row, column)`` of the pairing with the largest sum; of equal ones any."""
    if 1 in overlaps.shape:
        row, column = np.unravel_index(np.argmax(overlaps), overlaps.shape)
        return [(int(row), int(column))]
    # a third of a worker's start, and most videos show one person
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(overlaps, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def measure_overlap(a: Detection, b: Detection) -> float:
    """Intersection over union of two boxes, in [0, 1]."""
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a.area + b.area - width * height)


def measure_prominence(
    frames: Sequence[Sequence[Detection]], numbers: Sequence[Sequence[int]]
) -> dict[int, float]:
    """How much of the video each track is: the sum of area times score over its detections.

    One large false detection weighs little beside a face that is there, and sure, in every frame.
    """
    weights: dict[int, float] = {}
    for detections, frame_numbers in zip(frames, numbers, strict=True):
        for detection, number in zip(detections, frame_numbers, strict=True):
            weights[number] = weights.get(number, 0.0) + detection.area * detection.score
    return weights
