"""The newest frame of a source that plays, with its faces: what the child answers while one is watched."""

import functools
from collections.abc import Mapping
from typing import Any

from deepfake.config import SamplingConfig, StorageConfig
from deepfake.crops.chunks import make_face_rows
from deepfake.crops.extraction import ExtractConfig, ExtractionResult, attempt, cut_faces
from deepfake.faces.detectors.base import Detector, detect_faces
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.outcome import get_clock
from deepfake.report import images
from deepfake.video.live import LivePlayer


@functools.lru_cache(maxsize=1)
def start_player(
    uri: str, sampling: SamplingConfig, storage: StorageConfig, paced: bool, patience: float
) -> LivePlayer:
    """What plays a source in this process, started by the first call."""
    return LivePlayer(uri, sampling, Storage(storage), paced, patience)


def watch_frame(
    entry: Mapping[str, Any],
    asked: Mapping[str, Any],
    config: ExtractConfig,
    detector: Detector,
    storage: Storage,
) -> ExtractionResult:
    """Table ``watched`` of the frame that is the newest now; without rows at the source's end.

    ``asked`` has ``paced`` and ``patience`` (see ``LivePlayer``), and ``side``: the longer side in pixels of
    the picture that comes with it, 0 for none.
    """
    rows: list[dict[str, Any]] = []

    def work(video: dict[str, Any]) -> None:
        clock = get_clock()
        told = (asked["paced"], asked["patience"])
        player = start_player(entry["uri"], config.sampling, storage.config, *told)
        with clock.on("decode"):
            taken = player.take()
        video["status"] = Status.OK
        if taken is None:
            return
        frame = taken.frame
        with clock.on("detect"):
            faces = detect_faces(frame, detector)
        with clock.on("crop"):
            rows.extend(make_face_rows(cut_faces(frame, faces, config)))
        for row in rows:
            row |= {"due": taken.due, "dropped": taken.dropped}
        if asked["side"]:
            picture = frame.to_rgb()
            picture = images.fit_side(picture, min(asked["side"], max(picture.shape[:2])))
            height, width = picture.shape[:2]
            rows[0] |= {"width": width, "height": height, "rgb": picture.tobytes()}

    video = attempt(entry, detector.name, work)
    return ExtractionResult(video, tables.from_rows("watched", rows if video["status"] == Status.OK else []))
