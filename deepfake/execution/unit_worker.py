"""What a worker does with a unit: look at its node, cut the unit's crops, and answer, or hand the unit back.

A unit goes through Ray Data as one block: first its catalog rows, then one row that carries its tables.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.crops import chunks
from deepfake.crops.extraction import ExtractConfig, ExtractionResult, describe_failure
from deepfake.crops.sandbox import get_extractor
from deepfake.errors import JobError, NodeFault, UsageError
from deepfake.execution import attempts, nodes
from deepfake.execution.attempts import Attempt
from deepfake.execution.process import fit_to_machine, skip_final_gc
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.io.tables.videos import make_video_row
from deepfake.outcome import get_clock

UNIT_ID = "unit_id"
SECONDS = "unit_seconds"


def read_unit_id(block: pa.Table) -> str:
    """The id of the unit that a block is."""
    name: str = block[UNIT_ID][0].as_py()
    return name


def make_answer(videos: pa.Table, began: float | None = None) -> pa.Table:
    """A unit's ``videos`` rows for the job, with the seconds since the work on it ``began`` (monotonic)."""
    seconds = 0.0 if began is None else time.monotonic() - began
    return videos.append_column(SECONDS, pa.array([seconds] * videos.num_rows, pa.float64()))


def count_unit(videos: pa.Table) -> None:
    """Count rows of ``videos``, which are written now, in this worker's account."""
    shown, faces = pc.sum(videos["duration_s"]).as_py() or 0.0, pc.sum(videos["faces"]).as_py() or 0
    get_clock().count(videos=videos.num_rows, crops=faces, video_seconds=shown)


def make_empty_answer() -> pa.Table:
    """What a worker answers for a unit that it has not done."""
    return make_answer(tables.from_rows("videos", []))


def attempt_unit(
    unit_id: str, work: Callable[[Attempt], pa.Table], nothing: Callable[[], pa.Table] = make_empty_answer
) -> pa.Table:
    """What ``work`` answers for a unit; ``nothing`` where it is handed back to the job with the reason.

    So is an error for the user, which ends the job: Ray Data would wrap it in a traceback.
    """
    try:
        nodes.require_sound()
        with Attempt(unit_id) as attempt:
            return work(attempt)
    except (JobError, UsageError, tables.TableError) as error:
        nodes.hand_back(unit_id, error)
        return nothing()


@dataclass(frozen=True)
class ExtractCrops:
    """Videos to crops."""

    config: ExtractConfig
    storage: Storage
    config_sha256: str

    def prepare(self) -> None:
        """Load the detector, so that the first unit does not wait for it; called once by each worker.

        What goes wrong is told with that unit.
        """
        skip_final_gc()
        with suppress(JobError, UsageError):
            get_extractor(fit_to_machine(self.config), self.storage)

    def __call__(self, block: pa.Table, attempt: Attempt) -> dict[str, Any]:
        """``{"unit_id", "videos", "crops"}`` of one unit: two finished tables.

        Raises ``NodeFault`` where videos cannot be read here, and may elsewhere.
        """
        unit_id = read_unit_id(block)
        found = [self._extract(entry, attempt) for entry in block.drop_columns([UNIT_ID]).to_pylist()]
        attempt.rest()
        require_readable(unit_id, [one.video for one in found], self.storage)
        return {
            UNIT_ID: unit_id,
            "videos": tables.from_rows("videos", [one.video for one in found], self.config_sha256),
            "crops": tables.stamp(
                "crops", pa.concat_tables([one.table for one in found]), self.config_sha256
            ),
        }

    def _extract(self, entry: dict[str, Any], attempt: Attempt) -> ExtractionResult:
        pieces = chunks.take_pieces(entry)
        if not attempt.begin(entry["video_id"]):
            return make_left_out(entry, "crops")
        if pieces is not None:
            return chunks.join_pieces(entry, pieces, self.config, self.storage)
        return get_extractor(fit_to_machine(self.config), self.storage).extract(entry)


def make_left_out(entry: Mapping[str, Any], table: str) -> ExtractionResult:
    """What stands for a video that workers died of."""
    row = make_video_row(entry) | describe_failure(Status.DECODE_ERROR, attempts.LEFT_OUT, retry=True)
    return ExtractionResult(row, tables.from_rows(table, []))


def require_readable(unit_id: str, videos: list[dict[str, Any]], storage: Storage) -> None:
    """Raise ``NodeFault`` where the files of ``videos`` rows could not be read, which others perhaps can.

    A file that was read and is no video (``retry`` is false) is no node's fault.
    """
    failed = [row for row in videos if row["status"] == Status.UNREADABLE and row.get("retry")]
    if not failed or nodes.accepts_failures(unit_id):
        return
    unreadable = tuple((row["video_id"], row["uri"]) for row in failed)
    details = {str(row["status_detail"]) for row in failed}
    more = f" and {len(unreadable) - 1} others" if len(unreadable) > 1 else ""
    raise NodeFault(
        f"it cannot read {unreadable[0][1]}{more} ({', '.join(sorted(details))}), which this job can: all "
        "nodes must see the input, at the same path",
        unreadable=unreadable,
        unseen=not all(_is_there(uri, storage) for _, uri in unreadable),
    )


def _is_there(uri: str, storage: Storage) -> bool:
    with suppress(OSError, JobError, UsageError):
        return storage.exists(uri)
    return True  # as far as this node can tell


def pack_unit(unit: Mapping[str, Any]) -> pa.Table:
    """A unit's tables, and what else there is, as a block of one row for Ray Data's next operator."""
    return pa.table(
        {
            key: [tables.to_ipc(value).to_pybytes() if isinstance(value, pa.Table) else value]
            for key, value in unit.items()
        }
    )


def unpack_units(block: pa.Table) -> list[dict[str, Any]]:
    """The units of a block that ``pack_unit`` made (Ray may have joined several)."""
    return [
        {key: tables.from_ipc(value) if isinstance(value, bytes) else value for key, value in row.items()}
        for row in block.to_pylist()
    ]
