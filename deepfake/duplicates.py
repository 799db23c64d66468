"""Files with the same bytes: found before anything is decoded, so that each content is decoded once.

Only files of equal size can be equal, so only those are read and hashed.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa

from deepfake.extract import video_row
from deepfake.storage import Storage
from deepfake.tables import Status

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Duplicates:
    """What a catalog holds twice."""

    rest: pa.Table  # catalog rows to work on, in their order
    skipped: list[dict[str, Any]]  # rows of table ``videos``, one for each copy left out


def suspects(listed: pa.Table, earlier: pa.Table | None) -> pa.Table:
    """Rows whose size another row, or a video of an earlier run, has too."""
    sizes = Counter(listed["size_bytes"].to_pylist())
    if earlier is not None:
        sizes.update(set(earlier["size_bytes"].to_pylist()))
    shared = [size is not None and size > 0 and sizes[size] > 1 for size in listed["size_bytes"].to_pylist()]
    return listed.filter(pa.array(shared, pa.bool_()))


def hash_rows(rows: pa.Table, storage: Storage) -> pa.Table:
    """``video_id, content_sha256`` of catalog rows; null where a file cannot be read."""
    hashes: list[str | None] = []
    for uri in rows["uri"].to_pylist():
        try:
            with storage.open(uri) as file:
                hashes.append(hashlib.file_digest(cast(Any, file), "sha256").hexdigest())
        except OSError:
            hashes.append(None)
    return pa.table({"video_id": rows["video_id"], "content_sha256": pa.array(hashes, pa.string())})


def separate(listed: pa.Table, earlier: pa.Table | None, hashes: Mapping[str, str | None]) -> Duplicates:
    """Leave out every row whose content another row of the same label stands for.

    The first in the catalog's order stands for the others, a video of an earlier run before all. Equal
    bytes under different labels are both kept, with a warning: one of the labels is wrong.
    """
    first: dict[tuple[str, int | None], str] = {}
    labels: dict[str, set[int | None]] = defaultdict(set)
    if earlier is not None:
        for row in earlier.select(["video_id", "content_sha256", "label", "status"]).to_pylist():
            if row["content_sha256"] and row["status"] != Status.SKIPPED_DUPLICATE:
                first.setdefault((row["content_sha256"], row["label"]), row["video_id"])
                labels[row["content_sha256"]].add(row["label"])
    keep, skipped = [], []
    for row in listed.to_pylist():
        digest = hashes.get(row["video_id"])
        original = row["video_id"]
        if digest is not None:
            original = first.setdefault((digest, row["label"]), row["video_id"])
            labels[digest].add(row["label"])
            if len(labels[digest]) == 2 and original == row["video_id"]:
                log.warning("%s: the same bytes are there under another label", row["video_id"])
        keep.append(original == row["video_id"])
        if not keep[-1]:
            skipped.append(
                {
                    **video_row(row),
                    "status": Status.SKIPPED_DUPLICATE,
                    "status_detail": f"same content as {original}",
                    "duplicate_of": original,
                    "content_sha256": digest,
                }
            )
    return Duplicates(listed.filter(pa.array(keep, pa.bool_())), skipped)
