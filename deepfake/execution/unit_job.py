"""The life of a job that works through the units of a plan: preprocess and score.

List, plan or lock, claim the output, choose what is left to do, have workers make it, join their files,
report. A job fills in what is its own.
"""

import logging
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog import load
from deepfake.config import PreprocessJobConfig, ScoreJobConfig
from deepfake.crops.extraction import ExtractConfig
from deepfake.execution import accounting, nodes, planning, runner, session, work_units
from deepfake.execution.output import Output
from deepfake.execution.work_units import Todo, Unit
from deepfake.faces.detectors.factory import carry_detector
from deepfake.io import lock, tables
from deepfake.io.storage import Storage
from deepfake.outcome import ACCOUNTING, Outcome

log = logging.getLogger(__name__)

WORKING = ("plan", "work", "join")  # stages of the job, the start of workers within them left out

Config = TypeVar("Config", PreprocessJobConfig, ScoreJobConfig)


class UnitJob(ABC, Generic[Config]):
    """One run. ``identity`` names what decides the rows, ``output`` is where they go."""

    def __init__(self, config: Config, output: Output, identity: str) -> None:
        self.config: Config = config
        self.output, self.identity = output, identity
        self.left_out: dict[str, str] = {}  # of the listed folder, in words
        self.ledger = accounting.open_ledger()

    @property
    def storage(self) -> Storage:
        """Reads and writes everything of the job."""
        return self.output.storage

    def run(self) -> Outcome:
        """Do the whole job; raises ``UsageError`` where the input or the output folder is wrong."""
        config, output, clock = self.config, self.output, self.ledger.job
        with clock.on("list"):
            listed = self.list_videos()
        self.left_out = load.read_notes(listed)
        if config.dry_run:
            return Outcome({**self.describe_plan(listed), **self.left_out})
        core_seconds = math.inf if self.needs_workers else self.estimate_core_seconds(listed)
        clock.enter("start")
        with (
            lock.hold(config.output, self.storage) as mine,
            session.open_session(config.ray, core_seconds, units=listed.num_rows),
        ):
            clock.enter(accounting.OTHER)
            output.claim(self.describe())
            followed = self._work_through(listed, mine)
            with clock.on("report"):
                left, gone = self._count_left(listed)
                del listed  # what follows needs the room
                numbers, look_at = self.report(left)
            with_workers = session.workers_exist()
            left_out = len(nodes.get_nodes().left_out)
        summary = {
            "input": config.input,
            "output": config.output,
            "detector": config.detector.name if config.detector else None,
            **self.left_out,
            **numbers,
            "no_longer_in_input": gone,
            "working_seconds": round(clock.read(*WORKING) - followed.starting, 2),
            **followed.compute_rates(clock.read(*WORKING) - followed.starting),
            "planning_seconds": round(clock.read("list"), 2),
            "starting_seconds": round(clock.read("start", "prepare") + followed.starting, 2),
            "report_seconds": round(clock.read("report"), 2),
            "done_by": "workers" if with_workers else "this process",
            "nodes_left_out": left_out,
        }
        summary[ACCOUNTING] = self.ledger.summarize(config.price_core_hour)
        return Outcome(summary, summary["failed"] / max(1, summary["videos"]), look_at)

    def _work_through(self, listed: pa.Table, mine: lock.Lock) -> runner.Followed:
        clock = self.ledger.job
        with clock.on("plan"):
            work = self.choose_units(listed)
        with clock.on("prepare"):
            self.prepare()
        with clock.on("plan"):
            waiting = runner.list_waiting(work.units, self.output)
        with clock.on("work"), self.show_so_far(listed.num_rows):
            followed = self._make(waiting)
        mine.check()
        with clock.on("join"):
            if work.nothing_new:
                self.output.discard_staged()
            else:
                runner.finish_output(self.cut_to_what_is_done(work), self.output, self.make_tables_of_copies)
        return followed

    def _count_left(self, listed: pa.Table) -> tuple[int, int]:
        """Videos that a budget left for the next run, and those that the input has no longer."""
        done = self.output.read_finished_videos(planning.EARLIER)
        assert done is not None
        left = planning.drop_videos(listed, done).num_rows + len(planning.list_changed(listed, done))
        return left, pc.sum(done["gone"]).as_py() or 0

    def _make(self, waiting: list[Unit]) -> runner.Followed:
        if not waiting:
            return runner.Followed()
        total = sum(unit.rows.num_rows for unit in waiting)
        log.info("%d videos to do in %d units, by %s", total, len(waiting), self.made_by)
        extraction = self.make_extraction()
        check = None
        if extraction is not None:
            check = partial(runner.require_sound_program, config=extraction, output=self.output)
            waiting = self.share_long_videos(waiting, extraction)
        work = runner.Work(self.output, total, check=check)
        units = {unit.unit_id: unit for unit in waiting}

        def make_round(ids: set[str]) -> runner.Answers:
            return self.make_units([unit for name, unit in units.items() if name in ids], extraction)

        return work.do(units, make_round)

    def list_videos(self) -> pa.Table:
        """Rows of table ``catalog``, or of the videos of an earlier output."""
        return planning.list_videos(self.config, self.output)

    def describe_plan(self, listed: pa.Table) -> dict[str, Any]:
        """What a run would do, for ``--dry-run``."""
        return planning.describe_plan(listed, self.config, self.output, self.identity)

    def estimate_core_seconds(self, listed: pa.Table) -> float:
        """About how much work is left, by the plan."""
        earlier = self.output.read_finished_videos(planning.EARLIER)
        rest = planning.select_missing(listed, earlier, self.config.retry_failed)
        return float(work_units.estimate_seconds(rest).sum())

    @property
    def needs_workers(self) -> bool:
        """Whether the job cannot be done in this process, however small."""
        return False

    def choose_units(self, listed: pa.Table) -> Todo:
        """What this run has to do."""
        return planning.choose_units(listed, self.config, self.output, self.identity)

    def prepare(self) -> None:
        """Get ready what workers need, before the first of them starts."""

    def show_so_far(self, videos: int) -> AbstractContextManager[None]:
        """Show people, while the block works, what is done of so many videos."""
        return nullcontext()

    def make_extraction(self) -> ExtractConfig | None:
        """How crops are cut; None where the input has them already. The detector's file travels in it."""
        assert self.config.detector is not None and self.config.crop is not None  # resolved
        detector = carry_detector(self.config.detector, self.storage)
        return ExtractConfig(self.config.sampling, detector, self.config.crop)

    def cut_to_what_is_done(self, work: Todo) -> Todo:
        """What is complete of the work; less than all where a budget has ended it early."""
        return work

    @property
    @abstractmethod
    def made_by(self) -> str:
        """The detector or network, in words."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What ``_config.json`` says beside the configuration's hash."""

    @abstractmethod
    def share_long_videos(self, waiting: list[Unit], extraction: ExtractConfig) -> list[Unit]:
        """The units, once the pieces of their long videos are done."""

    @abstractmethod
    def make_units(self, units: list[Unit], extraction: ExtractConfig | None) -> runner.Answers:
        """Write the units' tables to the output; answers with their ``videos`` rows."""

    @abstractmethod
    def make_tables_of_copies(self, copies: pa.Table) -> Mapping[str, pa.Table]:
        """The tables beside ``videos`` of videos that are copies of others."""

    @abstractmethod
    def report(self, left: int) -> tuple[dict[str, Any], list[str]]:
        """Write the pages; the numbers of the finished output, and URIs worth opening.

        Those of ``count_videos`` are among the numbers. ``left`` are videos for the next run.
        """


def count_videos(videos: pa.Table) -> dict[str, Any]:
    """The numbers of a finished output that all such jobs have, from its ``videos`` or ``video_scores``."""
    statuses = Counter(videos["status"].to_pylist())
    return {
        "videos": videos.num_rows,
        "by_status": dict(sorted(statuses.items())),
        "failed": sum(count for status, count in statuses.items() if status in tables.FAILURES),
        "program_faults": tables.count_program_faults(videos["status_detail"].to_pylist()),
        "frames_sampled": sum(videos["frames_sampled"].to_pylist()),
        "faces": sum(videos["faces"].to_pylist()),
    }
