"""Gives each video a split such that no identity is in two, and each video its identity group.

In this order: ``assign_splits`` patterns; a split that the manifest or the folders give; the official pair
lists of FaceForensics++; and for what is left, an automatic split by identity group. A group is a connected
component of identities, where each fake joins its target and its source. Videos without a label get no
automatic split.

The official lists of FaceForensics++ keep pairs together, but share uploads across splits all the same:
several clips come from one upload, and some of those are in two splits. Nothing here looks for that.
"""

import fnmatch
import logging
import re
from collections.abc import Mapping, Sequence
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.split_allocation import allocate
from deepfake.config import SPLITS, CatalogConfig
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.io.uri import join

log = logging.getLogger(__name__)

_NAMED = 10  # overlaps spelled out in a message
OFFICIAL_DATASET = "youtube/"  # the official lists name clips of this dataset only


def assign_splits(table: pa.Table, config: CatalogConfig, storage: Storage, deal: bool = True) -> pa.Table:
    """The table with ``group_id`` and ``split`` filled in; splits that it has already stand.

    ``deal``: labelled videos to which nothing gives a split are dealt to splits by their groups.
    """
    groups = compute_group_ids(table)
    split = _encode_splits(table["split"])
    _assign_by_hand(table["video_id"], split, config.assign_splits)
    undecided = np.zeros(len(split), bool)
    if config.splits_dir is not None:
        undecided = _assign_official(
            table, split, read_official(config.splits_dir, storage), config.splits_dir
        )
    if deal:
        _assign_automatically(table, groups, split, undecided, config)
    names = pa.array(SPLITS, pa.string()).take(pa.array(split, mask=split < 0))
    for name, column in (("group_id", groups), ("split", names)):
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index), column)
    return table


def compute_group_ids(table: pa.Table) -> pa.ChunkedArray:
    """The smallest identity of each video's connected component of identities.

    A video without a ``target_id`` is an identity of its own, by its ``video_id``. What has a ``group_id``
    already, such as a folder that holds it, is joined to it.
    """
    target = pc.coalesce(table["target_id"], table["video_id"])
    joins = [table[name] for name in ("source_id", "group_id") if table[name].null_count < len(table)]
    if not joins:
        return target
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    known = [target, *(other.drop_null() for other in joins)]
    names = pc.unique(pa.chunked_array([chunk for column in known for chunk in column.chunks], pa.string()))
    names = names.take(pc.sort_indices(names))
    ends = [
        np.concatenate([pc.index_in(column, names).to_numpy().astype(np.int64) for column in columns])
        for columns in zip(
            *((target.filter(other.is_valid()), other.drop_null()) for other in joins), strict=True
        )
    ]
    graph = coo_array((np.ones(len(ends[0]), np.int8), tuple(ends)), shape=(len(names), len(names)))
    component = connected_components(graph, directed=False)[1]
    smallest = np.unique(component, return_index=True)[1]
    of_target = pc.index_in(target, names).to_numpy()
    return pa.chunked_array([names.take(pa.array(smallest[component[of_target]]))])


def read_official(folder: str, storage: Storage) -> dict[str, dict[str, int]]:
    """The official lists: ``{"clips": {id: split}, "pairs": {"a_b" in either order: split}}``."""
    clips: dict[str, int] = {}
    pairs: dict[str, int] = {}
    for index, name in enumerate(SPLITS):
        uri = join(folder, f"{name}.json")
        try:
            listed = storage.read_json(uri)
        except FileNotFoundError:
            raise UsageError(
                f"catalog.splits_dir: {uri} does not exist; the folder must have "
                f"{', '.join(f'{split}.json' for split in SPLITS)}"
            ) from None
        for pair in listed if isinstance(listed, list) else [listed]:
            if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(i, str) for i in pair)):
                raise UsageError(
                    f'{uri}: expected a list of pairs such as ["071", "054"], found {pair!r:.80}'
                )
            for clip in pair:
                if clips.setdefault(clip, index) != index:
                    raise UsageError(f"{folder}: {clip} is listed in {SPLITS[clips[clip]]} and in {name}")
            pairs["_".join(pair)] = pairs["_".join(reversed(pair))] = index
    return {"clips": clips, "pairs": pairs}


def _encode_splits(column: pa.ChunkedArray) -> np.ndarray:
    """Index in ``SPLITS`` of each value, -1 for null: ``(n,) int8``."""
    if unknown := sorted(set(pc.unique(column).drop_null().to_pylist()) - set(SPLITS)):
        raise UsageError(f"split is {unknown[0]!r}, expected {', '.join(SPLITS)}")
    codes = pc.fill_null(pc.index_in(column, pa.array(SPLITS, pa.string())), -1)
    return codes.to_numpy().astype(np.int8)


def _assign_by_hand(video_ids: pa.ChunkedArray, split: np.ndarray, patterns: Mapping[str, str]) -> None:
    """Where several patterns match a video, the last one holds."""
    if not patterns:
        return
    names = video_ids.to_pylist()
    for pattern, wanted in patterns.items():
        if not pattern.isascii():  # the same letters may be written in several ways
            pattern, names = normalize("NFC", pattern), [normalize("NFC", name) for name in names]
        matches = re.compile(fnmatch.translate(pattern)).match
        matched = np.fromiter((matches(name) is not None for name in names), bool, len(names))
        if not matched.any():
            raise UsageError(
                f"catalog.assign_splits: {pattern!r} matches none of the {len(names)} videos; the first "
                f"is {names[0]!r}"
            )
        split[matched] = SPLITS.index(wanted)
        log.info("assign_splits: %r matches %d videos, now in %s", pattern, matched.sum(), wanted)


