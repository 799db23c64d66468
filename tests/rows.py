"""Rows of the project's tables for tests, with every column that may not be null."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np


def catalog_row(video_id: str, **values: Any) -> dict[str, Any]:
    return {"video_id": video_id, "uri": f"/archive/{video_id}", "size_bytes": 1000, **values}


def video_row(video_id: str, **values: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("frames_sampled", "frames_with_face", "faces"), 1)
    return {"video_id": video_id, "uri": f"/archive/{video_id}", "status": "ok", **counts, **values}


def crop_row(video_id: str, frame_index: int = 0, grey: int = 128, **values: Any) -> dict[str, Any]:
    """A crop of one grey value."""
    written, data = cv2.imencode(".png", np.full((224, 224, 3), grey, np.uint8))
    assert written
    return {
        "video_id": video_id,
        "frame_index": frame_index,
        "time_s": frame_index / 25,
        "face_index": 0,
        "track_id": 0,
        "box": {"x": 10.0, "y": 20.0, "w": 30.0, "h": 40.0},
        "padded": 0.0,
        "shift": 0.0,
        "shrink": 1.0,
        "detector": "test",
        "frame_width": 640,
        "frame_height": 360,
        "crop": data.tobytes(),
        "crop_format": "png",
        **values,
    }
