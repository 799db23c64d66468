"""Score a whole archive with Ray Data: catalog -> units of work -> crops -> scores -> tables and page.

This page only chains the stages; ``stages`` beside it is what their workers do. On CPUs each of them cuts
a unit's faces and scores them in turn; with GPUs, CPU tasks cut, GPU actors score and CPU tasks write, each
streaming into the next.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from deepfake.config import (
    CropConfig,
    DetectorConfig,
    ScoreJobConfig,
    config_sha256,
    sha256_of,
)
from deepfake.config.budget import Budget
from deepfake.crops.extraction import ExtractConfig
from deepfake.execution import long_videos, planning, pools, runner, session
from deepfake.execution.deadline import Deadline
from deepfake.execution.output import Output
from deepfake.execution.work_units import Todo, Unit
from deepfake.faces.detectors.factory import carry_detector, resolve_detector
from deepfake.io import checksums, lock, tables
from deepfake.io.run_record import read_score_record
from deepfake.io.storage import Storage
from deepfake.io.uri import absolute
from deepfake.model import inference
from deepfake.model.bundle import Bundle
from deepfake.model.inference import Network
from deepfake.model.verdicts import VerdictRule, operating_point
from deepfake.outcome import Outcome
from deepfake.pipelines.score import diff, first_pass, report, stored_crops
from deepfake.pipelines.score.first_pass import Stage
from deepfake.pipelines.score.rows import Judgement, score_tables
from deepfake.pipelines.score.stages import (
    Budgeted,
    CutAndScoreUnit,
    ScoreOnGpu,
    Writer,
    cut_unit,
    write_units,
)
from deepfake.pipelines.score.stored_crops import KeptCrops

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
    started = time.monotonic()
    storage = Storage(config.storage)
    bundle = Bundle.load(absolute(config.bundle), storage, config.scoring.crops_at_once)
    kept = stored_crops.find(absolute(config.input), storage)
    config = resolved(config, bundle, storage, kept)
    folders = {**FOLDERS, "crops": "crops"} if config.scoring.keep_crops else FOLDERS
    output = Output(config.output, storage, config_sha256(config), folders)
    identity = sha256_of([output.config_sha256, bundle.sha256])
    if config.compare_with is not None:
        read_score_record(config.compare_with, storage)  # wrong ones are told before hours of work
    listed = planning.listed(config, output) if kept is None else kept.videos.slice(0, config.limit)
    if config.dry_run:
        return Outcome(planned(listed, config, output, identity))
    sections = config.model_dump(mode="json", include=set(config.row_sections))
    with lock.held(config.output, storage) as mine, session.session(config.ray):
        output.claim(
            {"input": config.input, "bundle": config.bundle, "bundle_sha256": bundle.sha256, **sections}
        )
        done = score(listed, config, output, identity, bundle, mine)
        del listed  # what follows needs the room
        writing = time.monotonic()
        videos = output.read_all("video_scores")
        look_at = report.write(videos, config, output, done.point, f"{config.bundle} ({bundle.sha256[:12]})")
        ended = time.monotonic()
        numbers = summary(videos, config, bundle, done, ended - writing, ended - started)
        if config.scoring.first_pass:
            numbers |= first_pass.saved(videos, config.sampling)
        if config.compare_with is not None:
            before = absolute(config.compare_with)
            numbers |= diff.write(config.output, before, storage, output.config_sha256)
            look_at.append(numbers["changes"])
        if config.report.checksums:
            numbers["checksums"] = checksums.write(config.output, storage)
    return Outcome(numbers, numbers["failed"] / max(1, numbers["videos"]), look_at)


@dataclasses.dataclass(frozen=True)
class Done:
    """What ``score`` has done."""

    point: VerdictRule  # in force
    followed: runner.Followed  # in this run
    working: float  # seconds from the plan to the joined tables, without the next
    starting: float  # seconds until the workers had all that they need, the network's export among them
    left: int  # videos that the budget left for the next run


def score(
    listed: pa.Table, config: ScoreJobConfig, output: Output, identity: str, bundle: Bundle, mine: lock.Lock
) -> Done:
    """Score the videos that have no scores yet, as far as the budget goes, and join the tables."""
    began = time.monotonic()
    budget = Budget.parse(config.budget) if config.budget else Budget()
    work = chosen(listed, config, output, identity, budget)
    exporting = time.monotonic()
    network = inference.prepare(bundle, output.storage, config.scoring.runtime, config.scoring.use_gpu)
    judgement = Judgement(
        config.scoring,
        operating_point(bundle, config.scoring),
        bundle.sha256,
        output.config_sha256,
        network.made_with,
    )
    preparing = time.monotonic() - exporting
    deadline = None if budget.seconds is None else Deadline(budget.seconds)
    followed = make_scores(work.units, config, output, network, judgement, deadline)
    starting = preparing + followed.starting
    mine.check()
    finish(reached(work, output), output, judgement)
    working = time.monotonic() - began - starting
    return Done(judgement.point, followed, working, starting, left(listed, output))


def chosen(listed: pa.Table, config: ScoreJobConfig, output: Output, identity: str, budget: Budget) -> Todo:
    """The work of this run: what no earlier one has done, as far as a budget in videos goes."""
    earlier = output.finished_videos(planning.EARLIER)
    rest = planning.missing(listed, earlier, config.retry_failed).slice(0, budget.videos)
    if stored_crops.PLACES in listed.column_names:
        return Todo(stored_crops.plan(rest, identity), tables.from_rows("videos", []), "", earlier)
    return planning.choose(rest, config, output, identity)


def reached(work: Todo, output: Output) -> Todo:
    """What is complete of the work, where a budget in hours has ended it early."""
    finished = output.finished_units()
    done = [unit for unit in work.units if unit.unit_id in finished]
    if len(done) == len(work.units):
        return work
    log.info("the budget is spent: %d of %d units are done", len(done), len(work.units))
    names = {name for unit in done for name in unit.rows["video_id"].to_pylist()}
    if work.earlier is not None:
        names.update(work.earlier["video_id"].to_pylist())
    copies = work.copies.filter(pc.is_in(work.copies["duplicate_of"], pa.array(sorted(names), pa.string())))
    return dataclasses.replace(work, units=done, copies=copies)


def left(listed: pa.Table, output: Output) -> int:
    """Videos that the budget left for the next run."""
    videos = output.finished_videos(["video_id"])
    assert videos is not None
    done = pc.is_in(listed["video_id"], videos["video_id"].combine_chunks())
    return listed.num_rows - (pc.sum(done).as_py() or 0)


def planned(listed: pa.Table, config: ScoreJobConfig, output: Output, identity: str) -> dict[str, Any]:
    """What a run would do, for ``--dry-run``."""
    if stored_crops.PLACES not in listed.column_names:
        return planning.planned(listed, config, output, identity)
    rest = planning.missing(listed, output.finished_videos(planning.EARLIER), config.retry_failed)
    units = len(stored_crops.plan(rest, identity))
    return {
        "videos": listed.num_rows,
        "videos_to_do": rest.num_rows,
        "units_to_do": units,
        "workers": str(planning.planned_workers(config, units)),
        "crops": sum(rest["faces"].to_pylist()),
        "output": output.root,
    }


def resolved(
    config: ScoreJobConfig, bundle: Bundle, storage: Storage, kept: KeptCrops | None = None
) -> ScoreJobConfig:
    """The configuration with the bundle's detector and crops in force, and absolute URIs.

    Crops that were kept are as they are: their own sampling, detector and crop sections apply.
    """
    if kept is not None:
        config = config.model_copy(update={"sampling": kept.sampling})
        detector, crop = kept.detector, kept.crop
    else:
        crop = config.crop or bundle.crop or CropConfig()
        detector = config.detector or bundle.detector or DetectorConfig()
        detector = resolve_detector(detector.model_copy(update={"boxes": "own"}), storage)
    for name, mine, trained in (("detector", detector, bundle.detector), ("crop", crop, bundle.crop)):
        free = {"yunet_model", "boxes"}
        if trained is not None and mine.model_dump(exclude=free) != trained.model_dump(exclude=free):
            log.warning(
                "the %s section differs from the one that the bundle was trained with; "
                "its threshold may not hold",
                name,
            )
    return config.model_copy(
        update={
            "input": absolute(config.input),
            "output": absolute(config.output),
            "bundle": absolute(config.bundle),
            "detector": detector,
            "crop": crop,
        }
    )


def make_scores(
    plan: list[Unit],
    config: ScoreJobConfig,
    output: Output,
    network: Network,
    judgement: Judgement,
    deadline: Deadline | None = None,
) -> runner.Followed:
    """Work through the units that are not complete yet; each leaves its tables in the output.

    No unit is begun after the ``deadline`` but the first, one for each worker that the
    cluster has room for at the start.
    """
    waiting = runner.waiting(plan, output)
    if not waiting:
        return runner.Followed()
    total = sum(unit.rows.num_rows for unit in waiting)
    log.info("%d videos to do in %d units, by %s", total, len(waiting), network.made_with)
    stage: Stage
    check = None
    if stored_crops.PLACES in waiting[0].rows.column_names:
        stage = partial(stored_crops.read_unit, storage=output.storage, config_sha256=output.config_sha256)
    else:
        assert config.detector is not None and config.crop is not None  # resolved
        detector = carry_detector(config.detector, output.storage)
        extraction = ExtractConfig(config.sampling, detector, config.crop)
        if not config.scoring.first_pass:  # which would come too late
            waiting = long_videos.shared(waiting, extraction, config.ray, output, deadline)
        if not waiting:
            return runner.Followed()
        check = partial(runner.require_sound_program, config=extraction, output=output)
        stage = partial(
            runner.extract_unit,
            config=dataclasses.replace(extraction, crops_kept=config.scoring.keep_crops),
            storage=output.storage,
            config_sha256=output.config_sha256,
        )
    workers = pools.workers(config.ray, len(waiting))
    blocks = runner.blocks(waiting)
    place = session.share(network)
    writer = Writer(output, judgement)
    budgeted = Budgeted(deadline, frozenset(unit.unit_id for unit in waiting[: workers.now]))
    if config.scoring.use_gpu:
        gpus = pools.gpus(config.ray, "scoring.use_gpu", math.ceil(len(waiting) / UNITS_AT_ONCE))
        cut = {"stage": stage, "budgeted": budgeted}
        results = on_gpus(blocks, cut, place, writer, workers, gpus)
    else:
        actor = {
            "stage": stage, "first": first_stage(stage, config), "budgeted": budgeted,
            "network": place, "writer": writer, "threads": 1,
        }  # fmt: skip
        results = pools.in_one_stage(
            blocks.map_batches(
                CutAndScoreUnit,
                fn_constructor_kwargs=actor,
                num_cpus=1,
                batch_size=None,
                batch_format="pyarrow",
                compute=pools.actors(workers),
            )
        )
    return runner.follow(results, total, check=check)


def on_gpus(
    blocks: ray.data.Dataset,
    cut: dict[str, Any],
    network: bytes,
    writer: Writer,
    cutters: pools.Workers,
    gpus: pools.Workers,
) -> ray.data.Dataset:
    """Units through the three stages of ``deepfake.pipelines.score.stages``, so many processes each.

    The first takes CPUs and the second GPUs, so that neither takes from the other however unequal they are.
    """
    crops = blocks.map_batches(
        cut_unit,
        fn_kwargs=cut,
        num_cpus=1,
        batch_size=None,
        batch_format="pyarrow",
        compute=pools.tasks(cutters),
    )
    scored = crops.map_batches(
        ScoreOnGpu,
        fn_constructor_kwargs={"network": network},
        num_gpus=1,
        batch_size=UNITS_AT_ONCE,
        batch_format="pyarrow",
        num_cpus=0,
        compute=pools.streaming_actors(gpus),
    )
    return scored.map_batches(
        write_units,
        fn_kwargs={"writer": writer},
        num_cpus=0,  # short tasks: a CPU that is set aside for them would be one less that decodes
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=gpus.most * WRITERS),
    )


def first_stage(stage: Stage, config: ScoreJobConfig) -> Stage | None:
    """The first look of two, if there are to be two; crops that were kept are looked at once."""
    if not config.scoring.first_pass or not isinstance(stage, partial) or "config" not in stage.keywords:
        return None
    extraction: ExtractConfig = stage.keywords["config"]
    quick = first_pass.quick(extraction.sampling, config.scoring)
    return partial(stage, config=dataclasses.replace(extraction, sampling=quick))


def finish(work: Todo, output: Output, judgement: Judgement) -> None:
    """Join the units' files and write the manifest. A copy has a row that names what stands for it."""
    if work.nothing_new:
        output.discard_staged()
        return
    no_crops = tables.from_rows("crops", [], output.config_sha256)
    kept = {"crops": no_crops} if "crops" in output.folders else {}
    runner.finish(
        work, output, lambda copies: {**score_tables(copies, no_crops, np.empty(0), judgement), **kept}
    )


