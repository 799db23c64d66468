"""Have several workers share each long video, with Ray Data: survey -> pieces. Their join is a unit's work.

What is surveyed and looked at is kept under ``_work/`` as units are, so that a job started again does only
what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray.data

from deepfake.catalog.media import is_image
from deepfake.config import RayConfig
from deepfake.crops import chunks
from deepfake.crops.chunks import PIECE_COLUMNS, Pieces
from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.sandbox import extractor
from deepfake.execution import pools
from deepfake.execution.deadline import Deadline
from deepfake.execution.output import Output
from deepfake.execution.runner import follow, require_sound_program
from deepfake.execution.work_units import Unit
from deepfake.io import tables
from deepfake.io.uri import join

log = logging.getLogger(__name__)


def shared(
    waiting: list[Unit],
    config: ExtractConfig,
    ray_config: RayConfig,
    output: Output,
    deadline: Deadline | None = None,
) -> list[Unit]:
    """The units, once the pieces of their long videos are done; the rows of these name their pieces.

    No piece is begun after the ``deadline``; units that lack one are left out.
    """
    rows = [row for unit in waiting for row in _long(unit.rows, config.sampling.long_video_mb)]
    if not rows:
        return waiting
    log.info("%d videos are larger than sampling.long_video_mb and are looked into first", len(rows))
    bounds = _survey(rows, config, output, ray_config)
    cut: dict[str, Pieces] = {}
    left: list[pa.Table] = []
    finished = output.finished_units()
    for row in rows:
        entry = row.to_pylist()[0]
        survey_id = _survey_id(row, config, output)
        spans = list(zip(bounds[survey_id], bounds[survey_id][1:], strict=False))
        if len(spans) < 2:
            continue
        ids = [chunks.piece_id(entry, output.config_sha256, *span) for span in spans]
        cut[entry["video_id"]] = Pieces(join(output.root, "_work"), survey_id, tuple(ids))
        left += [
            _block(row, survey_id=survey_id, piece_id=name, first=first, stop=stop)
            for name, (first, stop) in zip(ids, spans, strict=True)
            if name not in finished
        ]
    if left:
        log.info("%d videos are cut into pieces, %d of which are to do", len(cut), len(left))
        results = ray.data.from_blocks(left).map_batches(
            look_at_piece,
            fn_kwargs={"config": config, "output": output, "deadline": deadline},
            **_tasks(ray_config, len(left)),
        )
        check = partial(require_sound_program, config=config, output=output)
        follow(pools.in_one_stage(results), len(left), "pieces", check)
    if deadline is not None:
        finished = output.finished_units()
        missing = {name for name, whole in cut.items() if not finished.issuperset(whole.piece_ids)}
        waiting = [unit for unit in waiting if missing.isdisjoint(unit.rows["video_id"].to_pylist())]
    return [_with_pieces(unit, cut) for unit in waiting]


def survey_video(block: pa.Table, config: ExtractConfig, output: Output) -> pa.Table:
    """``survey_id, bounds`` of a long video, surveyed unless that was done before."""
    [entry] = block.to_pylist()
    survey_id = entry.pop("survey_id")
    uri = join(output.root, "_work", "packets", f"{survey_id}.parquet")
    if not output.storage.exists(join(output.root, "_work", "videos", f"{survey_id}.parquet")):
        found = extractor(config, output.storage).survey(entry, config.sampling.piece_seconds)
        output.write_unit(survey_id, {"packets": found.table, "videos": _row(found.video, output)})
    bounds = chunks.read_bounds(uri, output.storage)
    return pa.table({"survey_id": [survey_id], "bounds": pa.array([bounds], pa.list_(pa.int64()))})


def look_at_piece(
    block: pa.Table, config: ExtractConfig, output: Output, deadline: Deadline | None = None
) -> pa.Table:
    """One piece of a long video, looked at and staged; answers its ``videos`` row."""
    if deadline is not None and deadline.passed():
        return tables.from_rows("videos", [])
    [entry] = block.to_pylist()
    survey_id, name, first, stop = (entry.pop(key) for key in ("survey_id", "piece_id", "first", "stop"))
    uri = join(output.root, "_work", "packets", f"{survey_id}.parquet")
    packets = output.storage.read_table(uri, "packets")
    found = extractor(config, output.storage).look(entry, (first, stop), packets)
    row = _row(found.video, output)
    output.write_unit(name, {"pieces": found.table, "videos": row})
    return row


def _survey(
    rows: list[pa.Table], config: ExtractConfig, output: Output, ray_config: RayConfig
) -> dict[str, list[int]]:
    """The bounds of each video's pieces, by the id of its survey."""
    blocks = [_block(row, survey_id=_survey_id(row, config, output)) for row in rows]
    results = ray.data.from_blocks(blocks).map_batches(
        survey_video, fn_kwargs={"config": config, "output": output}, **_tasks(ray_config, len(blocks))
    )
    pools.in_one_stage(results)
    found: dict[str, list[int]] = {}
    for batch in results.iter_batches(batch_size=None, batch_format="pyarrow"):
        found.update(zip(batch["survey_id"].to_pylist(), batch["bounds"].to_pylist(), strict=True))
    return found


def _survey_id(row: pa.Table, config: ExtractConfig, output: Output) -> str:
    return chunks.survey_id(row.to_pylist()[0], output.config_sha256, config.sampling.piece_seconds)


def _long(rows: pa.Table, megabytes: float) -> list[pa.Table]:
    """The catalog rows of videos larger than so much, each as a table."""
    large = rows.filter(pc.greater(pc.fill_null(rows["size_bytes"], 0), int(megabytes * 1e6)))
    names = large["video_id"].to_pylist()
    return [large.slice(i, 1) for i, name in enumerate(names) if not is_image(name)]


def _block(row: pa.Table, **more: str | int) -> pa.Table:
    for name, value in more.items():
        row = row.append_column(name, pa.array([value]))
    return row


def _row(video: Mapping[str, Any], output: Output) -> pa.Table:
    return tables.from_rows("videos", [video], output.config_sha256)


def _tasks(config: RayConfig, blocks: int) -> dict[str, Any]:
    return {
        "batch_size": None,  # a block is a video or a piece
        "batch_format": "pyarrow",
        "compute": pools.tasks(pools.workers(config, blocks)),
        "num_cpus": 1,
    }


def _with_pieces(unit: Unit, cut: Mapping[str, Pieces]) -> Unit:
    found = [cut.get(name) for name in unit.rows["video_id"].to_pylist()]
    rows = unit.rows
    for name, kind in PIECE_COLUMNS.items():
        values = [None if whole is None else getattr(whole, name) for whole in found]
        rows = rows.append_column(name, pa.array(values, kind))
    return Unit(unit.unit_id, rows, unit.seconds)
