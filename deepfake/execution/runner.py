"""Work through the units of a plan with Ray Data; what preprocess and score have in common.

A unit goes through Ray Data as one block: first its catalog rows, then one row that carries its tables.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from deepfake.crops import canary, chunks
from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.sandbox import extractor
from deepfake.errors import JobError
from deepfake.execution import session
from deepfake.execution.output import Output, Part
from deepfake.execution.process import skip_final_gc
from deepfake.execution.ray_errors import user_errors
from deepfake.execution.work_units import Unit
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.progress import Progress

if TYPE_CHECKING:
    from deepfake.execution.work_units import Todo

log = logging.getLogger(__name__)

UNIT_ID = "unit_id"
SECONDS = "unit_seconds"
COPIES_AT_ONCE = 4096  # rows of copies in a file of their own
SMALL_BYTES = 64 * 2**20  # parts of this size are joined in the driver
FIRST_VIDEOS = 20  # where all of them end in a fault of this program, a good clip shows whether any would not


def blocks(units: Iterable[Unit]) -> ray.data.Dataset:
    """A dataset of one block a unit: its catalog rows, each with the unit's id."""
    return ray.data.from_blocks(
        [
            unit.rows.append_column(UNIT_ID, pa.array([unit.unit_id] * unit.rows.num_rows, pa.string()))
            for unit in units
        ]
    )


def waiting(units: list[Unit], output: Output) -> list[Unit]:
    """Units that are not complete yet, the costliest first, so that none of them is the tail."""
    output.forget_faults()
    finished = output.finished_units()
    left = sorted((unit for unit in units if unit.unit_id not in finished), key=lambda unit: -unit.seconds)
    if len(left) < len(units):
        log.info("%d of %d units were finished before", len(units) - len(left), len(units))
    return left


def answer(videos: pa.Table, seconds: float) -> pa.Table:
    """A unit's ``videos`` rows for ``follow``, with the seconds that the work on it took."""
    return videos.append_column(SECONDS, pa.array([seconds] * videos.num_rows, pa.float64()))


@dataclass(frozen=True)
class Followed:
    """What a run has worked through; nothing by default."""

    starting: float = 0.0  # seconds until the first unit began, where ``answer`` says so; else all seconds
    videos: int = 0
    frames: int = 0  # sampled

    def rates(self, seconds: float) -> dict[str, Any]:
        """Of this run, as its summary has them; None where it did nothing."""
        return {
            "frames_per_second": round(self.frames / seconds, 2) if self.videos else None,
            "videos_per_hour": round(self.videos / seconds * 3600) if self.videos else None,
        }


def follow(
    results: ray.data.Dataset,
    total: int,
    what: str = "videos",
    check: Callable[[int], None] | None = None,
) -> Followed:
    """Run a dataset of ``videos`` rows to its end, showing progress.

    ``check`` is called with their number where the first videos all end in a fault of this program.
    """
    videos = frames = failed = faults = 0
    started = time.monotonic()
    starting: float | None = None
    with Progress(what, total) as progress, user_errors():
        for batch in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            seconds = pc.max(batch[SECONDS]).as_py() if SECONDS in batch.column_names else None
            if seconds is not None:
                began = max(0.0, time.monotonic() - started - seconds)
                starting = began if starting is None else min(starting, began)
            before = videos
            videos += batch.num_rows
            frames += sum(batch["frames_sampled"].to_pylist())
            failed += sum(status in tables.FAILURES for status in batch["status"].to_pylist())
            faults += tables.program_faults(batch["status_detail"].to_pylist())
            progress.step(batch.num_rows, f"{frames} frames" + (f", {failed} failed" if failed else ""))
            if check and faults == videos and before < min(FIRST_VIDEOS, total) <= videos:
                check(videos)
    if starting is None:
        starting = time.monotonic() - started
    return Followed(starting, videos, frames)


