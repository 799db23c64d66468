"""Drawn faces, and crops folders made of them as preprocess writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.leakcheck import fingerprints, scan
from tests.rows import crop_row, video_row

SIDE = 96


def face(seed: int) -> np.ndarray:
    """A drawn face on a mottled backdrop, (96, 96, 3) uint8 RGB; nothing in it depends on a label."""
    rng = np.random.default_rng(seed)
    backdrop = cv2.resize(rng.uniform(30, 225, (5, 5, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    image = np.clip(backdrop + rng.normal(0, 6, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    centre = tuple(int(v) for v in rng.integers(40, 56, 2))
    skin = tuple(int(v) for v in rng.integers(90, 240, 3))
    cv2.ellipse(image, centre, (26, 34), float(rng.uniform(-15, 15)), 0, 360, skin, -1)
    for dx in (-10, 10):
        cv2.circle(image, (centre[0] + dx, centre[1] - 8), 3, (25, 20, 20), -1)
    return cv2.GaussianBlur(image, (3, 3), 0)


def rotated(image: np.ndarray, degrees: float, border: int) -> np.ndarray:
    """The image turned about its centre; ``border`` is OpenCV's, BORDER_CONSTANT leaves black corners."""
    size = (image.shape[1], image.shape[0])
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, 1.0)
    return cv2.warpAffine(image, turn, size, borderMode=border)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def crop(video: str, image: np.ndarray, label: int | None, frame: int = 0, **values: Any) -> dict[str, Any]:
    """A row of ``crops`` of split ``train``; the video is an identity of its own."""
    named = {"target_id": video, "group_id": video, "split": "train", "label": label}
    return crop_row(video, frame, **{**named, "crop": png(image), **values})


def videos_of(crops: Iterable[dict[str, Any]], **columns: Sequence[Any]) -> list[dict[str, Any]]:
    """One row of ``videos`` for each video of some crops; other columns as one value a video."""
    first = {row["video_id"]: row for row in reversed(list(crops))}
    names = ("split", "label", "target_id", "source_id", "group_id")
    rows = []
    for i, (video, row) in enumerate(sorted(first.items())):
        known = {name: row[name] for name in names if name in row}
        own = {name: values[i] for name, values in columns.items()}
        rows.append(video_row(video, content_sha256=f"{i:064x}", **known) | own)
    return rows


def write(folder: Path, crops: list[dict[str, Any]], videos: list[dict[str, Any]] | None = None) -> str:
    """A crops folder with its manifest, in two files of small row groups."""
    half = len(crops) // 2
    for i, rows in enumerate((crops[:half], crops[half:])):
        table = tables.from_rows("crops", rows)
        tables.write_table(Storage(), str(folder / f"part-{i:05d}.parquet"), table, row_group_rows=16)
    manifest = tables.from_rows("videos", videos if videos is not None else videos_of(crops))
    tables.write_table(Storage(), str(folder / "_manifest.parquet"), manifest)
    return str(folder)


def looked_at(crops: Iterable[tuple[str, np.ndarray, int, str]]) -> pa.Table:
    """``scan.PICTURES`` of (video, image, label, split), without Ray."""
    rows = [
        {
            "video_id": video,
            "frame_index": i,
            "face_index": 0,
            "label": label,
            "split": split,
            **fingerprints.describe_picture(image),
        }
        for i, (video, image, label, split) in enumerate(crops)
    ]
    return pa.Table.from_pylist(rows, scan.PICTURES).sort_by([("video_id", "ascending")])
