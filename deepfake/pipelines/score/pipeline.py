"""Score a whole archive: catalog -> units of work -> crops -> scores -> tables and pages.

This page only chains the stages; ``stages`` beside it is what their workers do, and what makes the job
resumable is in ``deepfake.execution.unit_job``. On CPUs each worker cuts a unit's faces and scores them in
turn; with GPUs, CPU tasks cut, GPU actors score and CPU tasks write, each streaming into the next.
"""

from __future__ import annotations  # Ray imports its Data, and pandas, where its name is met

import dataclasses
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from deepfake.config import CropConfig, DetectorConfig, ScoreJobConfig, hash_config, hash_json
from deepfake.config.budget import Budget
from deepfake.crops import detection_rate
from deepfake.crops.extraction import ExtractConfig
from deepfake.execution import long_videos, planning, pools, runner, session, unit_job
from deepfake.execution.accounting import AccountedWorker, account_for
from deepfake.execution.deadline import Deadline
from deepfake.execution.output import Output
from deepfake.execution.unit_job import UnitJob
from deepfake.execution.unit_worker import ExtractCrops
from deepfake.execution.work_units import Todo, Unit
from deepfake.faces.detectors.factory import forget_absent_model, read_earlier_detector, resolve_detector
from deepfake.io import checksums, tables
from deepfake.io.run_record import read_score_record
from deepfake.io.storage import Storage
from deepfake.io.uri import make_absolute
from deepfake.model import inference
from deepfake.model.bundle import Bundle
from deepfake.model.verdicts import choose_verdict_rule
from deepfake.outcome import Outcome
from deepfake.pipelines.score import case_report, diff, first_pass, report, stored_crops
from deepfake.pipelines.score.live_page import LivePage
from deepfake.pipelines.score.rows import Judgement, score_tables
from deepfake.pipelines.score.stages import (
    Budgeted,
    CutAndScoreUnit,
    MakeCrops,
    ScoreOnGpu,
    Writer,
    cut_unit,
    write_units,
)
from deepfake.pipelines.score.stored_crops import KeptCrops, ReadCrops
from deepfake.training.joint_validation import load_bundles
from deepfake.video.credentials import read_trust_list

log = logging.getLogger(__name__)

UNITS_AT_ONCE = 4  # that a GPU scores together, so that its batches are full
WRITERS = 2  # tasks for each GPU that write what it has scored

FOLDERS = {
    "videos": "",
    "video_scores": "video_scores",
    "track_scores": "track_scores",
    "face_scores": "face_scores",
    "segments": "segments",
    "evidence": "evidence",
}


def run(config: ScoreJobConfig) -> Outcome:
    """Do the whole job.

    Raises ``UsageError`` where the input, the bundle or the output folder is wrong.
    """
    storage = Storage(config.storage)
    bundle = load_bundles(config.bundle, storage, config.scoring.crops_at_once)
    kept = stored_crops.find_kept_crops(make_absolute(config.input), storage)
    if config.compare_with is not None:
        read_score_record(config.compare_with, storage)  # wrong ones are told before hours of work
    return ScoreJob(resolve_config(config, bundle, storage, kept), storage, bundle, kept).run()


