"""The clips that everything is measured on: local copies, the same files for every contestant."""

import csv
import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from deepfake.catalog.media import is_image_name
from deepfake.config import SamplingConfig
from deepfake.io.storage import Storage
from deepfake.video.decoder import open_local
from deepfake.video.errors import VideoError

log = logging.getLogger(__name__)

PROVENANCE = ("label", "method", "compression", "dataset", "split")  # what the manifest passes on


@dataclass(frozen=True)
class LocalClip:
    """One local video file."""

    video_id: str
    path: str
    size_bytes: int
    codec: str
    width: int
    height: int
    duration_s: float
    frames_total: int
    provenance: Mapping[str, Any]

    @property
    def work(self) -> int:
        """Pixels to decode: what the clips are ordered by: long ones first, so that none ends alone."""
        return self.width * self.height * self.frames_total

    def describe(self) -> dict[str, Any]:
        """What the report says of it."""
        names = ("video_id", "size_bytes", "codec", "width", "height", "duration_s", "frames_total")
        return {name: getattr(self, name) for name in names}


def copy_clips(
    listed: pa.Table, folder: Path, sampling: SamplingConfig, storage: Storage
) -> tuple[list[LocalClip], dict[str, str]]:
    """``(clips, left_out)``: each catalog row's file, copied to ``folder``; why some cannot be measured."""
    clips: list[LocalClip] = []
    left_out: dict[str, str] = {}
    for number, row in enumerate(listed.to_pylist()):
        name = row["video_id"]
        if is_image_name(name) or row["uri"].endswith("/"):
            left_out[name] = "a still image, or several"
            continue
        path = folder / f"{number:04d}{PurePosixPath(name).suffix}"
        try:
            with storage.open(row["uri"]) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, 8 * 2**20)
            with open_local(path, sampling) as video:
                info = video.info
        except (VideoError, OSError) as error:
            left_out[name] = str(error)
            continue
        facts = (info.codec, info.width, info.height, info.duration_s, info.frames_total)
        known = {key: row[key] for key in PROVENANCE}
        clips.append(LocalClip(name, str(path), path.stat().st_size, *facts, known))
    for name, why in left_out.items():
        log.warning("%s: left out: %s", name, why)
    return clips, left_out


def repeat_clips(clips: Iterable[LocalClip], times: int) -> list[LocalClip]:
    """The clips ``times`` over, each copy a file and a video of its own."""
    result: list[LocalClip] = []
    for clip in clips:
        path = target = Path(clip.path)
        for copy in range(times):
            if copy:
                target = path.with_stem(f"{path.stem}-{copy}")
                _link(path, target)
            result.append(replace(clip, video_id=f"{copy}/{clip.video_id}", path=str(target)))
    return result


def sort_longest_first(clips: Iterable[LocalClip]) -> list[LocalClip]:
    """The order in which free processes take the clips."""
    return sorted(clips, key=lambda clip: (-clip.work, clip.video_id))


def write_manifest(clips: Sequence[LocalClip], path: Path) -> str:
    """The clips as a manifest that the job takes as its input; its path."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["video_id", "uri", "size_bytes", *PROVENANCE])
        for clip in clips:
            known = ["" if clip.provenance[key] is None else clip.provenance[key] for key in PROVENANCE]
            writer.writerow([clip.video_id, clip.path, clip.size_bytes, *known])
    return str(path)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a filesystem without hard links
        shutil.copyfile(source, target)
