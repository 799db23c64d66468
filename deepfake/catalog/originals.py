"""Which real video a fake was made from, for data sets whose fakes are frame-aligned with it."""

from __future__ import annotations

import logging

import pyarrow as pa

log = logging.getLogger(__name__)

COLUMN = "original_uri"


def attach(catalog: pa.Table) -> pa.Table:
    """The catalog with a column ``original_uri``: for a fake, the real clip of its target; else null.

    The original has the fake's target, data set and compression. A fake whose original is not in the
    catalog, or is there more than once, has null, and is counted in a warning.
    """
    key = ["target_id", "dataset", "compression"]
    rows = catalog.select([*key, "label", "uri"]).to_pylist()
    originals: dict[tuple[str | None, ...], list[str]] = {}
    for row in rows:
        if row["label"] == 0:
            originals.setdefault(tuple(row[name] for name in key), []).append(row["uri"])
    found: list[str | None] = []
    for row in rows:
        mine = originals.get(tuple(row[name] for name in key), []) if row["label"] == 1 else []
        found.append(mine[0] if len(mine) == 1 and row["target_id"] else None)
    absent = sum(row["label"] == 1 and uri is None for row, uri in zip(rows, found, strict=True))
    if absent:
        log.warning("%d fakes have no original in the catalog; they keep boxes of their own", absent)
    return catalog.append_column(COLUMN, pa.array(found, pa.string()))
