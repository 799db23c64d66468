"""Made-up rows of faces, as crops and as scores, with labels and identities."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.model import thresholds
from deepfake.model.thresholds import Decisions

BUNDLE = "ab" * 32


def face(video: str, frame: int, label: int | None, **other: Any) -> dict[str, Any]:
    """A row of faces of the split ``test``; fakes are of method ``Swap`` unless told otherwise."""
    return {
        "video_id": video,
        "frame_index": frame,
        "time_s": frame / 30,
        "face_index": 0,
        "track_id": 0,
        "box": {"x": 10.0, "y": 20.0, "w": 100.0, "h": 100.0},
        "detector": "haar",
        "detector_score": 1.0,
        "dataset": "youtube",
        "label": label,
        "method": {0: "real", 1: "Swap"}.get(label if label is not None else -1),
        "compression": "c23",
        "split": "test",
        "target_id": f"id/{video}",
        "group_id": f"group/{video}",
        **other,
    }


def scored(video: str, frame: int, label: int | None, score: float, **other: Any) -> dict[str, Any]:
    """A row of ``face_scores``."""
    hashes = {"bundle_sha256": BUNDLE, "config_sha256": "cd" * 32}
    return face(video, frame, label, score=score, **hashes | other)


def two_classes(videos: int = 4, frames: int = 3, **other: Any) -> list[dict[str, Any]]:
    """Scores of so many real and fake videos, mostly right, with ties and overlap."""
    source = np.random.default_rng(0)
    return [
        scored(
            f"{name}{i}.mp4",
            30 * frame,
            label,
            float(np.round(np.clip(source.normal(0.35 + 0.3 * label, 0.2), 0, 1), 2)),
            **other,
        )
        for label, name in ((0, "real"), (1, "fake"))
        for i in range(videos)
        for frame in range(frames)
    ]


def crop(video: str, frame: int, label: int | None, **other: Any) -> dict[str, Any]:
    """A row of ``crops``; its image depends on its key alone."""
    seed = sum(map(ord, video)) * 1000 + frame
    image = np.random.default_rng(seed).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    return face(
        video,
        frame,
        label,
        crop=cv2.imencode(".png", image)[1].tobytes(),
        crop_format="png",
        frame_width=640,
        frame_height=480,
        sharpness=1.0,
        **other,
    )


def write(folder: Path, table: str, *files: Iterable[dict[str, Any]]) -> str:
    """Rows as Parquet files of a folder; returns it. Row groups are small, so that there are several."""
    for i, rows in enumerate(files):
        uri = join(str(folder), f"part-{i:05d}.parquet")
        tables.write_table(Storage(), uri, tables.from_rows(table, rows), row_group_rows=5)
    return str(folder)


@cache
def decisions_of_validation() -> Decisions:
    """What forty real and forty fake videos choose, for the mean of their faces."""
    random = np.random.default_rng(5)
    labels = np.repeat([0, 1], 40)
    faces = pa.table(
        {
            "video_id": [str(i) for i in range(80)], "frame_index": [0] * 80, "label": labels,
            "score": np.clip(random.normal(0.35 + 0.3 * labels, 0.15), 0, 1),
        }
    )  # fmt: skip
    return thresholds.choose_decisions(faces)["mean"]