class ScoreJob(UnitJob[ScoreJobConfig]):
    """One run of score; its configuration is what ``resolve_config`` gave."""

    def __init__(
        self, config: ScoreJobConfig, storage: Storage, bundle: Bundle, kept: KeptCrops | None
    ) -> None:
        folders = {**FOLDERS, "crops": "crops"} if config.scoring.keep_crops else FOLDERS
        output = Output(config.output, storage, hash_config(config), folders)
        super().__init__(config, output, hash_json([output.config_sha256, bundle.sha256]))
        self.bundle, self.kept = bundle, kept
        looks = config.scoring.credentials and kept is None
        self.trust_list = read_trust_list(config.scoring.trust_list, storage) if looks else None
        case = config.report.case
        self.case = None if case is None else case_report.read_case(case, storage)
        self.budget = Budget.parse(config.budget) if config.budget else Budget()
        self.point = choose_verdict_rule(bundle, config.scoring)  # in force
        if self.point.unproven:
            log.warning("%s: no video gets a verdict: %s", bundle.uri, self.point.unproven)

    @property
    def made_by(self) -> str:
        return self.judgement.made_with or "stored scores"

    def list_videos(self) -> pa.Table:
        if self.kept is None:
            return super().list_videos()
        return self.kept.videos.slice(0, self.config.limit)

    @property
    def needs_workers(self) -> bool:
        return self.config.scoring.use_gpu

    def estimate_core_seconds(self, listed: pa.Table) -> float:
        if self.kept is None:
            return super().estimate_core_seconds(listed)
        return stored_crops.SECONDS_PER_CROP * sum(listed["faces"].to_pylist())

    def describe_plan(self, listed: pa.Table) -> dict[str, Any]:
        if self.kept is None:
            return super().describe_plan(listed)
        rest = planning.select_missing(
            listed, self.output.read_finished_videos(planning.EARLIER), self.config.retry_failed
        )
        waiting = self.output.select_waiting(self.plan_kept_units(rest))
        return {
            "videos": listed.num_rows,
            "videos_to_do": sum(unit.rows.num_rows for unit in waiting),
            "units_to_do": len(waiting),
            "workers": str(planning.count_workers(self.config, len(waiting))),
            "crops": sum(rest["faces"].to_pylist()),
            "output": self.output.root,
        }

    def plan_kept_units(self, rest: pa.Table) -> list[Unit]:
        """Units of videos whose crops were kept."""
        return stored_crops.plan_kept_units(rest, self.identity)

    def describe(self) -> dict[str, Any]:
        sections = self.config.model_dump(mode="json", include=set(self.config.row_sections))
        return {
            "input": self.config.input,
            "bundle": [one.uri for one in self.bundle.members] or self.bundle.uri,
            "bundle_sha256": self.bundle.sha256,
            "model_sha256": self.bundle.info.model_sha256,
            "report": {"faces": self.config.report.faces},
            **sections,
        }

    def choose_units(self, listed: pa.Table) -> Todo:
        """What no earlier run has done, as far as a budget in videos goes."""
        if self.kept is None:
            return planning.choose_units(listed, self.config, self.output, self.identity, self.budget.videos)
        earlier = self.output.read_finished_videos(planning.EARLIER)
        rest = planning.select_missing(listed, earlier, self.config.retry_failed).slice(0, self.budget.videos)
        units = self.plan_kept_units(rest)
        gone = None if earlier is None else planning.drop_videos(earlier, listed)["video_id"].combine_chunks()
        leaving = gone if self.config.remove_gone else None
        return Todo(units, tables.from_rows("videos", []), "", earlier, listed=listed, leaving=leaving)

    def prepare(self) -> None:
        """Export the network for the workers, and start the clock of a budget in hours."""
        scoring = self.config.scoring
        assert self.config.detector is not None
        if self.kept is None:
            log.info("%s", detection_rate.describe_detector(self.config.detector))
        network = inference.prepare_network(
            self.bundle, self.storage, scoring.runtime, scoring.use_gpu, scoring.flip
        )
        self.network: inference.AnyNetwork | None = network
        self.judgement = Judgement(
            scoring, self.point, self.bundle.sha256, self.output.config_sha256, network.made_with,
            self.config.report.faces, self.bundle.mixer,
        )  # fmt: skip
        self.deadline = None if self.budget.seconds is None else Deadline(self.budget.seconds)
        self.always: frozenset[str] | None = None  # units that are done however short the time is

    def show_so_far(self, videos: int) -> AbstractContextManager[None]:
        """The page is written anew while the job runs."""
        facts = report.describe_run(
            self.config, self.point, report.put_bundle_in_words(self.bundle), self.left_out
        )
        known = (self.config.report, facts, self.point, self.config.input, self.bundle.mixer)
        return LivePage(self.output, videos, *known).keep_up()

    def make_extraction(self) -> ExtractConfig | None:
        extraction = super().make_extraction() if self.kept is None else None
        return extraction and dataclasses.replace(extraction, trust_list=self.trust_list)

    def share_long_videos(self, waiting: list[Unit], extraction: ExtractConfig) -> list[Unit]:
        """Not where there is a first pass, for which this would come too late."""
        if self.config.scoring.first_pass:
            return waiting
        return long_videos.share_pieces(waiting, extraction, self.config.ray, self.output, self.deadline)

    def make_units(self, units: list[Unit], extraction: ExtractConfig | None) -> runner.Answers:
        """Past the deadline only the first units are done, one a worker that has a place."""
        scoring, sha256 = self.config.scoring, self.output.config_sha256
        make: MakeCrops = ReadCrops(self.storage, sha256)
        first: ExtractCrops | None = None
        if extraction is not None:
            extraction = dataclasses.replace(extraction, crops_kept=scoring.keep_crops)
            make = ExtractCrops(extraction, self.storage, sha256)
            if scoring.first_pass:
                quick = first_pass.make_quick_sampling(extraction.sampling, scoring)
                first = dataclasses.replace(make, config=dataclasses.replace(extraction, sampling=quick))
        workers = pools.await_workers(self.config.ray, len(units))
        if self.always is None:
            self.always = frozenset(unit.unit_id for unit in units[: workers.now])
        budgeted = Budgeted(self.deadline, self.always)
        writer, network = Writer(self.output, self.judgement), session.share(self.network)
        blocks = [runner.make_block(unit) for unit in units]
        if scoring.use_gpu:
            gpus = pools.await_gpus(self.config.ray, "scoring.use_gpu", math.ceil(len(units) / UNITS_AT_ONCE))
            cut = partial(cut_unit, make=make, budgeted=budgeted)
            return runner.stream_answers(score_on_gpus(blocks, cut, network, writer, workers, gpus))
        arguments = {
            "make": make, "first": first, "budgeted": budgeted, "network": network, "writer": writer,
            "threads": 1 if session.workers_exist() else None,
        }  # fmt: skip
        return runner.run_on_workers(blocks, CutAndScoreUnit, arguments, workers)

    def cut_to_what_is_done(self, work: Todo) -> Todo:
        finished = self.output.list_finished_units()
        done = [unit for unit in work.units if unit.unit_id in finished]
        if len(done) == len(work.units):
            return work
        log.info("the budget is spent: %d of %d units are done", len(done), len(work.units))
        names = {name for unit in done for name in unit.rows["video_id"].to_pylist()}
        if work.earlier is not None:
            names.update(work.earlier["video_id"].to_pylist())
        originals = pa.array(sorted(names), pa.string())
        copies = work.copies.filter(pc.is_in(work.copies["duplicate_of"], originals))
        return dataclasses.replace(work, units=done, copies=copies)

    def make_tables_of_copies(self, copies: pa.Table) -> Mapping[str, pa.Table]:
        """A copy has a row that names what stands for it."""
        no_crops = tables.from_rows("crops", [], self.output.config_sha256)
        kept = {"crops": no_crops} if "crops" in self.output.folders else {}
        return {**score_tables(copies, no_crops, np.empty(0), self.judgement), **kept}

    def report(self, left: int) -> tuple[dict[str, Any], list[str]]:
        config, output = self.config, self.output
        videos = output.read_every_video("video_scores")
        compared = None
        if config.compare_with is not None:
            before = make_absolute(config.compare_with)
            compared = diff.write_changes(config.output, before, self.storage, output.config_sha256)
        look_at = report.write_report(
            videos, config, output, self.point, self.bundle, self.network, self.left_out, compared, self.case
        )
        assert config.detector is not None
        counted = detection_rate.count_yield(videos)
        if words := detection_rate.explain_difference(counted, config.detector.name):
            log.warning("%s", words)
        scored = Counter(videos["status"].to_pylist()).get(tables.Status.OK, 0)
        numbers = {
            "bundle": self.bundle.uri,
            "bundle_sha256": self.bundle.sha256,
            **unit_job.count_videos(videos),
            "by_verdict": dict(sorted(Counter(v for v in videos["verdict"].to_pylist() if v).items())),
            **({"unproven": self.point.unproven} if self.point.unproven else {}),
            "coverage": round(scored / max(1, videos.num_rows), 4),
            "left_for_the_next_run": left,
        }
        if config.scoring.first_pass:
            numbers |= first_pass.count_savings(videos, config.sampling)
        if compared is not None:
            numbers |= compared.summarize()
            look_at.append(compared.uri)
        if config.report.checksums:
            numbers["checksums"] = checksums.write_checksums(config.output, self.storage)
        return numbers, look_at