def _assign_official(
    table: pa.Table, split: np.ndarray, lists: Mapping[str, Mapping[str, int]], folder: str
) -> np.ndarray:
    """Fill in the official splits; returns which videos must have none, since they join two splits."""
    undecided = np.zeros(len(split), bool)
    listed = pc.fill_null(pc.starts_with(table["target_id"], OFFICIAL_DATASET), False)
    rows = np.flatnonzero(listed.to_numpy())
    columns = (table[name].filter(listed).to_pylist() for name in ("target_id", "source_id"))
    found = 0
    for row, target, source in zip(rows.tolist(), *columns, strict=True):
        pair = [name.removeprefix(OFFICIAL_DATASET) for name in (target, source) if name is not None]
        named = {lists["clips"][clip] for clip in pair if clip in lists["clips"]}
        agreed = next(iter(named)) if len(named) == 1 else None
        index = lists["pairs"].get("_".join(pair), agreed)
        undecided[row] = index is None and len(named) > 1
        found += index is not None
        if index is not None and split[row] < 0:
            split[row] = index
    if not found:
        log.warning("%s: the official lists name none of the %d videos", folder, len(split))
    undecided &= split < 0
    if undecided.any():
        log.warning(
            "%d fakes join clips of two official splits and are in none, such as %s",
            undecided.sum(),
            table["video_id"][int(np.flatnonzero(undecided)[0])],
        )
    return undecided


def _assign_automatically(
    table: pa.Table,
    group_id: pa.ChunkedArray,
    split: np.ndarray,
    undecided: np.ndarray,
    config: CatalogConfig,
) -> None:
    """Labelled videos without a split: to that of their clip, else of their group, else by ``allocate``."""
    label = pc.fill_null(table["label"], -1).to_numpy()
    open_rows = (label >= 0) & (split < 0) & ~undecided
    if not open_rows.any():
        return
    _follow_clips(table, split, open_rows)
    names = pc.unique(group_id)
    group = pc.index_in(group_id, names).to_numpy().astype(np.int64)
    fixed = split >= 0
    votes = np.bincount(group[fixed] * len(SPLITS) + split[fixed], minlength=len(names) * len(SPLITS))
    votes = votes.reshape(len(names), len(SPLITS))
    of_group = np.where(votes.any(axis=1), votes.argmax(axis=1), -1).astype(np.int8)
    counted = open_rows & (split < 0) & (of_group[group] < 0)
    counts = np.bincount(group[counted] * 2 + label[counted], minlength=len(names) * 2).reshape(len(names), 2)
    free = np.flatnonzero(counts.any(axis=1))
    if len(free):
        dealt = allocate(
            names.take(pa.array(free)).to_pylist(), counts[free], config.split_fractions, config.split_seed
        )
        of_group[free] = dealt
        _warn_of_gaps(counts[free], dealt, config)
    open_rows &= split < 0
    split[open_rows] = of_group[group[open_rows]]


def _follow_clips(table: pa.Table, split: np.ndarray, open_rows: np.ndarray) -> None:
    """Give open rows the split of others with their target, where these are all in one."""
    target = pc.coalesce(table["target_id"], table["video_id"])
    clip = pc.index_in(target, pc.unique(target)).to_numpy().astype(np.int64)
    has = np.zeros((clip.max(initial=-1) + 1, len(SPLITS)), bool)
    fixed = split >= 0
    has[clip[fixed], split[fixed]] = True
    known = open_rows & (has.sum(axis=1) == 1)[clip]
    split[known] = has.argmax(axis=1)[clip[known]]


def _warn_of_gaps(counts: np.ndarray, dealt: np.ndarray, config: CatalogConfig) -> None:
    """Say which splits lack a class, where there are both classes to have."""
    if not counts.any(axis=0).all():
        return
    lacking = [
        f"{name} {real} real and {fake} fake"
        for index, (name, share) in enumerate(zip(SPLITS, config.split_fractions, strict=True))
        for real, fake in [counts[dealt == index].sum(axis=0)]
        if share > 0 and not (real and fake)
    ]
    if lacking:
        sizes = counts.sum(axis=1)
        log.warning(
            "the split by identity gives %s videos: there are %d groups, the largest with %d of %d videos",
            ", ".join(lacking),
            len(counts),
            sizes.max(),
            sizes.sum(),
        )


def format_overlap(subject: str, new: str, found: Sequence[tuple[str, str, str]]) -> str:
    """What an error says of things that splits share, each as ``(split, split, words)``."""
    pairs = sorted({f"{left} and {right}" for left, right, _ in found})
    lines = [words for _, _, words in found[:_NAMED]]
    lines += [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    return "\n  ".join([f"{subject} {'; '.join(pairs)}, so no number would tell of {new}:", *lines])


def rank_split(split: str | None) -> tuple[int, str]:
    """Sorts splits as train, val, test, then others by name."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split or "")
