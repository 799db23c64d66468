"""What a reader is shown of a suspicious video: which frames, and their pictures from the source file.

Frames were not kept while the archive was scored, so the few that are shown are decoded once more.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfake.crops import pictures
from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.sandbox import get_extractor
from deepfake.execution.process import fit_to_machine
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.report import images

log = logging.getLogger(__name__)

FRAME_SIDE = 640  # longer side of a frame's picture, in pixels
JPEG_QUALITY = 82  # of pictures for people to look at

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Shown:
    """A face in its frame: the frame as a small JPEG, and the crop that was scored."""

    face: Row  # of table face_scores
    frame: bytes
    width: int  # of the source frame, in pixels
    height: int
    crop: np.ndarray  # (size, size, 3) uint8 RGB


def choose_faces(faces: Sequence[Row], segments: Sequence[Row], count: int) -> list[Row]:
    """The faces to show, in the order of time: the highest of each segment, then the highest of the rest.

    ``faces`` and ``segments`` are one video's rows of those tables. Of one frame at most one is shown.
    """
    by_score = sorted(faces, key=lambda face: (-face["score"], face["frame_index"]))
    order: list[Row] = []
    for segment in sorted(segments, key=lambda row: (-row["mean_score"], row["start_s"])):
        start, end = segment["start_s"], segment["end_s"]
        of_track = (face for face in by_score if face["track_id"] == segment["track_id"])
        order += [face for face in of_track if start <= face["time_s"] <= end][:1]
    chosen: dict[int, Row] = {}
    for face in [*order, *by_score]:
        if len(chosen) == count:
            break
        chosen.setdefault(face["frame_index"], face)
    return [chosen[index] for index in sorted(chosen)]


def show_faces(video: Row, faces: Sequence[Row], extraction: ExtractConfig, storage: Storage) -> list[Shown]:
    """The pictures of some faces of one video; without those that cannot be had any more."""
    if not faces:
        return []
    # The very configuration that crops were cut with, so that a worker's server of then serves again.
    found = get_extractor(fit_to_machine(extraction), storage).show(video, faces, FRAME_SIDE)
    if found.video["status"] != Status.OK:
        words = "%s: its frames cannot be shown: %s"
        log.warning(words, video["video_id"], found.video["status_detail"])
        return []
    of_frame = {face["frame_index"]: face for face in faces}
    return [
        Shown(
            of_frame[row["frame_index"]],
            images.encode_jpeg(pictures.read_picture(row), JPEG_QUALITY),
            row["frame_width"],
            row["frame_height"],
            pictures.read_crop(row, extraction.crop.size),
        )
        for row in sorted(found.rows, key=lambda row: row["frame_index"])
    ]