def resolve_config(
    config: ScoreJobConfig, bundle: Bundle, storage: Storage, kept: KeptCrops | None = None
) -> ScoreJobConfig:
    """The configuration with the bundle's detector and crops in force, and absolute URIs.

    Crops that were kept are as they are: their own sampling, detector and crop sections apply.
    """
    trained = bundle.info
    if kept is not None:
        config = config.model_copy(update={"sampling": kept.sampling.with_limits_of(config.sampling)})
        detector, crop = kept.detector, kept.crop
    else:
        crop = config.crop or trained.crop or CropConfig()
        if "size" not in crop.model_fields_set:
            crop = crop.model_copy(update={"size": bundle.crop_size})
        earlier = read_earlier_detector(make_absolute(config.output), storage) or trained.detector
        detector = config.detector or forget_absent_model(trained.detector or DetectorConfig(), storage)
        detector = resolve_detector(detector.model_copy(update={"boxes": "own"}), storage, earlier)
    bundle.require_size(crop.size, config.input)
    for name, mine, theirs in (("detector", detector, trained.detector), ("crop", crop, trained.crop)):
        free = {"yunet_model", "boxes"}
        if theirs is not None and mine.model_dump(exclude=free) != theirs.model_dump(exclude=free):
            log.warning(
                "the %s section differs from the one that the bundle was trained with; "
                "its threshold may not hold",
                name,
            )
    return config.model_copy(
        update={
            "input": make_absolute(config.input),
            "output": make_absolute(config.output),
            "bundle": [make_absolute(uri) for uri in config.bundle],
            "detector": detector,
            "crop": crop,
        }
    )


