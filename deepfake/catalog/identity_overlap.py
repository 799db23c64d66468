"""Finds identities that are in more than one split, and splits that lack a class.

Takes a catalog, a crops table or a score table: any with ``video_id`` and the provenance columns, one or
many rows a video. A video without an identity counts as its group, and without a group as itself. Two clips
of one person under different identities are not found here.
"""

import itertools
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.provenance import FAKE, REAL
from deepfake.catalog.splits import format_overlap, rank_split
from deepfake.errors import UsageError


@dataclass(frozen=True)
class Overlap:
    """Something that two splits share."""

    kind: str  # identity, group or video
    identity: str  # target_id or source_id; group_id or video_id where those are unknown
    split_a: str
    split_b: str
    video_a: str  # an example in split_a
    video_b: str  # an example in split_b

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.identity} is in {self.split_a} ({self.video_a}) "
            f"and in {self.split_b} ({self.video_b})"
        )


def names_people(table: pa.Table) -> bool:
    """Whether a table says who is on its videos: on two the same person or, of a fake, who lent the face.

    Where nothing tells, each video is taken for a person of its own.
    """
    keys = _list_keys(table.filter(table["split"].is_valid()))
    people = keys.group_by(["kind", "key"]).aggregate([])
    return people.num_rows < keys.num_rows or table["source_id"].null_count < table.num_rows


def list_identities(table: pa.Table, split: str | None = None) -> list[str]:
    """Every identity shown or used, in a split or in all; of videos without one the group, else the video."""
    rows = table if split is None else table.filter(pc.equal(table["split"], split))
    return sorted(set(_list_keys(rows)["key"].to_pylist()))


def name_some(names: Collection[str], most: int = 5) -> str:
    """The first few of some names, in words."""
    return ", ".join(sorted(names)[:most]) + (", ..." if len(names) > most else "")


def read_identity_groups(table: pa.Table) -> np.ndarray:
    """``(rows,)`` str: the identity group of each row's video, else the video."""
    names = table["video_id"]
    if "group_id" in table.column_names:
        names = pc.coalesce(table["group_id"], names)
    return names.to_numpy(zero_copy_only=False).astype(str)


def choose_resampling_units(table: pa.Table) -> tuple[np.ndarray, str]:
    """What a bootstrap draws from labelled rows: ``(rows,)`` int64 codes, and what one of them is.

    Identity groups, which have nobody in common; where nobody is known each video is one. Where the fakes
    join everybody, so that a class has fewer than two groups, the people shown are drawn instead.
    """
    groups, codes = np.unique(read_identity_groups(table), return_inverse=True)
    labels = table["label"].to_numpy()
    if "target_id" in table.column_names and any(
        np.unique(codes[labels == c]).size < 2 for c in (REAL, FAKE)
    ):
        shown = pc.coalesce(table["target_id"], table["video_id"]).to_numpy(zero_copy_only=False).astype(str)
        return np.unique(shown, return_inverse=True)[1], "people shown"
    videos = pc.count_distinct(table["video_id"]).as_py()
    return codes, "identity groups" if groups.size < videos else "videos"


def find_overlaps(table: pa.Table) -> list[Overlap]:
    """Every identity that more than one split has, once for each pair of splits, sorted."""
    keys = _list_keys(table.filter(table["split"].is_valid()))
    spread = keys.group_by(["kind", "key"]).aggregate([("split", "count_distinct")])
    spread = spread.filter(pc.greater(spread["split_count_distinct"], 1))
    shared = keys.filter(pc.is_in(keys["key"], pc.unique(spread["key"])))
    seen: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for row in shared.to_pylist():
        known = seen[row["kind"], row["key"]].setdefault(row["split"], row["video_id"])
        seen[row["kind"], row["key"]][row["split"]] = min(known, row["video_id"])
    overlaps = []
    for (kind, identity), videos in seen.items():
        for a, b in itertools.combinations(sorted(videos, key=rank_split), 2):
            overlaps.append(Overlap(kind, identity, a, b, videos[a], videos[b]))
    return sorted(overlaps, key=lambda o: (rank_split(o.split_a), rank_split(o.split_b), o.kind, o.identity))


def require_disjoint(table: pa.Table, splits: Sequence[str]) -> None:
    """Raise ``UsageError`` where an identity is in more than one of ``splits``."""
    overlaps = find_overlaps(table.filter(pc.is_in(table["split"], pa.array(splits, pa.string()))))
    if overlaps:
        found = [(one.split_a, one.split_b, str(one)) for one in overlaps]
        raise UsageError(format_overlap("identities are shared between", "new people", found))


def require_both_classes(table: pa.Table, split: str) -> None:
    """Raise ``UsageError`` unless ``split`` has real and fake videos."""
    videos = _select_distinct(table, ["video_id", "split", "label"])
    counts: dict[str, list[int]] = {}
    for name, label in zip(videos["split"].to_pylist(), videos["label"].to_pylist(), strict=True):
        count = counts.setdefault(name or "no split", [0, 0, 0])
        count[2 if label is None else label] += 1
    found = counts.get(split, [0, 0, 0])
    if found[REAL] and found[FAKE]:
        return
    there = "; ".join(f"{name}: {_format_counts(counts[name])}" for name in sorted(counts, key=rank_split))
    raise UsageError(
        f"split {split!r} needs real and fake videos and has {_format_counts(found)}. In the table there are "
        f"{there or 'no videos'}"
    )


def _list_keys(table: pa.Table) -> pa.Table:
    """``(kind, key, split, video_id)``, distinct, of every identity of every video."""
    videos = _select_distinct(table, ["video_id", "split", "target_id", "source_id", "group_id"])
    unnamed = pc.and_(videos["target_id"].is_null(), videos["source_id"].is_null())
    by_group = videos.filter(pc.and_(unnamed, videos["group_id"].is_valid()))
    by_itself = videos.filter(pc.and_(unnamed, videos["group_id"].is_null()))
    parts = []
    for kind, rows, column in (
        ("identity", videos, "target_id"),
        ("identity", videos, "source_id"),
        ("group", by_group, "group_id"),
        ("video", by_itself, "video_id"),
    ):
        rows = rows.filter(rows[column].is_valid())
        kinds = pa.array([kind]).take(pa.array([0] * len(rows), pa.int32()))
        columns = [kinds, rows[column], rows["split"], rows["video_id"]]
        parts.append(pa.table(columns, names=["kind", "key", "split", "video_id"]))
    return pa.concat_tables(parts)


def _select_distinct(table: pa.Table, columns: list[str]) -> pa.Table:
    return table.select(columns).group_by(columns).aggregate([])


def _format_counts(counts: Sequence[int]) -> str:
    unlabelled = f" and {counts[2]} unlabelled" if counts[2] else ""
    return f"{counts[REAL]} real, {counts[FAKE]} fake{unlabelled}"
