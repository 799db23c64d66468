"""What a reader is shown of a suspicious video: which frames, and their pictures from the source file.

Frames were not kept while the archive was scored, so the few that are shown are decoded once more.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from deepfake.config import CropConfig, SamplingConfig
from deepfake.faces import cropping
from deepfake.faces.detectors.base import Detection
from deepfake.io.storage import Storage
from deepfake.report import images
from deepfake.video.decoder import Frame
from deepfake.video.errors import VideoError
from deepfake.video.source import open_frames

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
    crop: np.ndarray  # (224, 224, 3) uint8 RGB


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


def show_faces(
    uri: str, faces: Sequence[Row], sampling: SamplingConfig, crop: CropConfig, storage: Storage
) -> list[Shown]:
    """The pictures of some faces of one video; without those that cannot be had any more."""
    wanted = {face["frame_index"]: face for face in faces}
    try:
        with open_frames(uri, storage, sampling) as source:
            found = [
                _show_face(wanted[frame.index], frame, crop) for frame in source.decode_frames(sorted(wanted))
            ]
    except (VideoError, OSError, cv2.error) as error:
        log.warning("%s: its frames cannot be shown: %s", uri, error)
        return []
    return sorted(found, key=lambda shown: shown.face["frame_index"])


def _show_face(face: Row, frame: Frame, config: CropConfig) -> Shown:
    box = face["box"]
    points = face.get("landmarks")
    landmarks = tuple(points) if points else None
    found = Detection(box["x"], box["y"], box["w"], box["h"], score=1.0, landmarks=landmarks)
    picture = frame.to_rgb()
    height, width = picture.shape[:2]
    small = images.fit_side(picture, min(FRAME_SIDE, max(height, width)))
    crop = cropping.cut_face(frame, found, config).crop
    return Shown(face, images.encode_jpeg(small, JPEG_QUALITY), width, height, crop)