def score_on_gpus(
    blocks: Sequence[pa.Table],
    cut: Callable[[pa.Table], pa.Table],
    network: bytes,
    writer: Writer,
    cutters: pools.Workers,
    gpus: pools.Workers,
) -> ray.data.Dataset:
    """Units through the three stages of ``deepfake.pipelines.score.stages``, so many processes each.

    The first takes CPUs and the second GPUs, so that neither takes from the other however unequal they are.
    """
    whole = {"batch_size": None, "batch_format": "pyarrow"}  # a block is a unit
    crops = ray.data.from_blocks(list(blocks)).map_batches(
        partial(account_for, work=cut), num_cpus=1, compute=pools.make_task_pool(cutters), **whole
    )
    scored = crops.map_batches(
        AccountedWorker,
        fn_constructor_kwargs={"worker": ScoreOnGpu, "arguments": {"network": network}},
        num_gpus=1,
        num_cpus=0,
        batch_size=UNITS_AT_ONCE,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, initial_size=gpus.now, max_size=gpus.most),
    )
    # short tasks: a CPU that is set aside for them would be one less that decodes
    writers = ray.data.TaskPoolStrategy(size=gpus.most * WRITERS)
    write = partial(account_for, work=write_units, writer=writer)
    return scored.map_batches(write, num_cpus=0, compute=writers, **whole)
