"""Uploads that FaceForensics++ cut several clips from, where those clips are in different splits.

``conversion_dict.json``, which comes with the data set, says for each of its 1000 original clips which upload
it was cut from: ``{"755": "tR7z_H1qPMc 0", ...}``, upload and number of the clip within it. Clips of one
upload show the same person on the same day; the official lists nevertheless put some of them in two splits.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from deepfake.catalog.splits import OFFICIAL_DATASET, rank_split, read_official
from deepfake.config import SPLITS
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.pipelines.leakcheck.findings import INPUT, OFFICIAL, Finding

FILE = "conversion_dict.json"


@dataclass(frozen=True)
class Uploads:
    """Which upload each clip was cut from, and the split that the official lists give it."""

    of_clip: Mapping[str, str]
    official: Mapping[str, str]  # empty where the lists were not given

    @property
    def count(self) -> int:
        """How many uploads there are."""
        return len(set(self.of_clip.values()))


def concern(videos: pa.Table) -> bool:
    """Whether any of these videos were cut from such uploads."""
    return any((name or "").startswith(OFFICIAL_DATASET) for name in videos["target_id"].to_pylist())


def load_uploads(splits_dir: str | None, conversion_dict: str | None, storage: Storage) -> Uploads | None:
    """What the data set says of its uploads; None where nothing was given that says it."""
    uri = conversion_dict
    if uri is None:
        if splits_dir is None or not storage.exists(join(splits_dir, FILE)):
            return None
        uri = join(splits_dir, FILE)
    official = {}
    if splits_dir is not None:
        clips = read_official(splits_dir, storage)["clips"]
        official = {clip: SPLITS[index] for clip, index in clips.items()}
    return Uploads(read_conversion_dict(uri, storage), official)


def read_conversion_dict(uri: str, storage: Storage) -> dict[str, str]:
    """Clip -> upload, from ``conversion_dict.json``."""
    try:
        found = storage.read_json(uri)
    except FileNotFoundError:
        raise UsageError(f"leakcheck.conversion_dict: {uri} does not exist") from None
    if not isinstance(found, dict):
        raise UsageError(f'{uri}: expected an object such as {{"000": "upload 0"}}, found {found!r:.60}')
    uploads = {}
    for clip, value in found.items():
        upload = value.rpartition(" ")[0] if isinstance(value, str) else ""
        if not upload:
            raise UsageError(f'{uri}: clip {clip!r} is {value!r:.60}, expected "upload number"')
        uploads[clip] = upload
    return uploads


def find_official_overlaps(uploads: Uploads) -> list[Finding]:
    """Uploads in two splits of the official lists, whether or not any of their videos is at hand."""
    rows = [(clip, {"video_id": clip, "split": split}) for clip, split in uploads.official.items()]
    return _find_overlaps(rows, uploads, OFFICIAL)


def find_upload_overlaps(videos: pa.Table, uploads: Uploads) -> list[Finding]:
    """Uploads in two splits of the videos at hand; a fake shows its target's upload and its source's."""
    columns = videos.select(["video_id", "split", "label", "target_id", "source_id"])
    rows = [
        (identity.removeprefix(OFFICIAL_DATASET), row)
        for row in columns.to_pylist()
        for identity in (row["target_id"], row["source_id"])
        if row["split"] is not None and identity is not None and identity.startswith(OFFICIAL_DATASET)
    ]
    return _find_overlaps(rows, uploads, INPUT)


def _find_overlaps(
    rows: Iterable[tuple[str, Mapping[str, Any]]], uploads: Uploads, scope: str
) -> list[Finding]:
    """A finding for each two clips of one upload in different splits, from pairs ``(clip, row)``."""
    examples: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = defaultdict(dict)
    for clip, row in sorted(rows, key=lambda item: item[1]["video_id"]):
        if upload := uploads.of_clip.get(clip):
            examples[upload].setdefault((row["split"], clip), row)
    findings = []
    for upload, found in examples.items():
        ordered = sorted(found.items(), key=lambda item: (rank_split(item[0][0]), item[0][1]))
        for ((split_a, clip_a), a), ((split_b, clip_b), b) in itertools.combinations(ordered, 2):
            if split_a != split_b and clip_a != clip_b:
                findings.append(Finding.of("upload", a, b, key=upload, scope=scope))
    return sorted(
        findings, key=lambda f: (rank_split(f.split_a), rank_split(f.split_b), f.video_a, f.video_b)
    )
