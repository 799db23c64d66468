"""What the videos were like on which a bundle's thresholds, calibration and error rates were measured.

``train`` records it in the bundle; where a scored video is outside of it, its page says so.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

_COUNTED = ("dataset", "method", "compression", "codec", "detector")
# Numbers of a video, and how the page puts one that is outside.
_MEASURES: Mapping[str, tuple[str, str]] = {
    "frame_side": ("the short side of its frames is {} pixels", "{:.0f}"),
    "bits_per_pixel": ("its file has {} bits a pixel", "{:.2g}"),
    "face_size_px": ("its faces are {} pixels wide or high (median)", "{:.0f}"),
    "faces": ("it has {} faces that were scored", "{:.0f}"),
}
_KINDS = {"codec": "its codec is {}", "detector": "its faces were found by {}", "compression": "it is {}"}


class ValidationData(BaseModel):
    """Counts of validation's videos by what they are, and the least and most of what was measured of one."""

    model_config = ConfigDict(frozen=True)

    real_videos: int
    fake_videos: int
    counts: dict[str, dict[str, int]]  # videos by dataset, method, compression, codec, detector; known ones
    ranges: dict[str, tuple[float, float]]  # by frame_side, bits_per_pixel, face_size_px, faces

    def list_differences(self, video: Mapping[str, Any]) -> list[str]:
        """What a video has that none of these had, in words without a full stop.

        ``video`` has columns of tables ``videos`` and ``video_scores``; what is None is not compared.
        """
        found = []
        for kind, words in _KINDS.items():
            value, known = video.get(kind), self.counts.get(kind)
            if value is not None and known and value not in known:
                found.append(f"{words.format(value)}, theirs {', '.join(sorted(known))}")
        for name, value in measure_video(video).items():
            if value is None or name not in self.ranges:
                continue
            low, high = self.ranges[name]
            if not low <= value <= high:
                words, number = _MEASURES[name]
                range_ = " to ".join(dict.fromkeys(number.format(end) for end in (low, high)))
                found.append(f"{words.format(number.format(value))}, theirs {range_}")
        return found

    def put_in_words(self) -> str:
        """Which videos these were."""
        parts = [f"{self.real_videos:,} real and {self.fake_videos:,} fake videos"]
        for kind, words in (("dataset", "of {}"), ("method", "by {}"), ("compression", "in {}")):
            names = [name for name in self.counts.get(kind, {}) if (kind, name) != ("method", "real")]
            if names:
                parts.append(words.format(", ".join(names)))
        return "; ".join(parts)


def measure_video(video: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of a video that are compared; None where a column is missing or null."""
    width, height, frames, size = (video.get(n) for n in ("width", "height", "frames_total", "size_bytes"))
    pixels = width * height * frames if width and height and frames else None
    return {
        "frame_side": min(width, height) if width and height else None,
        "bits_per_pixel": 8 * size / pixels if pixels and size else None,
        "face_size_px": video.get("face_size_px"),
        "faces": video.get("faces"),
    }


def describe_validation(faces: pa.Table, crops: pa.Table, manifest: pa.Table | None) -> ValidationData:
    """From validation's labelled ``faces``, the index of ``crops`` and preprocess' table ``videos``, if any.

    ``faces`` has ``video_id, label, method, dataset, compression``; a video's fakes that were made in memory
    have a name of their own, and only count.
    """
    first = np.unique(faces["video_id"].to_numpy(zero_copy_only=False).astype(str), return_index=True)[1]
    videos = faces.take(pa.array(first))
    counts = {name: _count(videos[name]) for name in _COUNTED if name in videos.column_names}
    measured = _measure_crops(crops.filter(pc.is_in(crops["video_id"], videos["video_id"].combine_chunks())))
    if manifest is not None:
        stored = manifest.filter(pc.is_in(manifest["video_id"], videos["video_id"].combine_chunks()))
        counts |= {name: _count(stored[name]) for name in ("codec", "detector")}
        for row in stored.select(["video_id", "width", "height", "frames_total", "size_bytes"]).to_pylist():
            measured.get(row["video_id"], {}).update(row)
    numbers = [measure_video(row) for row in measured.values()]
    ranges = {}
    for name in _MEASURES:
        if known := [value for one in numbers if (value := one[name]) is not None]:
            ranges[name] = (float(min(known)), float(max(known)))
    labels = videos["label"].to_pylist()
    return ValidationData(
        real_videos=labels.count(0),
        fake_videos=labels.count(1),
        counts={name: known for name, known in counts.items() if known},
        ranges=ranges,
    )


def _measure_crops(crops: pa.Table) -> dict[str, dict[str, Any]]:
    """By video, what its stored crops tell of it."""
    box = crops["box"].combine_chunks()
    side = np.maximum(*(box.field(name).to_numpy(zero_copy_only=False) for name in ("w", "h")))
    video_ids = crops["video_id"].to_numpy(zero_copy_only=False).astype(str)
    names, codes = np.unique(video_ids, return_inverse=True)
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(1, len(names)))
    width, height = crops["frame_width"].to_numpy(), crops["frame_height"].to_numpy()
    return {
        str(name): {
            "width": int(width[rows[0]]),
            "height": int(height[rows[0]]),
            "face_size_px": float(np.median(side[rows])),
            "faces": len(rows),
        }
        for name, rows in zip(names, np.split(order, starts) if len(names) else [], strict=True)
    }


def _count(column: pa.ChunkedArray) -> dict[str, int]:
    return dict(sorted(Counter(column.drop_null().to_pylist()).items()))
