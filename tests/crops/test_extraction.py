"""One video to crops: who is kept, what a row says, and what becomes of bad files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops.extraction import ExtractConfig, ExtractionResult, extract
from deepfake.errors import UsageError
from deepfake.faces.detectors.base import Detection
from deepfake.faces.encoding import decode_image
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.video.frame import Frame
from tests.clips import write_clip


class ScriptedDetector:
    """Answers what the test says for each frame: a real object behind the protocol, without a network."""

    name = "scripted"

    def __init__(self, frames: list[list[Detection]]) -> None:
        self._frames = iter(frames)

    def detect(self, frame: Frame) -> list[Detection]:
        return next(self._frames)


def _extract(path: Path, detector: Any, keep: str = "largest", **sampling: Any) -> ExtractionResult:
    config = ExtractConfig(
        SamplingConfig(**{"every_n": 10, **sampling}),
        DetectorConfig(name="haar", keep=keep, rows=1000),
        CropConfig(),
    )
    entry = {"video_id": path.name, "uri": str(path), "label": 1, "method": "FaceSwap"}
    result = extract(entry, config, detector, Storage())
    tables.from_rows("videos", [result.video])
    assert result.table.schema == tables.make_schema("crops")
    return result


def _face(x: float, side: float, score: float) -> Detection:
    return Detection(x, 20.0, side, side, score)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "clip.mp4", frames=50)


def test_alignment_without_landmarks_is_refused() -> None:
    with pytest.raises(UsageError, match=r"haar does not give.*--detector.name yunet"):
        ExtractConfig(SamplingConfig(), DetectorConfig(name="haar"), CropConfig(align="eyes"))


def test_the_most_prominent_person_is_kept_where_a_false_face_is_larger_for_a_moment(clip: Path) -> None:
    person, poster = _face(10, 40, 0.9), _face(90, 45, 0.3)
    frames = [[person], [person, poster], [person, poster], [person], [person]]
    found = _extract(clip, ScriptedDetector(frames)).rows
    assert [row["box"]["x"] for row in found] == [10.0] * 5
    assert {row["track_id"] for row in found} == {0}


def test_all_keeps_everyone_and_track_drops_whoever_is_seen_once(clip: Path) -> None:
    person, passer_by = _face(10, 40, 0.9), _face(120, 30, 0.9)
    frames = [[person], [person, passer_by], [person], [], [person]]
    assert len(_extract(clip, ScriptedDetector(frames), keep="all").rows) == 5
    kept = _extract(clip, ScriptedDetector(frames), keep="track")
    assert [row["frame_index"] for row in kept.rows] == [0, 10, 20, 40]
    assert kept.video["frames_sampled"] == 5
    assert kept.video["frames_with_face"] == 4


def test_rows_carry_the_provenance_and_the_hash_of_the_bytes(clip: Path) -> None:
    result = _extract(clip, ScriptedDetector([[_face(10, 40, 0.9)]] * 5))
    assert result.video["content_sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert result.video["status"] == tables.Status.OK
    assert (result.video["codec"], result.video["width"], result.video["height"]) == ("h264", 192, 144)
    assert result.video["duration_s"] == pytest.approx(2.0)
    row = result.rows[3]
    assert (row["label"], row["method"], row["frame_index"]) == (1, "FaceSwap", 30)
    assert row["time_s"] == pytest.approx(1.2)
    assert decode_image(row["crop"]).shape == (224, 224, 3)


def test_no_face_is_a_status_of_its_own(clip: Path) -> None:
    result = _extract(clip, ScriptedDetector([[]] * 5))
    assert result.video["status"] == tables.Status.NO_FACE
    assert result.video["frames_sampled"] == 5
    assert not result.rows


def test_bad_files_get_a_status_and_never_an_exception(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "noise.mp4").write_bytes(os.urandom(5000))
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("folder.mp4", "pipe.mp4"):
        assert _extract(tmp_path / name, ScriptedDetector([])).video["status"] == tables.Status.UNSUPPORTED
    for name in ("empty.mp4", "text.mp4", "loop.mp4", "noise.mp4", "absent.mp4"):
        result = _extract(tmp_path / name, ScriptedDetector([]))
        assert result.video["status"] == tables.Status.UNREADABLE, name
        assert result.video["status_detail"], name
        assert str(tmp_path) not in result.video["status_detail"], "the row names the file already"


@pytest.mark.data
@pytest.mark.parametrize("name", ["haar", "yunet"])
def test_detectors_find_a_real_face_and_boxes_hold_it(data: Path, name: str) -> None:
    from deepfake.faces.detectors.factory import make_detector, resolve_detector

    config = resolve_detector(
        DetectorConfig(name=name, yunet_model=str(data / "models/face_detection_yunet_2023mar.onnx")),
        Storage(),
    )
    path = data / "ffpp/original_sequences/youtube/c23/videos/634.mp4"
    result = _extract(path, make_detector(config, Storage()), every_n=60)
    assert result.video["frames_with_face"] == 6
    for row in result.rows:
        box = row["box"]
        # 1280x720, one speaker in the middle of the picture
        assert 300 < box["x"] + box["w"] / 2 < 980
        assert 100 < box["w"] < 420
        assert (row["landmarks"] is not None) == (name == "yunet")
    picture = decode_image(result.rows[0]["crop"])
    skin = cv2.cvtColor(picture[90:130, 90:130], cv2.COLOR_RGB2HSV)[..., 0]
    assert np.median(np.minimum(skin, 180 - skin)) < 25, "a face in the middle, red above blue"
