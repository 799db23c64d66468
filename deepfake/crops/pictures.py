"""Some frames of a video as pixels, for people to see or for fingerprints."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepfake.crops.extraction import ExtractConfig, ExtractionResult, attempt
from deepfake.faces import cropping
from deepfake.faces.detectors.base import Detection, Detector
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.outcome import get_clock
from deepfake.report import images
from deepfake.video.frame import Frame
from deepfake.video.source import open_frames

Row = Mapping[str, Any]


def show_frames(
    entry: Row,
    faces: Sequence[Row] | None,
    side: int | None,
    config: ExtractConfig,
    detector: Detector,
    storage: Storage,
) -> ExtractionResult:
    """The frames of some faces, each with the face's crop; without faces the frames that are sampled.

    A face has ``frame_index``, ``box`` and perhaps ``landmarks``; there is one of a frame at most. ``side``
    bounds the longer side of the pictures. The file's bytes are not hashed.
    """
    made: list[dict[str, Any]] = []

    def work(video: dict[str, Any]) -> None:
        with get_clock().on("decode"), open_frames(entry["uri"], storage, config.sampling) as source:
            video |= vars(source.info)
            wanted = None if faces is None else {face["frame_index"]: face for face in faces}
            frames = source.sample() if wanted is None else source.decode_frames(sorted(wanted))
            for frame in frames:
                face = None if wanted is None else wanted[frame.index]
                made.append(_show_frame(frame, face, side, config))
            video["status_detail"] = source.incomplete
        video["frames_sampled"] = len(made)
        video["status"] = Status.OK

    video = attempt(entry, detector.name, work)
    rows = made if video["status"] == Status.OK else []
    return ExtractionResult(video, tables.from_rows("pictures", rows))


def _show_frame(frame: Frame, face: Row | None, side: int | None, config: ExtractConfig) -> dict[str, Any]:
    picture = frame.to_rgb()
    height, width = picture.shape[:2]
    crop = None
    if face is not None:
        box, points = face["box"], face.get("landmarks")
        landmarks = tuple(points) if points else None
        found = Detection(box["x"], box["y"], box["w"], box["h"], score=1.0, landmarks=landmarks)
        crop = cropping.cut_face(frame, found, config.crop).crop.tobytes()
    small = picture if side is None else images.fit_side(picture, min(side, max(height, width)))
    return {
        "frame_index": frame.index,
        "frame_width": width,
        "frame_height": height,
        "width": small.shape[1],
        "height": small.shape[0],
        "rgb": small.tobytes(),
        "crop": crop,
    }


def read_picture(row: Row) -> np.ndarray:
    """(h, w, 3) uint8 RGB of a row of table ``pictures``."""
    return np.frombuffer(row["rgb"], np.uint8).reshape(row["height"], row["width"], 3)


def read_crop(row: Row, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB of the crop in a row of table ``pictures``."""
    return np.frombuffer(row["crop"], np.uint8).reshape(size, size, 3)
