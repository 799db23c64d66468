"""Videos to face crops with Ray Data: catalog -> units of work -> crops -> Parquet.

This page only chains the stages; what happens to one video is in ``deepfake.crops.extraction``, what makes
the output resumable is in ``deepfake.execution.output``.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.csv

from deepfake.config import PreprocessJobConfig, config_sha256
from deepfake.crops.extraction import ExtractConfig
from deepfake.execution import long_videos, planning, pools, runner, session
from deepfake.execution.output import Output
from deepfake.execution.work_units import Todo, Unit
from deepfake.faces.detectors.factory import carry_detector, resolve_detector
from deepfake.io import lock, tables
from deepfake.io.storage import Storage
from deepfake.io.uri import absolute, join
from deepfake.outcome import Outcome
from deepfake.pipelines.preprocess import contact_sheets, detection_rate

log = logging.getLogger(__name__)

FOLDERS = {"videos": "", "crops": ""}


def run(config: PreprocessJobConfig) -> Outcome:
    """Do the whole job.

    Raises ``UsageError`` where the input or the output folder is wrong.
    """
    started = time.monotonic()
    storage = Storage(config.storage)
    config = config.model_copy(
        update={
            "input": absolute(config.input),
            "output": absolute(config.output),
            "detector": resolve_detector(config.detector, storage),
        }
    )
    output = Output(config.output, storage, config_sha256(config), FOLDERS)
    listed = planning.listed(config, output)
    if config.dry_run:
        return Outcome(planning.planned(listed, config, output, output.config_sha256))
    sections = config.model_dump(mode="json", include={"catalog", "sampling", "detector", "crop"})
    with lock.held(config.output, storage) as mine, session.session(config.ray):
        output.claim({"input": config.input, **sections})
        working = time.monotonic()
        work = planning.choose(listed, config, output, output.config_sha256)
        followed = make_crops(work.units, config, output)
        mine.check()
        videos = finish(work, output)
        write_yield(videos, output, config.detector.name)
        sheets = write_sheets(output) if any(videos["faces"].to_pylist()) else []
        seconds = time.monotonic() - working - followed.starting
    numbers = summary(videos, config, followed, seconds, time.monotonic() - started)
    return Outcome(numbers, numbers["failed"] / max(1, numbers["videos"]), sheets)


def make_crops(plan: list[Unit], config: PreprocessJobConfig, output: Output) -> runner.Followed:
    """Work through the units that are not complete yet; each leaves its crops in the output."""
    waiting = runner.waiting(plan, output)
    if not waiting:
        return runner.Followed()
    total = sum(unit.rows.num_rows for unit in waiting)
    log.info("%d videos to do in %d units, detector %s", total, len(waiting), config.detector.name)
    detector = carry_detector(config.detector, output.storage)
    extraction = ExtractConfig(config.sampling, detector, config.crop)
    waiting = long_videos.shared(waiting, extraction, config.ray, output)
    workers = pools.workers(config.ray, len(waiting))
    results = runner.blocks(waiting).map_batches(
        MakeUnit,
        fn_constructor_args=(extraction, output),
        batch_size=None,  # a block is a unit
        batch_format="pyarrow",
        compute=pools.actors(workers),
        num_cpus=1,
    )
    check = partial(runner.require_sound_program, config=extraction, output=output)
    return runner.follow(pools.in_one_stage(results), total, check=check)


class MakeUnit:
    """One unit's videos to crops, written to the output; answers its ``videos`` rows."""

    def __init__(self, config: ExtractConfig, output: Output) -> None:
        self._config, self._output = config, output
        runner.prepare(config, output.storage)

    def __call__(self, block: pa.Table) -> pa.Table:
        began = time.monotonic()
        made = runner.extract_unit(block, self._config, self._output.storage, self._output.config_sha256)
        self._output.write_unit(made.pop(runner.UNIT_ID), made)
        return runner.answer(made["videos"], time.monotonic() - began)


def write_sheets(output: Output) -> list[str]:
    """The contact sheets; their URIs."""
    sheets = contact_sheets.sheets(output.root, output.storage)
    size = sum(info.size for info in output.storage.list_files(output.root))
    if size <= runner.SMALL_BYTES:  # workers would take longer to start
        return contact_sheets.write_sheets(sheets, output.storage)
    calls = [([sheet], output.storage) for sheet in sheets]
    return [uri for uris in session.spread(contact_sheets.write_sheets, calls, small=False) for uri in uris]


def finish(work: Todo, output: Output) -> pa.Table:
    """Join the units' files and write the manifest; the videos of the whole output, sorted."""
    if work.nothing_new:
        output.discard_staged()
        videos = output.finished_videos()
        assert videos is not None
        return videos
    no_crops = {"crops": tables.from_rows("crops", [], output.config_sha256)}
    return runner.finish(work, output, lambda copies: no_crops)


def write_yield(videos: pa.Table, output: Output, detector: str) -> None:
    """The yield table as ``_yield.csv``; a warning where it differs between the classes."""
    rows = detection_rate.table(videos)
    output.storage.write_csv(join(output.root, "_yield.csv"), pa.Table.from_pylist(rows))
    log.info("faces found\n%s", detection_rate.words(rows))
    if words := detection_rate.warning(rows, detector):
        log.warning("%s", words)


def summary(
    videos: pa.Table,
    config: PreprocessJobConfig,
    followed: runner.Followed,
    seconds: float,
    all_seconds: float,
) -> dict[str, Any]:
    """The numbers of the finished output, and the rates of this run."""
    statuses = Counter(videos["status"].to_pylist())
    return {
        "input": config.input,
        "output": config.output,
        "detector": config.detector.name,
        "videos": videos.num_rows,
        "by_status": dict(sorted(statuses.items())),
        "failed": sum(count for status, count in statuses.items() if status in tables.FAILURES),
        "program_faults": tables.program_faults(videos["status_detail"].to_pylist()),
        "frames_sampled": sum(videos["frames_sampled"].to_pylist()),
        "frames_with_face": sum(videos["frames_with_face"].to_pylist()),
        "faces": sum(videos["faces"].to_pylist()),
        "working_seconds": round(seconds, 2),
        **followed.rates(seconds),
        "starting_seconds": round(followed.starting, 2),  # of the workers
        "other_seconds": round(all_seconds - seconds - followed.starting, 2),
    }
