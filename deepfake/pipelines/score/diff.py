"""What another bundle or configuration changes: two outputs of the score job, video by video."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.io import tables
from deepfake.io.parts import read_parts
from deepfake.io.storage import Storage
from deepfake.io.uri import join

FILE = "changes.parquet"
_COLUMNS = ["video_id", "content_sha256", "status", "score", "verdict"]


@dataclass(frozen=True)
class Comparison:
    """This output beside an earlier one."""

    before: str
    uri: str  # of the table
    changes: pa.Table
    thresholds: tuple[float | None, float | None] = (None, None)  # before and now, where there is one

    def summarize(self) -> dict[str, Any]:
        """The numbers for the summary."""
        return {"compared_with": self.before, "changes": self.uri, **count_changes(self.changes)}


def write_changes(output: str, before: str, storage: Storage, config_sha256: str) -> Comparison:
    """Write the table ``changes`` below ``output``."""
    both = [read_parts(root, storage, "video_scores", [*_COLUMNS, "threshold"]) for root in (before, output)]
    found = [pc.unique(one["threshold"]).drop_null().to_pylist() for one in both]
    earlier, now = (one.select(_COLUMNS) for one in both)
    changes = list_changes(earlier, now, config_sha256)
    uri = join(output, FILE)
    tables.write_table(storage, uri, changes)
    return Comparison(before, uri, changes, (_get_only(found[0]), _get_only(found[1])))


def _get_only(values: list[float]) -> float | None:
    return values[0] if len(values) == 1 else None


def list_changes(before: pa.Table, after: pa.Table, config_sha256: str | None = None) -> pa.Table:
    """Table ``changes``: every video of either side, largest change of the score first."""
    names = ["content_sha256", "status", "score", "verdict"]
    joined = before.rename_columns(["video_id", *(f"{name}_before" for name in names)]).join(
        after.rename_columns(["video_id", *(f"{name}_after" for name in names)]),
        "video_id",
        join_type="full outer",
    )
    difference = pc.subtract(joined["score_after"], joined["score_before"])
    joined = joined.append_column("difference", difference)
    size = pc.abs(difference)
    order = pc.sort_indices(
        pa.table({"size": size, "name": joined["video_id"]}),
        sort_keys=[("size", "descending"), ("name", "ascending")],
    )
    wanted = tables.make_schema("changes", config_sha256)
    return joined.take(order).select(wanted.names).cast(wanted).combine_chunks()


def count_changes(changes: pa.Table) -> dict[str, Any]:
    """How many videos changed, and how."""
    verdicts = zip(*(changes[f"verdict_{when}"].to_pylist() for when in ("before", "after")), strict=True)
    turned = Counter(f"{old} -> {new}" for old, new in verdicts if None not in (old, new) and old != new)
    largest = pc.max(pc.abs(changes["difference"])).as_py()
    return {
        "only_before": changes["status_after"].null_count,
        "only_now": changes["status_before"].null_count,
        "verdicts_changed": dict(sorted(turned.items())),
        "largest_difference": largest,
    }
