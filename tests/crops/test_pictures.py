"""Frames of a video as pictures: which they are, how large, and the crop that goes with a face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops import pictures
from deepfake.crops.extraction import ExtractConfig, ExtractionResult
from deepfake.faces import cropping
from deepfake.faces.detectors.base import Detection
from deepfake.faces.detectors.factory import make_detector
from deepfake.io.storage import Storage
from deepfake.video.frame import Frame
from deepfake.video.source import open_frames
from tests.clips import write_clip
from tests.rows import catalog_row

CONFIG = ExtractConfig(SamplingConfig(every_n=8), DetectorConfig(name="haar"), CropConfig(size=64))
STORAGE = Storage()
FACE = {"frame_index": 5, "box": {"x": 40.0, "y": 30.0, "w": 50.0, "h": 50.0}}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixteen frames of 192x144 pixels."""
    return str(write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=16))


def show(uri: str, faces: list[dict[str, object]] | None, side: int | None) -> ExtractionResult:
    detector = make_detector(CONFIG.detector, STORAGE)
    return pictures.show_frames(catalog_row("clip.mp4", uri=uri), faces, side, CONFIG, detector, STORAGE)


def decode(uri: str, *indices: int) -> list[Frame]:
    with open_frames(uri, STORAGE, CONFIG.sampling) as source:
        return list(source.decode_frames(list(indices)))


def test_without_faces_the_sampled_frames_are_shown_as_they_are(clip: str) -> None:
    found = show(clip, None, None)
    assert (found.video["status"], found.video["frames_sampled"], found.video["width"]) == ("ok", 2, 192)
    assert [row["frame_index"] for row in found.rows] == [0, 8]
    for row, frame in zip(found.rows, decode(clip, 0, 8), strict=True):
        assert np.array_equal(pictures.read_picture(row), frame.to_rgb())
        assert row["crop"] is None


@pytest.mark.parametrize(("side", "size"), [(96, (72, 96, 3)), (1000, (144, 192, 3))])
def test_a_picture_is_shrunk_to_its_longer_side_and_never_enlarged(
    clip: str, side: int, size: tuple[int, ...]
) -> None:
    [row, _] = show(clip, None, side).rows
    assert pictures.read_picture(row).shape == size
    assert (row["frame_width"], row["frame_height"]) == (192, 144)


def test_a_face_is_shown_in_its_frame_beside_the_crop_that_is_cut_there(clip: str) -> None:
    [row] = show(clip, [FACE], 96).rows
    assert row["frame_index"] == 5
    [frame] = decode(clip, 5)
    cut = cropping.cut_face(frame, Detection(40, 30, 50, 50, 1.0), CONFIG.crop)
    assert np.array_equal(pictures.read_crop(row, 64), cut.crop)


def test_of_a_file_that_is_no_video_nothing_is_shown(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    found = show(str(tmp_path / "text.mp4"), None, None)
    assert (found.video["status"], found.rows) == ("unreadable", [])