def require_sound_program(videos: int, config: ExtractConfig, output: Output) -> None:
    """Raise ``JobError`` where a clip made for it ends as the job's first videos did.

    Where it does not, the job goes on: a few files that hit a bug stop no archive.
    """
    # A task without a CPU, since the workers hold them all.
    ask = ray.remote(num_cpus=0)(canary.failure).remote
    failure: str | None = ray.get(ask(config, output.storage))
    if failure is None:
        log.warning("a clip of this job's own is decoded without the fault that ends all videos so far")
        return
    output.doubt()
    raise JobError(
        f"all of the first {videos} videos ended in a fault of this program, and so did a clip that this job "
        f"made: {failure}. It stopped there; the traceback is above. Once that is mended, the same command "
        "does them again"
    )


def extract_unit(
    block: pa.Table, config: ExtractConfig, storage: Storage, config_sha256: str
) -> dict[str, Any]:
    """``{"unit_id", "videos", "crops"}`` of one unit: two finished tables."""
    worker = extractor(config, storage)
    found = []
    for entry in block.drop_columns([UNIT_ID]).to_pylist():
        whole = chunks.pieces_of(entry)
        found.append(worker.extract(entry) if whole is None else chunks.joined(entry, whole, config, storage))
    return {
        UNIT_ID: block[UNIT_ID][0].as_py(),
        "videos": tables.from_rows("videos", [one.video for one in found], config_sha256),
        "crops": tables.stamped("crops", pa.concat_tables([one.table for one in found]), config_sha256),
    }


def prepare(config: ExtractConfig, storage: Storage) -> None:
    """Load the detector, so that the first unit does not wait for it; called once by each worker."""
    skip_final_gc()
    extractor(config, storage)


def pack(unit: Mapping[str, Any]) -> pa.Table:
    """A unit's tables, and what else there is, as a block of one row for Ray Data's next operator."""
    return pa.table(
        {
            key: [tables.to_ipc(value).to_pybytes() if isinstance(value, pa.Table) else value]
            for key, value in unit.items()
        }
    )


def unpack(block: pa.Table) -> list[dict[str, Any]]:
    """The units of a block that ``pack`` made (Ray may have joined several)."""
    return [
        {key: tables.from_ipc(value) if isinstance(value, bytes) else value for key, value in row.items()}
        for row in block.to_pylist()
    ]


def finish(
    work: Todo, output: Output, tables_of_copies: Callable[[pa.Table], Mapping[str, pa.Table]]
) -> pa.Table:
    """Join the units' files of all tables and write the manifest; the videos of the whole output, sorted.

    ``tables_of_copies`` makes the other tables of ``videos`` rows of copies, which went through no unit.
    """
    ids = [unit.unit_id for unit in work.units]
    for start in range(0, work.copies.num_rows, COPIES_AT_ONCE):
        copies = tables.stamped("videos", work.copies.slice(start, COPIES_AT_ONCE), output.config_sha256)
        ids.append(f"{work.copies_id}-{start:08d}")
        output.write_unit(ids[-1], {"videos": copies, **tables_of_copies(copies)})
    videos = output.read_units("videos", ids)
    parts = [part for name in output.folders if name != "videos" for part in output.parts(name, ids)]
    join_parts(output, parts)
    replaced: dict[str, dict[str, str]] = {}
    earlier = output.finished_videos()
    if earlier is not None:
        again = pc.is_in(earlier["video_id"], videos["video_id"].combine_chunks())
        replaced = output.without(earlier["video_id"].filter(again), parts)
        videos = pa.concat_tables([earlier.filter(pc.invert(again)), videos])
    videos = videos.sort_by("video_id")
    output.finish(videos, parts, replaced)
    return videos


def join_parts(output: Output, parts: Iterable[Part]) -> None:
    """Write the final files from the units' files, in parallel."""
    small: list[Part] = []
    large: list[Part] = []
    for part in parts:
        (small if part.size_bytes <= SMALL_BYTES else large).append(part)
    session.spread(output.join_part, [(part,) for part in small], small=True)
    session.spread(_join_part, [(output, part) for part in large], small=False)


def _join_part(output: Output, part: Part) -> int:
    return output.join_part(part)
