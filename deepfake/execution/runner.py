"""Work through the units of a plan with Ray Data, round by round; what preprocess and score have in common.

A unit that a worker hands back is done by another node in the next round: see ``deepfake.execution.nodes``.
"""

from __future__ import annotations  # Ray imports its Data, and pandas, where its name is met

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from deepfake.config import RayConfig
from deepfake.crops import canary
from deepfake.crops.extraction import ExtractConfig
from deepfake.errors import JobError, UsageError
from deepfake.execution import accounting, nodes, pools, session, waiting
from deepfake.execution.output import PART_BYTES, Output, Part
from deepfake.execution.ray_errors import raise_user_errors
from deepfake.execution.unit_worker import SECONDS, UNIT_ID
from deepfake.execution.work_units import Todo, Unit
from deepfake.io import tables
from deepfake.outcome import get_clock
from deepfake.progress import Progress

log = logging.getLogger(__name__)

Answers = Generator[pa.Table, None, None]  # of workers, as they come

COPIES_AT_ONCE = 4096  # rows of copies in a file of their own
SMALL_BYTES = 64 * 2**20  # parts of this size are joined in the driver, though there is a cluster
FIRST_VIDEOS = 20  # where all of them end in a fault of this program, a good clip shows whether any would not


def make_block(unit: Unit) -> pa.Table:
    """A unit's catalog rows, each with the unit's id."""
    return unit.rows.append_column(UNIT_ID, pa.array([unit.unit_id] * unit.rows.num_rows, pa.string()))


def run_on_workers(
    blocks: Sequence[pa.Table],
    worker: type,
    arguments: Mapping[str, Any],
    workers: pools.Workers,
    demand: Mapping[str, float] = pools.ONE_CPU,
    at_once: int = 1,
) -> Answers:
    """What workers of one class answer for blocks: a table, or several as they come.

    Each worker asks for ``demand``, and works at so many blocks ``at_once``, in threads.
    """
    if not session.workers_exist():
        yield from _do_here(partial(worker, **arguments), blocks)
        return
    yield from _run_stage(
        blocks,
        accounting.make_accounted_worker(worker),
        fn_constructor_kwargs={"worker": worker, "arguments": dict(arguments), "threads": at_once},
        compute=pools.make_actor_pool(workers, at_once),
        num_cpus=demand.get("CPU", 0),
        num_gpus=demand.get("GPU"),
    )


def run_tasks(
    blocks: Sequence[pa.Table],
    function: Callable[..., pa.Table | Iterator[pa.Table]],
    arguments: Mapping[str, Any],
    config: RayConfig,
) -> Answers:
    """What a function answers for blocks, a task of one CPU each: a table, or several as they come."""
    if not session.workers_exist():
        yield from _do_here(lambda: partial(function, **arguments), blocks)
        return
    compute = pools.make_task_pool(pools.await_workers(config, len(blocks)))
    accounted = accounting.make_accounted_task(function)
    yield from _run_stage(blocks, accounted, fn_kwargs=dict(arguments), compute=compute, num_cpus=1)


def _run_stage(blocks: Sequence[pa.Table], work: Callable[..., Any], **options: Any) -> Answers:
    """What Ray Data's workers answer for blocks in one stage; a block is a unit, which goes whole to one."""
    results = ray.data.from_blocks(list(blocks)).map_batches(
        work, batch_size=None, batch_format="pyarrow", **options
    )
    yield from stream_answers(pools.tune_for_one_stage(results))


def _do_here(
    make: Callable[[], Callable[[pa.Table], pa.Table | Iterator[pa.Table]]], blocks: Sequence[pa.Table]
) -> Answers:
    with accounting.work_here() as working:
        with working(), get_clock().on(accounting.START):
            function = make()
        for block in blocks:
            with working():
                found = accounting.account_for(block, function)
            answers = iter([found] if isinstance(found, pa.Table) else found)
            while True:
                with working():
                    answer = next(answers, None)
                if answer is None:
                    break
                yield answer


