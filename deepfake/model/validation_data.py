"""What the videos were like on which a bundle's thresholds, calibration and error rates were measured.

``train`` records it in the bundle; where a scored video is outside of it, its page says so.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
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
_MEASURED = ("width", "height", "frames_total", "size_bytes", "face_size_px", "faces")  # columns for them
_KINDS = {"codec": "its codec is {}", "detector": "its faces were found by {}", "compression": "it is {}"}
# In what videos of an archive are counted as outside.
_SUBJECTS = {
    "codec": "codec",
    "detector": "detector of faces",
    "compression": "compression",
    "frame_side": "size of frames",
    "bits_per_pixel": "bits a pixel",
    "face_size_px": "size of faces",
    "faces": "number of faces",
}
_CLEARLY = 3.0  # standard deviations of a Poisson number


@dataclass(frozen=True)
class ArchiveDifferences:
    """How many of an archive's scored videos have something that none of validation's had."""

    scored: int
    outside: int
    expected: float  # of as many videos like validation's: the next of n is beyond them 2 times in n + 1
    subjects: dict[str, int]  # in what, most first; a video may be in several

    @property
    def is_unlike(self) -> bool:
        """Whether they are more than chance gives."""
        return self.outside > self.expected + _CLEARLY * max(1.0, self.expected**0.5)


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

    def compare_archive(self, videos: pa.Table) -> ArchiveDifferences:
        """The same of all scored videos of table ``video_scores``, counted."""
        videos = videos.filter(pc.is_valid(videos["score"]))
        outside: dict[str, np.ndarray] = {}
        for kind in _KINDS:
            if kind in videos.column_names and (known := self.counts.get(kind)):
                values = videos[kind].cast(pa.string())
                strange = pc.invert(pc.is_in(values, pa.array(list(known), pa.string())))
                outside[kind] = pc.and_(pc.is_valid(values), strange).to_numpy()
        columns = [name for name in _MEASURED if name in videos.column_names]
        numbers = {name: videos[name].cast(pa.float64()).to_numpy() for name in columns}
        measured = _measure_columns(numbers, videos.num_rows)
        for name, (low, high) in self.ranges.items():
            outside[name] = (measured[name] < low) | (measured[name] > high)  # not where it is not known
        count = self.real_videos + self.fake_videos
        any_of_them = np.logical_or.reduce([np.zeros(videos.num_rows, bool), *outside.values()])
        subjects = Counter({_SUBJECTS[name]: int(one.sum()) for name, one in outside.items() if one.any()})
        return ArchiveDifferences(
            videos.num_rows,
            int(any_of_them.sum()),
            videos.num_rows * min(1.0, 2 * len(self.ranges) / (count + 1)),
            dict(subjects.most_common()),
        )

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
    known = {name: np.array([value], float) for name in _MEASURED if (value := video.get(name)) is not None}
    found = {name: float(values[0]) for name, values in _measure_columns(known, 1).items()}
    return {name: None if np.isnan(value) else value for name, value in found.items()}


def _measure_columns(columns: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """``_MEASURES`` of ``n`` videos, ``(n,) float64`` each, from what ``_MEASURED`` has; NaN: not known."""
    known = {name: np.where(values > 0, values, np.nan) for name, values in columns.items()}
    width, height, frames, size, face_size, faces = (
        known.get(name, np.full(count, np.nan)) for name in _MEASURED
    )
    return {
        "frame_side": np.minimum(width, height),
        "bits_per_pixel": 8 * size / (width * height * frames),
        "face_size_px": face_size,
        "faces": faces,
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
