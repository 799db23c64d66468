"""Small crops folders, of drawn images, for tests of training and of what reads crops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.io import tables
from deepfake.io.run_record import write_record
from deepfake.io.storage import Storage

METHODS = ("Deepfakes", "FaceSwap")
# split, label, videos, frames of each
SPLITS = (("train", 0, 3, 6), ("train", 1, 4, 6), ("val", 0, 2, 4), ("val", 1, 2, 4))

MakeCrops = Callable[..., Path]


def picture(label: int, number: int, size: int = 224) -> np.ndarray:
    """``(size, size, 3) uint8 RGB``: reals bluish, fakes reddish, each with a disc of its own."""
    random = np.random.default_rng((label, number))
    image = np.full((size, size, 3), (150, 90, 60) if label else (60, 90, 150), np.uint8)
    centre = tuple(int(v) for v in random.integers(size // 4, 3 * size // 4, 2))
    colour = tuple(int(v) for v in random.integers(0, 256, 3))
    cv2.circle(image, centre, int(random.integers(size // 10, size // 4)), colour, -1)
    return image


def encoded(image: np.ndarray) -> bytes:
    """An RGB image as PNG."""
    return cv2.imencode(".png", image[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def crop_row(
    split: str, label: int | None, video: int, frame: int, size: int = 224, **changes: Any
) -> dict[str, Any]:
    """One row of a crops table."""
    kind = "fake" if label else "real"
    identity = f"{split}-{kind}-{video}"
    return {
        "video_id": f"{split}/{kind}/{video:03d}.mp4",
        "frame_index": frame,
        "time_s": frame / 30,
        "face_index": 0,
        "track_id": 0,
        "box": {"x": 1.0, "y": 2.0, "w": 100.0, "h": 100.0},
        "detector": "haar",
        "frame_width": 640,
        "frame_height": 480,
        "sharpness": float(frame),
        "padded": 0.0,
        "shift": 0.0,
        "shrink": 1.0,
        "crop": encoded(picture(label or 0, 1000 * video + frame, size)),
        "crop_format": "png",
        "dataset": "drawn",
        "label": label,
        "method": METHODS[video % 2] if label else "real",
        "compression": "c23",
        "split": split,
        "target_id": identity,
        "source_id": None,
        "group_id": identity,
        **changes,
    }


def write_crops(
    folder: Path,
    splits: tuple[tuple[str, int, int, int], ...] = SPLITS,
    rows_per_file: int = 40,
    row_group_rows: int = 8,
    size: int = 224,
    **changes: Any,
) -> Path:
    """A crops folder as preprocess leaves it."""
    storage = Storage()
    rows = [
        crop_row(split, label, video, 30 * frame, size, **changes)
        for split, label, videos, frames in splits
        for video in range(videos)
        for frame in range(frames)
    ]
    for start in range(0, len(rows), rows_per_file):
        table = tables.from_rows("crops", rows[start : start + rows_per_file])
        tables.write_table(storage, f"{folder}/part-{start:05d}.parquet", table, row_group_rows)
    tables.write_table(storage, f"{folder}/_manifest.parquet", tables.from_rows("videos", []))
    config = {
        "config_sha256": "0" * 64,
        "sampling": SamplingConfig().model_dump(mode="json"),
        "detector": DetectorConfig(name="haar").model_dump(mode="json"),
        "crop": CropConfig(size=size, margin=0.25).model_dump(mode="json"),
    }
    write_record(str(folder), storage, config)
    return folder


@pytest.fixture
def make_crops(tmp_path: Path) -> MakeCrops:
    """Writes a crops folder; see ``write_crops``."""

    def make(*arguments: Any, name: str = "crops", **options: Any) -> Path:
        return write_crops(tmp_path / name, *arguments, **options)

    return make


@pytest.fixture(scope="session")
def small_crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven training and four validation videos; nobody writes to it."""
    return write_crops(tmp_path_factory.mktemp("training") / "crops")
