"""Errors by groups that a manifest or a data set states (``catalog.groups``); none is read off a face."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from deepfake import metrics
from deepfake.catalog.identity_overlap import read_identity_groups
from deepfake.errors import UsageError
from deepfake.model.thresholds import Decisions

NOT_STATED = "not stated"
_NAMED = ("video_id", "groups")
_KEYS = ("video_id", "label", "target_id", "source_id", "group_id", "groups")


def read_groups(table: pa.Table) -> dict[str, np.ndarray]:
    """``(n,)`` of each row's group, by what is grouped by; empty where nothing is stated of any."""
    stated = [_read_stated(*row) for row in zip(*(table[c].to_pylist() for c in _NAMED), strict=True)]
    names = sorted({name for row in stated for name in row})
    return {name: np.array([str(row.get(name, NOT_STATED)) for row in stated], object) for name in names}


def _read_stated(video_id: str, text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"{video_id}: groups is {text!r:.80}, expected a JSON object; make the table again")
    return found


def compare_groups(
    videos: pa.Table, threshold: float, decisions: Decisions, faceless: pa.Table | None = None
) -> list[dict[str, Any]]:
    """For each stated group of videos its error rates, and how far they are from those of all others.

    Args:
        videos: labelled, with ``score`` and provenance.
        threshold: scores from here on are called fake.
        decisions: scores in their uncertain band get no verdict, and none where they are unproven.
        faceless: labelled videos without a score, with the same provenance.

    Returns:
        Rows ``grouped_by, group, n_real, n_fake`` and, for each of ``false_alarms`` (reals called fake),
        ``misses`` (fakes called real) and ``coverage`` (of all labelled videos those with a verdict): the
        share, ``_count``, ``_of``, its 95 % ``_interval``, and the ``_gap`` to the share among the videos of
        other groups with its ``_gap_interval``; None where there is nothing to count. The group whose errors
        exceed the others' most comes first.
    """
    scores, labels = videos["score"].to_numpy(), videos["label"].to_numpy().astype(np.int8)
    called = scores >= threshold
    band = decisions.uncertain
    judged = np.full(len(scores), not decisions.unproven)
    if band is not None:
        judged &= (scores < min(band.low, threshold)) | (scores >= max(band.high, threshold))
    keys = [name for name in _KEYS if name in videos.column_names]
    everyone = videos.select(keys)
    if faceless is not None:
        everyone = pa.concat_tables([everyone, faceless.select(keys).cast(everyone.schema)])
        judged = np.concatenate([judged, np.zeros(len(faceless), bool)])
    units = read_identity_groups(everyone)
    kinds = {
        "false_alarms": (np.flatnonzero(labels == 0), called),
        "misses": (np.flatnonzero(labels == 1), ~called),
        "coverage": (np.arange(len(judged)), judged),
    }
    rows = []
    for name, groups in read_groups(everyone).items():
        found = []
        for group in np.unique(groups):
            row: dict[str, Any] = {"grouped_by": name, "group": group}
            own = groups[: len(labels)] == group
            row |= {f"n_{word}": int((own & (labels == c)).sum()) for c, word in ((0, "real"), (1, "fake"))}
            for kind, (which, flags) in kinds.items():
                row |= dict(_measure(kind, flags[which], groups[which] == group, units[which]))
            found.append(row)
        rows += sorted(found, key=_rank)
    return rows


def _measure(
    kind: str, flags: np.ndarray, inside: np.ndarray, units: np.ndarray
) -> Iterator[tuple[str, float | metrics.Interval | None]]:
    own, other = (metrics.count_effectively(flags[part], units[part]) for part in (inside, ~inside))
    share = float(flags[inside].mean()) if inside.any() else None
    rest = float(flags[~inside].mean()) if (~inside).any() else None
    yield kind, share
    yield f"{kind}_count", int(flags[inside].sum())
    yield f"{kind}_of", int(inside.sum())
    yield f"{kind}_interval", metrics.bound_share(*own)
    yield f"{kind}_gap", None if share is None or rest is None else share - rest
    yield f"{kind}_gap_interval", metrics.bound_difference(*own, *other)


def _rank(row: Mapping[str, Any]) -> tuple[float, str]:
    gaps = [row[f"{kind}_gap"] for kind in ("false_alarms", "misses") if row[f"{kind}_gap"] is not None]
    return -max(gaps, default=-2.0), row["group"]
