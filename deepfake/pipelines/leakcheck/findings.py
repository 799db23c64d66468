"""What the checks find: one value for each shared thing, and the words that make the job fail for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from deepfake.catalog.splits import rank_split
from deepfake.io import tables

INPUT, OFFICIAL = "input", "official_split"

# kind of finding -> the word of leakcheck.fail_on for it; official lists alone never fail
FAILS_AS = {
    "identity": "identity",
    "group": "identity",
    "video": "identity",
    "upload": "upload",
    "duplicate_file": "duplicate",
    "duplicate_crop": "duplicate",
    "near_duplicate": "near_duplicate",
    "label_conflict": "label_conflict",
}


@dataclass(frozen=True)
class Finding:
    """Something that two videos share; the fields are the columns of table ``overlaps``."""

    kind: str
    video_a: str
    video_b: str
    key: str | None = None
    split_a: str | None = None
    split_b: str | None = None
    label_a: int | None = None
    label_b: int | None = None
    scope: str = INPUT
    frame_a: int | None = None
    frame_b: int | None = None
    hash_distance: int | None = None
    pixel_difference: float | None = None
    mirrored: bool | None = None
    crop_pairs: int | None = None

    @classmethod
    def of(cls, kind: str, a: Mapping[str, Any], b: Mapping[str, Any], **known: Any) -> Finding:
        """About two rows with ``video_id`` and, where known, ``split``, ``label`` and ``frame_index``."""
        for side, row in (("a", a), ("b", b)):
            known |= {f"video_{side}": row["video_id"], f"frame_{side}": row.get("frame_index")}
            known |= {f"split_{side}": row.get("split"), f"label_{side}": row.get("label")}
        return cls(kind=kind, **known)


def make_table(findings: Iterable[Finding], config_sha256: str | None = None) -> pa.Table:
    """Table ``overlaps``, in the order of the kinds, sorted within each."""
    kinds = list(FAILS_AS)

    def rank(f: Finding) -> tuple[Any, ...]:
        splits = rank_split(f.split_a), rank_split(f.split_b)
        return (kinds.index(f.kind), f.scope, *splits, f.pixel_difference or 0.0, f.video_a, f.video_b)

    return tables.from_rows("overlaps", map(asdict, sorted(findings, key=rank)), config_sha256)
