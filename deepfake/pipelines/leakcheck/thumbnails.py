"""Small pictures of what was found alike, so that people can see for themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.crops.reader import decode_crop, read_crops
from deepfake.io.storage import Storage
from deepfake.pipelines.leakcheck import scan
from deepfake.pipelines.leakcheck.inputs import Material
from deepfake.report import images
from deepfake.video.errors import VideoError

SIDE = 112
_KINDS = ("near_duplicate", "duplicate_crop", "duplicate_file", "label_conflict")
_MOST_PAIRS = 60  # a page of 60 pairs is about 700 kB

Key = tuple[str, int | None]  # video_id, frame_index; None: any frame


def pairs(
    rows: Sequence[Mapping[str, Any]], material: Material, pictures: pa.Table, most: int, storage: Storage
) -> dict[Key, bytes]:
    """JPEG thumbnails of the pairs worth seeing, near duplicates first, at most ``most`` pictures."""
    wanted: list[Key] = []
    ordered = sorted(
        (row for row in rows if row["kind"] in _KINDS), key=lambda row: _KINDS.index(row["kind"])
    )
    for row in ordered[: min(_MOST_PAIRS, most // 2)]:
        wanted += [(row["video_a"], row["frame_a"]), (row["video_b"], row["frame_b"])]
    found: dict[Key, bytes] = {}
    places: dict[Key, dict[str, Any]] = {}
    names = {video for video, _ in wanted}
    near = pictures.filter(pc.is_in(pictures["video_id"], pa.array(sorted(names), pa.string())))
    for row in near.select(["video_id", "frame_index", "file", "row_group", "row"]).to_pylist():
        for key in ((row["video_id"], row["frame_index"]), (row["video_id"], None)):
            places.setdefault(key, row)
    keys = [key for key in dict.fromkeys(wanted) if key in places]
    if material.kind == "crops":
        at = {key: (material.files[row["file"]], row["row_group"], row["row"]) for key, row in places.items()}
        stored = read_crops([at[key] for key in keys], storage)
        return {key: _small(decode_crop(stored[at[key]].encoded, size=None)) for key in keys}
    uris = dict(zip(material.videos["video_id"].to_pylist(), material.videos["uri"].to_pylist(), strict=True))
    for key in keys:
        try:
            found[key] = _small(scan.one_frame(uris[key[0]], storage))
        except (VideoError, OSError):
            continue  # it was counted as unreadable when it was looked at
    return found


def _small(picture: np.ndarray) -> bytes:
    return images.encode_jpeg(images.fit(picture, SIDE), 80)
