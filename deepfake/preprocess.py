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
import ray
import ray.data

from deepfake import catalog, engine, tables
from deepfake.config import PreprocessJobConfig, config_sha256
from deepfake.errors import UsageError
from deepfake.extract import ExtractConfig, extract
from deepfake.faces.detector import make, resolve
from deepfake.progress import Progress
from deepfake.report import crops_page
from deepfake.staging import Output, Part
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
    units = plan(missing(listed, earlier), output.config_sha256)
    if config.dry_run:
        return planned(listed, units, output), []
    output.claim(
        {
            "input": config.input,
            **config.model_dump(mode="json", include={"catalog", "sampling", "detector", "crop"}),
        }
    )
    log.info(
        "%d videos, %d to do in %d units, detector %s",
        listed.num_rows, sum(unit.rows.num_rows for unit in units), len(units), config.detector.name,
    )  # fmt: skip
    with engine.session(config.ray):
        working = time.monotonic()
        make_units(units, config, output)
        videos = finish(units, output, earlier)
    seconds = time.monotonic() - working
    sheets = crops_page.write(config.output, storage) if any(videos["faces"].to_pylist()) else []
    return summary(videos, config, seconds, time.monotonic() - started), sheets


def make_units(units: list[Unit], config: PreprocessJobConfig, output: Output) -> None:
    """Work through the units that are not complete yet."""
    finished = output.finished_units()
    waiting = sorted((u for u in units if u.unit_id not in finished), key=lambda unit: -unit.seconds)
    if len(waiting) < len(units):
        log.info("%d of %d units were finished before", len(units) - len(waiting), len(units))
    if not waiting:
        return
    workers = min(engine.workers(config.ray), len(waiting))
    results = ray.data.from_blocks([_named(unit) for unit in waiting]).map_batches(
        ExtractUnit,
        fn_constructor_kwargs={"config": config, "output": output},
        batch_size=None,  # a block is a unit
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    total = sum(unit.rows.num_rows for unit in waiting)
    frames = 0
    with Progress("videos", total) as progress:
        for batch in results.iter_batches(batch_size=None, batch_format="pyarrow"):
            frames += sum(batch["frames_sampled"].to_pylist())
            progress.step(batch.num_rows, f"{frames} frames")


class ExtractUnit:
    """One unit at a time: its videos to crops, written to the output; answers its video rows."""

    def __init__(self, config: PreprocessJobConfig, output: Output) -> None:
        self._config = ExtractConfig(config.sampling, config.detector, config.crop)
        self._output = output
        self._detector = make(config.detector, output.storage)

    def __call__(self, unit: pa.Table) -> pa.Table:
        videos, crops = [], []
        for entry in unit.drop_columns(["unit_id"]).to_pylist():
            result = extract(entry, self._config, self._detector, self._output.storage)
            videos.append(result.video)
            crops += result.crops
        sha = self._output.config_sha256
        made = {
            "videos": tables.from_rows("videos", videos, sha),
            "crops": tables.from_rows("crops", crops, sha),
        }
        self._output.write_unit(unit["unit_id"][0].as_py(), made)
        return made["videos"]


@ray.remote(num_cpus=1)
def _join_part(output: Output, part: Part) -> int:
    return output.join_part(part)


def finish(units: list[Unit], output: Output, earlier: pa.Table | None) -> pa.Table:
    """Join the units' files and write the manifest; the videos of the whole output, sorted."""
    if not units:
        assert earlier is not None  # an empty catalog was refused
        return earlier
    ids = [unit.unit_id for unit in units]
    videos = output.read_units("videos", ids)
    if earlier is not None:
        videos = pa.concat_tables([earlier, videos]).sort_by("video_id")
    parts = output.parts("crops", ids)
    ray.get([_join_part.remote(output, part) for part in parts])
    output.finish(videos, parts)
    return videos


def missing(listed: pa.Table, earlier: pa.Table | None) -> pa.Table:
    """Catalog rows that an earlier finished run has not done; refuses files that have changed since."""
    if earlier is None:
        return listed
    done = dict(zip(earlier["video_id"].to_pylist(), earlier["size_bytes"].to_pylist(), strict=True))
    names, sizes = listed["video_id"].to_pylist(), listed["size_bytes"].to_pylist()
    changed = [
        n for n, size in zip(names, sizes, strict=True)
        if n in done and None not in (size, done[n]) and size != done[n]
    ]  # fmt: skip
    if changed:
        raise UsageError(
            f"{len(changed)} videos have changed since the output was made, the first is {changed[0]}; "
            "write to another --output"
        )
    return listed.filter(pa.array([name not in done for name in names], pa.bool_()))


def planned(listed: pa.Table, units: list[Unit], output: Output) -> dict[str, Any]:
    """What a run would do, for ``--dry-run``."""
    finished = output.finished_units()
    waiting = [unit for unit in units if unit.unit_id not in finished]
    return {
        "videos": listed.num_rows,
        "bytes": sum(size or 0 for size in listed["size_bytes"].to_pylist()),
        "by_label": dict(Counter(str(v) for v in listed["label"].to_pylist())),
        "by_split": dict(Counter(str(v) for v in listed["split"].to_pylist())),
        "videos_done": listed.num_rows - sum(unit.rows.num_rows for unit in waiting),
        "units_to_do": len(waiting),
        "output": output.root,
    }


def summary(
    videos: pa.Table, config: PreprocessJobConfig, seconds: float, all_seconds: float
) -> dict[str, Any]:
    """The numbers of the finished output."""
    frames = sum(videos["frames_sampled"].to_pylist())
    with_face = sum(videos["frames_with_face"].to_pylist())
    statuses = Counter(videos["status"].to_pylist())
    return {
        "input": config.input,
        "output": config.output,
        "detector": config.detector.name,
        "videos": videos.num_rows,
        "by_status": dict(sorted(statuses.items())),
        "failed": sum(count for status, count in statuses.items() if status in tables.FAILURES),
        "frames_sampled": frames,
        "frames_with_face": with_face,
        "faces": sum(videos["faces"].to_pylist()),
        "working_seconds": round(seconds, 2),
        "frames_per_second": round(frames / seconds, 2) if seconds else None,
        "started_ray_in_seconds": round(all_seconds - seconds, 2),
    }


def _named(unit: Unit) -> pa.Table:
    """The unit's rows with its id in a column, so that a block says which unit it is."""
    return unit.rows.append_column("unit_id", pa.array([unit.unit_id] * unit.rows.num_rows, pa.string()))
