"""Files with the same bytes: found before anything is decoded, so that each content is decoded once.

Only files of equal size can be equal, so only those are read and hashed.
"""

import itertools
import logging
import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.splits import format_overlap, rank_split
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.checksums import hash_file
from deepfake.io.frame_files import hash_frames, list_frames
from deepfake.io.storage import Storage
from deepfake.io.tables import FAILURES, Status
from deepfake.io.tables.videos import CATALOG, make_video_row

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 1024


def list_suspects(listed: pa.Table, earlier: pa.Table | None) -> pa.Table:
    """The files to hash: those listed ones whose size another listed or earlier one has too.

    Columns ``video_id, uri, size_bytes, modified``; what was found of the last is null where nothing was.

    A video of an earlier run is among them where that read only a part of it, and so has no hash of it.
    """
    sizes = listed["size_bytes"]
    counts = pc.value_counts(sizes)
    shared = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if earlier is not None:
        shared = pa.concat_arrays([shared, pc.unique(earlier["size_bytes"]).cast(shared.type)])
    found = _select_columns(
        listed.filter(pc.and_(pc.is_in(sizes, shared), pc.fill_null(pc.greater(sizes, 0), False)))
    )
    if earlier is None:
        return found
    failed = pc.is_in(earlier["status"], pa.array(sorted(FAILURES), pa.string()))
    partial = pc.and_(pc.is_null(earlier["content_sha256"]), pc.invert(failed))
    alike = pc.is_in(earlier["size_bytes"], pc.unique(sizes).drop_null())
    return pa.concat_tables([found, _select_columns(earlier.filter(pc.and_(partial, alike)))])


def _select_columns(rows: pa.Table) -> pa.Table:
    kind = CATALOG.field("modified").type
    modified = rows["modified"] if "modified" in rows.column_names else pa.nulls(rows.num_rows, kind)
    found = {name: rows[name] for name in ("video_id", "uri", "size_bytes")}
    return pa.table({**found, "modified": modified})


def hash_rows(rows: pa.Table, storage: Storage, patience: float = math.inf) -> pa.Table:
    """Table ``hashes`` of the files that ``list_suspects`` names.

    None of one that cannot be read, nor of one that is not read whole within ``patience`` seconds: a sparse
    file takes no room and may take an hour.
    """
    found = []
    for row in rows.to_pylist():
        digest: str | None
        until = time.monotonic() + patience
        try:
            if row["uri"].endswith("/"):  # frames
                digest = hash_frames(list_frames(row["uri"], storage), storage, until)
            else:
                with storage.open(row["uri"]) as file:
                    digest = hash_file(file, until)
        except OSError:
            digest = None
        found.append({"video_id": row["video_id"], "content_sha256": digest})
    return tables.from_rows("hashes", found)


def separate_duplicates(
    listed: pa.Table, earlier: pa.Table | None, hashes: Mapping[str, str | None]
) -> tuple[pa.Table, pa.Table]:
    """Leave out every row whose content another row of the same label stands for.

    The other catalog rows, in their order; and table ``videos``: a row for each copy left out.

    The first in the catalog's order stands for the others, a video of an earlier run before all. Equal
    bytes under different labels are both kept, with a warning: one of the labels is wrong.
    """
    first: dict[tuple[str, int | None], str] = {}
    labels: dict[str, set[int | None]] = defaultdict(set)
    if earlier is not None:
        for row in earlier.select(["video_id", "content_sha256", "label", "status"]).to_pylist():
            known = row["content_sha256"] or hashes.get(row["video_id"])
            if known and row["status"] != Status.SKIPPED_DUPLICATE:
                first.setdefault((known, row["label"]), row["video_id"])
                labels[known].add(row["label"])
    hashed = pa.array([name for name, digest in hashes.items() if digest is not None], pa.string())
    is_hashed = pc.is_in(listed["video_id"], hashed).to_numpy()
    keep = np.ones(listed.num_rows, bool)
    made: list[pa.Table] = []
    skipped: list[dict[str, Any]] = []
    # Only rows that were hashed become Python objects, and only for a while: an archive may have ten million.
    rows = _iterate_rows(listed.filter(pa.array(is_hashed)))
    for position, row in zip(np.flatnonzero(is_hashed), rows, strict=True):
        if len(skipped) == ROWS_AT_ONCE:
            made.append(tables.from_rows("videos", skipped))
            skipped = []
        digest = hashes[row["video_id"]]
        assert digest is not None
        original = first.setdefault((digest, row["label"]), row["video_id"])
        labels[digest].add(row["label"])
        if len(labels[digest]) == 2 and original == row["video_id"]:
            log.warning("%s: the same bytes are there under another label", row["video_id"])
        keep[position] = original == row["video_id"]
        if not keep[position]:
            skipped.append(
                {
                    **make_video_row(row),
                    "status": Status.SKIPPED_DUPLICATE,
                    "status_detail": f"same content as {original}",
                    "duplicate_of": original,
                    "content_sha256": digest,
                }
            )
    made.append(tables.from_rows("videos", skipped))
    return listed.filter(pa.array(keep)), pa.concat_tables(made)


def require_no_duplicates(manifest: pa.Table, splits: Sequence[str]) -> None:
    """Raise ``UsageError`` where files of the same content are in more than one of ``splits``.

    ``manifest`` has the columns ``video_id``, ``split``, ``content_sha256`` and, if it likes, ``status`` of
    table ``videos``. Videos without a hash are not compared, and copies that preprocess left out
    (``skipped_duplicate``) do not count.
    """
    by_content: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    chosen = manifest.filter(pc.is_in(manifest["split"], pa.array(splits, pa.string())))
    columns = {"video_id", "split", "content_sha256", "status"} & set(chosen.column_names)
    for row in _iterate_rows(chosen.select(sorted(columns)).filter(pc.is_valid(chosen["content_sha256"]))):
        if row.get("status") != Status.SKIPPED_DUPLICATE:
            by_content[row["content_sha256"]][row["split"]].append(row["video_id"])
    shared = [
        (left, right, f"{min(held[left])} ({left}) and {min(held[right])} ({right})")
        for held in by_content.values()
        for left, right in itertools.combinations(sorted(held, key=rank_split), 2)
    ]
    if shared:
        words = format_overlap("the same content is in", "new videos", shared)
        raise UsageError(f"{words}\n  jobs/leakcheck.py lists them all")


def _iterate_rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows one after another, never all at once."""
    for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
        yield from batch.to_pylist()