def summary(
    videos: pa.Table,
    config: ScoreJobConfig,
    bundle: Bundle,
    done: Done,
    report_seconds: float,
    all_seconds: float,
) -> dict[str, Any]:
    """The numbers of the finished output, and the rates of this run.

    ``report_seconds`` are those of pages, pictures and heat maps.
    """
    seconds = done.working
    statuses = Counter(videos["status"].to_pylist())
    scored = statuses.get(tables.Status.OK, 0)
    return {
        "input": config.input,
        "output": config.output,
        "bundle": config.bundle,
        "bundle_sha256": bundle.sha256,
        "detector": config.detector.name if config.detector else None,
        "videos": videos.num_rows,
        "by_status": dict(sorted(statuses.items())),
        "by_verdict": dict(sorted(Counter(v for v in videos["verdict"].to_pylist() if v).items())),
        "coverage": round(scored / max(1, videos.num_rows), 4),
        "failed": sum(count for status, count in statuses.items() if status in tables.FAILURES),
        "program_faults": tables.program_faults(videos["status_detail"].to_pylist()),
        "frames_sampled": sum(videos["frames_sampled"].to_pylist()),
        "faces": sum(videos["faces"].to_pylist()),
        "working_seconds": round(seconds, 2),
        **done.followed.rates(seconds),
        "starting_seconds": round(done.starting, 2),
        "report_seconds": round(report_seconds, 2),
        "other_seconds": round(all_seconds - seconds - done.starting - report_seconds, 2),
        "left_for_the_next_run": done.left,
    }
