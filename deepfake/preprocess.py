"""Videos to face crops with Ray Data: catalog -> units of work -> crops -> Parquet.

This page only chains the stages; what happens to one video is in ``deepfake.extract``, what makes the
output resumable is in ``deepfake.staging``.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

import pyarrow as pa
import ray.data

from deepfake import catalog, engine, tables, units
from deepfake.config import PreprocessJobConfig, config_sha256
from deepfake.errors import UsageError
from deepfake.extract import ExtractConfig
from deepfake.faces.detector import resolve
from deepfake.report import crops_page
from deepfake.staging import Output
from deepfake.storage import Storage, absolute
from deepfake.work import Unit, plan

log = logging.getLogger(__name__)

FOLDERS = {"videos": "", "crops": ""}


def run(config: PreprocessJobConfig) -> tuple[dict[str, Any], list[str]]:
    """Do the whole job; the numbers for its summary, and what to look at.

    Raises ``UsageError`` where the input or the output folder is wrong.
    """
    started = time.monotonic()
    storage = Storage(config.storage)
    config = config.model_copy(
        update={
            "input": absolute(config.input),
            "output": absolute(config.output),
            "detector": resolve(config.detector, storage),
        }
    )
    listed = catalog.load(config.input, config.catalog, storage)
    if config.limit is not None:
        listed = listed.slice(0, config.limit)
    output = Output(config.output, storage, config_sha256(config), FOLDERS)
    earlier = output.finished_videos()
    todo = plan(missing(listed, earlier), output.config_sha256)
    if config.dry_run:
        return planned(listed, todo, output), []
    sections = config.model_dump(mode="json", include={"catalog", "sampling", "detector", "crop"})
    output.claim({"input": config.input, **sections})
    with engine.session(config.ray):
        working = time.monotonic()
        make_crops(todo, config, output)
        videos = finish(todo, output, earlier)
        seconds = time.monotonic() - working
    sheets = crops_page.write(config.output, storage) if any(videos["faces"].to_pylist()) else []
    return summary(videos, config, seconds, time.monotonic() - started), sheets


def make_crops(todo: list[Unit], config: PreprocessJobConfig, output: Output) -> None:
    """Work through the units that are not complete yet; each leaves its crops in the output."""
    waiting = units.waiting(todo, output)
    if not waiting:
        return
    total = sum(unit.rows.num_rows for unit in waiting)
    log.info("%d videos to do in %d units, detector %s", total, len(waiting), config.detector.name)
    results = units.blocks(waiting).map_batches(
        make_unit,
        fn_kwargs={
            "config": ExtractConfig(config.sampling, config.detector, config.crop),
            "output": output,
        },
        batch_size=None,  # a block is a unit
        batch_format="pyarrow",
        compute=ray.data.TaskPoolStrategy(size=min(engine.workers(config.ray), len(waiting))),
        num_cpus=1,
    )
    units.follow(results, total)


def make_unit(block: pa.Table, config: ExtractConfig, output: Output) -> pa.Table:
    """One unit's videos to crops, written to the output; answers its ``videos`` rows."""
    made = units.extract_unit(block, config, output.storage, output.config_sha256)
    output.write_unit(made.pop(units.UNIT_ID), made)
    return made["videos"]


def finish(todo: list[Unit], output: Output, earlier: pa.Table | None) -> pa.Table:
    """Join the units' files and write the manifest; the videos of the whole output, sorted."""
    if not todo and earlier is not None:
        return earlier
    ids = [unit.unit_id for unit in todo]
    videos = output.read_units("videos", ids)
    if earlier is not None:
        videos = pa.concat_tables([earlier, videos]).sort_by("video_id")
    parts = output.parts("crops", ids)
    units.join_parts(output, parts)
    output.finish(videos, parts)
    return videos


def missing(listed: pa.Table, earlier: pa.Table | None) -> pa.Table:
    """Catalog rows that an earlier finished run has not done; refuses files that have changed since."""
    if earlier is None:
        return listed
    done = dict(zip(earlier["video_id"].to_pylist(), earlier["size_bytes"].to_pylist(), strict=True))
    names, sizes = listed["video_id"].to_pylist(), listed["size_bytes"].to_pylist()
    changed = [
        name
        for name, size in zip(names, sizes, strict=True)
        if name in done and None not in (size, done[name]) and size != done[name]
    ]
    if changed:
        raise UsageError(
            f"{len(changed)} videos have changed since the output was made, the first is {changed[0]}; "
            "write to another --output"
        )
    return listed.filter(pa.array([name not in done for name in names], pa.bool_()))


def planned(listed: pa.Table, todo: list[Unit], output: Output) -> dict[str, Any]:
    """What a run would do, for ``--dry-run``."""
    finished = output.finished_units()
    waiting = [unit for unit in todo if unit.unit_id not in finished]
    return {
        "videos": listed.num_rows,
        "bytes": sum(size or 0 for size in listed["size_bytes"].to_pylist()),
        "by_label": dict(Counter(str(value) for value in listed["label"].to_pylist())),
        "by_split": dict(Counter(str(value) for value in listed["split"].to_pylist())),
        "videos_done": listed.num_rows - sum(unit.rows.num_rows for unit in waiting),
        "units_to_do": len(waiting),
        "output": output.root,
    }


def summary(
    videos: pa.Table, config: PreprocessJobConfig, seconds: float, all_seconds: float
) -> dict[str, Any]:
    """The numbers of the finished output."""
    frames = sum(videos["frames_sampled"].to_pylist())
    statuses = Counter(videos["status"].to_pylist())
    return {
        "input": config.input,
        "output": config.output,
        "detector": config.detector.name,
        "videos": videos.num_rows,
        "by_status": dict(sorted(statuses.items())),
        "failed": sum(count for status, count in statuses.items() if status in tables.FAILURES),
        "frames_sampled": frames,
        "frames_with_face": sum(videos["frames_with_face"].to_pylist()),
        "faces": sum(videos["faces"].to_pylist()),
        "working_seconds": round(seconds, 2),
        "frames_per_second": round(frames / seconds, 2) if seconds else None,
        "other_seconds": round(all_seconds - seconds, 2),
    }
