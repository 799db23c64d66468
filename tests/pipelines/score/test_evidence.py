"""Which frames of a suspicious video are shown, and their pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops.extraction import ExtractConfig, extract
from deepfake.faces.detectors.factory import make_detector
from deepfake.faces.encoding import decode_image
from deepfake.io.storage import Storage
from deepfake.pipelines.score import evidence


def face(index: int, score: float, track: int = 0) -> dict:
    return {"frame_index": index, "time_s": float(index), "track_id": track, "score": score}


def segment(start: float, end: float, mean: float, track: int = 0) -> dict:
    return {"track_id": track, "start_s": start, "end_s": end, "mean_score": mean}


def test_each_segment_is_shown_by_its_highest_face_before_any_other() -> None:
    faces = [face(i, score) for i, score in enumerate([0.1, 0.95, 0.9, 0.2, 0.6, 0.7, 0.1])]
    found = [segment(0.5, 2.5, 0.92), segment(3.5, 5.5, 0.65)]
    assert [row["frame_index"] for row in evidence.choose_faces(faces, found, 2)] == [1, 5]
    assert [row["frame_index"] for row in evidence.choose_faces(faces, found, 3)] == [1, 2, 5]


def test_of_one_frame_one_face_is_shown_and_no_more_than_there_are() -> None:
    faces = [face(0, 0.3), face(0, 0.8, track=1), face(1, 0.5)]
    assert [row["score"] for row in evidence.choose_faces(faces, [], 9)] == [0.8, 0.5]
    assert evidence.choose_faces([], [], 4) == []


def test_the_crop_that_is_shown_is_the_one_that_was_scored(ffpp_small: Path) -> None:
    clip = next(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))
    config = ExtractConfig(SamplingConfig(every_n=20), DetectorConfig(name="haar"), CropConfig())
    made = extract(
        {"video_id": "a", "uri": str(clip)}, config, make_detector(config.detector, Storage()), Storage()
    )
    crops = made.rows[1:]
    video = {"video_id": "a", "uri": str(clip)}
    shown = evidence.show_faces(video, [{**crop, "score": 0.5} for crop in crops], config, Storage())
    assert [picture.face["frame_index"] for picture in shown] == [crop["frame_index"] for crop in crops]
    for picture, crop in zip(shown, crops, strict=True):
        assert np.array_equal(picture.crop, decode_image(crop["crop"]))
        frame = cv2.imdecode(np.frombuffer(picture.frame, np.uint8), cv2.IMREAD_COLOR)
        assert frame.shape[:2] == (picture.height, picture.width) == (360, 480)


def test_a_file_that_is_gone_gives_no_pictures(tmp_path: Path) -> None:
    gone = {"video_id": "gone.mp4", "uri": str(tmp_path / "gone.mp4")}
    config = ExtractConfig(SamplingConfig(every_n=20), DetectorConfig(name="haar"), CropConfig())
    asked = {**face(0, 0.9), "box": {"x": 0.0, "y": 0.0, "w": 50.0, "h": 50.0}}
    assert evidence.show_faces(gone, [asked], config, Storage()) == []
