"""The same content more than once: in two splits, or under two labels.

Content is told by a hash: of a file's bytes, or of a crop's pixels. Pictures that are only alike are the
business of ``near_duplicates``.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.provenance import FAKE, REAL
from deepfake.catalog.splits import rank_split
from deepfake.io.tables import Status
from deepfake.pipelines.leakcheck.findings import Finding


def find_duplicate_files(videos: pa.Table) -> list[Finding]:
    """Files of the same bytes in two splits (``duplicate_file``) or under two labels (``label_conflict``)."""
    names = {"video_id", "split", "label", "content_sha256", "status"} & set(videos.column_names)
    rows = _select_repeated(videos.select(sorted(names)), "content_sha256").to_pylist()
    rows = [row for row in rows if row.get("status") != Status.SKIPPED_DUPLICATE]
    return _find_across(rows, "content_sha256", "duplicate_file")


def find_duplicate_crops(pictures: pa.Table) -> list[Finding]:
    """Crops of the same pixels in two splits or under two labels, one finding for each pair of videos.

    ``pictures`` has ``video_id``, ``frame_index``, ``split``, ``label`` and ``pixels`` (a hash, null for
    pictures that show nothing).
    """
    columns = ["video_id", "frame_index", "split", "label", "pixels"]
    found = _find_across(
        _select_repeated(pictures.select(columns), "pixels").to_pylist(), "pixels", "duplicate_crop"
    )
    merged: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    for finding in found:
        merged[finding.kind, finding.video_a, finding.video_b].append(finding)
    return [
        replace(min(same, key=lambda f: (f.frame_a or 0, f.frame_b or 0)), crop_pairs=len(same))
        for same in merged.values()
    ]


def _select_repeated(rows: pa.Table, column: str) -> pa.Table:
    """The rows whose value in ``column`` another row has too."""
    counts = pc.value_counts(rows[column].combine_chunks().drop_null())
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    return rows.filter(pc.is_in(rows[column], several))


def _find_across(rows: Iterable[dict[str, Any]], column: str, kind: str) -> list[Finding]:
    groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row[column]].append(row)
    findings = []
    for content, members in groups.items():
        members.sort(key=lambda row: (row["video_id"], row.get("frame_index") or 0))
        key = content.hex() if isinstance(content, bytes) else content
        findings += _pair_members(members, "split", kind, key)
        findings += _pair_members(
            [m for m in members if m.get("label") is not None], "label", "label_conflict", key
        )
    return findings


def _pair_members(members: list[dict[str, Any]], column: str, kind: str, key: str) -> list[Finding]:
    """Members with different values in ``column``, paired so that each is named, without naming all pairs."""
    sides: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for member in members:
        if member[column] is not None:
            sides[member[column]].append(member)
    order = sorted(sides, key=rank_split if column == "split" else (REAL, FAKE).index)
    findings = []
    for one, other in itertools.combinations(order, 2):
        left, right = sides[one], sides[other]
        for i in range(max(len(left), len(right))):
            a, b = left[min(i, len(left) - 1)], right[min(i, len(right) - 1)]
            findings.append(Finding.of(kind, a, b, key=key))
    return findings