def stream_answers(results: ray.data.Dataset) -> Answers:
    """The blocks of a dataset as they come. Ray Data's threads end before Ray does, however this ends."""
    batches = iter(results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
    with closing(batches):
        yield from batches
    accounting.get_ledger().take_all()  # not after an error, of which a lost cluster may be the reason


def list_waiting(units: list[Unit], output: Output) -> list[Unit]:
    """Units that are not complete yet, the costliest first, so that none of them is the tail."""
    output.forget_faults()
    finished = output.list_finished_units()
    output.forget_strangers({unit.unit_id: unit.rows for unit in units if unit.unit_id in finished})
    left = sorted(output.select_waiting(units), key=lambda unit: -unit.seconds)
    if len(left) < len(units):
        log.info("%d of %d units were finished before", len(units) - len(left), len(units))
    return left


@dataclass
class Followed:
    """What a run has worked through; nothing by default."""

    starting: float = 0.0  # seconds until the first unit began, where its answer says so; else all seconds
    videos: int = 0
    frames: int = 0  # sampled
    failed: int = 0
    program_faults: int = 0

    def compute_rates(self, seconds: float) -> dict[str, Any]:
        """Frames and videos by time, as the run's summary has them; None where it did nothing."""
        return {
            "frames_per_second": round(self.frames / seconds, 2) if self.videos else None,
            "videos_per_hour": round(self.videos / seconds * 3600) if self.videos else None,
        }

    def add(self, videos: pa.Table) -> None:
        """Count rows of table ``videos``."""
        self.videos += videos.num_rows
        self.frames += sum(videos["frames_sampled"].to_pylist())
        self.failed += sum(status in tables.FAILURES for status in videos["status"].to_pylist())
        self.program_faults += tables.count_program_faults(videos["status_detail"].to_pylist())


MakeRound = Callable[[set[str]], Answers]  # ids of units to answers: ``videos`` rows


@dataclass
class Work:
    """Units that are worked through in rounds, with their progress.

    ``check`` is called with a number where the first videos all end in a fault of this program.
    """

    output: Output
    total: int  # videos
    what: str = "videos"
    check: Callable[[int], None] | None = None

    def do(self, ids: Iterable[str], make_round: MakeRound) -> Followed:
        """Have all units done, those that are handed back in further rounds.

        ``JobError`` where no node is left that can work.
        """
        self._found, self._started = Followed(), time.monotonic()
        left = set(ids)
        on_actors = nodes.get_nodes().of_a_cluster and self.what == "videos"  # whose places can be seen
        watched = waiting.tell_where_none_works({"CPU": 1.0}) if on_actors else nullcontext()
        with Progress(self.what, self.total) as self._progress, watched:
            while left:
                left = self._do_round(left, make_round)
                if left:
                    log.info("%d units were handed back and are done by other nodes", len(left))
                    nodes.get_nodes().examine()
        if not self._found.videos:
            self._found.starting = time.monotonic() - self._started
        return self._found

    def _do_round(self, ids: set[str], make_round: MakeRound) -> set[str]:
        """Have the units worked through once; those that workers handed back."""
        returned: set[str] = set()
        try:
            with raise_user_errors(), closing(make_round(ids)) as batches:
                for batch in batches:
                    if batch.num_rows:
                        self._count(batch)
                    else:
                        returned.update(nodes.get_nodes().take_back(self.output.storage))
        except (JobError, UsageError, tables.TableError):
            raise
        except Exception:  # such as a worker that could not be made on a node that has just joined
            if not nodes.get_nodes().examine():
                raise
            returned = ids - self.output.list_finished_units()
        return returned.union(nodes.get_nodes().take_back(self.output.storage))

    def _count(self, batch: pa.Table) -> None:
        found = self._found
        if SECONDS in batch.column_names:
            began = max(0.0, time.monotonic() - self._started - pc.max(batch[SECONDS]).as_py())
            found.starting = min(began, found.starting) if found.videos else began
        before = found.videos
        found.add(batch)
        note = f"{found.frames} frames" + (f", {found.failed} failed" if found.failed else "")
        self._progress.step(batch.num_rows, note)
        enough = before < min(FIRST_VIDEOS, self.total) <= found.videos
        if self.check and enough and found.program_faults == found.videos:
            self.check(found.videos)


def require_sound_program(videos: int, config: ExtractConfig, output: Output) -> None:
    """Raise ``JobError`` where a clip made for it ends as the job's first videos did.

    Where it does not, the job goes on: a few files that hit a bug stop no archive.
    """
    explain: Callable[..., Any] = canary.explain_failure
    if session.workers_exist():
        place = nodes.get_nodes().make_selector()
        # A task without a CPU, since the workers hold them all.
        task = ray.remote(num_cpus=0, label_selector=place)(explain)
        failure = ray.get(task.remote(config, output.storage))
    else:
        failure = explain(config, output.storage)
    if failure is None:
        log.warning("a clip of this job's own is decoded without the fault that ends all videos so far")
        return
    output.mark_doubt()
    raise JobError(
        f"all of the first {videos} videos ended in a fault of this program, and so did a clip that this job "
        f"made: {failure}. It stopped there; the traceback is above. Once that is mended, the same command "
        "does them again"
    )


def finish_output(
    work: Todo, output: Output, make_tables_of_copies: Callable[[pa.Table], Mapping[str, pa.Table]]
) -> pa.Table:
    """Join the units' files of all tables and write the manifest; the videos of the whole output, sorted.

    ``make_tables_of_copies`` makes the other tables of ``videos`` rows of copies, which went through no unit.
    """
    ids = [unit.unit_id for unit in work.units]
    for start in range(0, work.copies.num_rows, COPIES_AT_ONCE):
        copies = tables.stamp("videos", work.copies.slice(start, COPIES_AT_ONCE), output.config_sha256)
        ids.append(f"{work.copies_id}-{start:08d}")
        output.write_unit(ids[-1], {"videos": copies, **make_tables_of_copies(copies)})
    videos = output.read_units("videos", ids)
    parts = [part for name in output.folders if name != "videos" for part in output.list_parts(name, ids)]
    earlier = output.read_finished_videos()
    again = None
    if earlier is not None:
        again = pc.is_in(earlier["video_id"], videos["video_id"].combine_chunks())
        if work.leaving is not None:
            again = pc.or_(again, pc.is_in(earlier["video_id"], work.leaving))
        videos = pa.concat_tables([earlier.filter(pc.invert(again)), videos])
    known = tables.select_relabelled(videos, videos if work.listed is None else work.listed)
    videos = tables.relabel(videos, known)
    join_parts(output, parts, known)
    replaced: dict[str, dict[str, str]] = {}
    if earlier is not None:
        replaced = output.rewrite(earlier.filter(again), known, parts)
        if work.gone is not None:
            marks = pc.if_else(pc.is_in(videos["video_id"], work.gone), True, pa.scalar(None, pa.bool_()))
            videos = videos.set_column(videos.schema.get_field_index("gone"), videos.field("gone"), marks)
    videos = videos.sort_by("video_id")
    output.finish(videos, parts, replaced)
    return videos


def join_parts(output: Output, parts: Iterable[Part], known: pa.Table) -> None:
    """Write the final files from the units' files, in parallel. ``known``: see ``Output.join_part``."""
    small: list[Part] = []
    large: list[Part] = []
    parts = list(parts)
    # On one machine as much as one part is joined before a worker would have started.
    here = not nodes.get_nodes().of_a_cluster and sum(part.size_bytes for part in parts) <= PART_BYTES
    for part in parts:
        (small if here or part.size_bytes <= SMALL_BYTES else large).append(part)
    session.spread(Output.join_part, [(output, part, known) for part in small], small=True)
    session.spread(Output.join_part, [(output, part, known) for part in large], small=False)
