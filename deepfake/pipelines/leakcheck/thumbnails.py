"""Small pictures of what was found alike, so that people can see for themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.crops.reader import decode_crop, read_indexed
from deepfake.io.storage import Storage
from deepfake.pipelines.leakcheck import scan
from deepfake.pipelines.leakcheck.inputs import LeakcheckInput
from deepfake.report import images
from deepfake.video.errors import VideoError

SIDE = 112
_KINDS = ("near_duplicate", "duplicate_crop", "duplicate_file", "label_conflict")
_MOST_PAIRS = 60  # a page of 60 pairs is about 700 kB

Key = tuple[str, int | None]  # video_id, frame_index; None: any frame


def make_thumbnails(
    rows: Sequence[Mapping[str, Any]],
    loaded: LeakcheckInput,
    pictures: pa.Table,
    most: int,
    timeout_seconds: float,
    storage: Storage,
) -> dict[Key, bytes]:
    """JPEG thumbnails of the pairs worth seeing, near duplicates first, at most ``most`` pictures."""
    ordered = sorted(
        (row for row in rows if row["kind"] in _KINDS), key=lambda row: _KINDS.index(row["kind"])
    )
    shown = ordered[: min(_MOST_PAIRS, most // 2)]
    wanted: list[Key] = [(row[f"video_{side}"], row[f"frame_{side}"]) for row in shown for side in "ab"]
    names = pa.array(sorted({video for video, _ in wanted}), pa.string())
    pictures = pictures.filter(pc.is_in(pictures["video_id"], names))
    index: dict[Key, int] = {}
    keys = zip(pictures["video_id"].to_pylist(), pictures["frame_index"].to_pylist(), strict=True)
    for number, (video, frame) in enumerate(keys):
        index.setdefault((video, frame), number)
        index.setdefault((video, None), number)
    known = [key for key in dict.fromkeys(wanted) if key in index]
    if loaded.kind == "crops":
        rows = pictures.take(pa.array([index[key] for key in known], pa.int64()))
        stored = read_indexed(rows, loaded.files, storage)
        crops = [decode_crop(one.encoded, None) for one in stored]
        return {key: _shrink(crop) for key, crop in zip(known, crops, strict=True)}
    uris = dict(zip(loaded.videos["video_id"].to_pylist(), loaded.videos["uri"].to_pylist(), strict=True))
    found: dict[Key, bytes] = {}
    for key in known:
        try:
            _, picture, _ = scan.read_key_frame(key[0], uris[key[0]], timeout_seconds, storage)
            found[key] = _shrink(picture)
        except (VideoError, OSError):
            continue  # it was counted as unreadable when it was looked at
    return found


def _shrink(picture: np.ndarray) -> bytes:
    return images.encode_jpeg(images.fit_side(picture, SIDE), 80)
