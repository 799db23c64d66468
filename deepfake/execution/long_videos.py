"""Have several workers share each long video, with Ray Data: survey -> pieces. Their join is a unit's work.

What is surveyed and looked at is kept under ``_work/`` as units are, so that a job started again does only
what is missing.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.media import is_image_name
from deepfake.config import RayConfig
from deepfake.crops import chunks
from deepfake.crops.chunks import PIECE_COLUMNS, Pieces
from deepfake.crops.extraction import ExtractConfig, ExtractionResult
from deepfake.crops.sandbox import get_extractor
from deepfake.execution import runner
from deepfake.execution.attempts import Attempt
from deepfake.execution.deadline import Deadline
from deepfake.execution.output import READERS, Output
from deepfake.execution.process import fit_to_machine
from deepfake.execution.runner import Work, require_sound_program
from deepfake.execution.unit_worker import (
    attempt_unit,
    make_answer,
    make_empty_answer,
    make_left_out,
    require_readable,
)
from deepfake.execution.work_units import Unit
from deepfake.io import tables
from deepfake.io.uri import join

log = logging.getLogger(__name__)


def share_pieces(
    waiting: list[Unit],
    config: ExtractConfig,
    ray_config: RayConfig,
    output: Output,
    deadline: Deadline | None = None,
) -> list[Unit]:
    """The units, once the pieces of their long videos are done; the rows of these name their pieces.

    No piece is begun after the ``deadline``; units that lack one are left out.
    """
    rows = [row for unit in waiting for row in list_long_videos(unit.rows, config.sampling.long_video_mb)]
    if not rows:
        return waiting
    log.info("%d videos are larger than sampling.long_video_mb and are looked into first", len(rows))
    bounds = _survey(rows, config, output, ray_config)
    cut: dict[str, Pieces] = {}
    left: dict[str, pa.Table] = {}
    finished = output.list_finished_units()
    for row in rows:
        entry = row.to_pylist()[0]
        survey_id = _survey_id(row, config, output)
        spans = list(zip(bounds[survey_id], bounds[survey_id][1:], strict=False))
        if len(spans) < 2:
            continue
        ids = [chunks.make_piece_id(entry, output.config_sha256, *span) for span in spans]
        cut[entry["video_id"]] = Pieces(join(output.root, "_work"), survey_id, tuple(ids))
        left |= {
            name: _make_block(row, survey_id=survey_id, piece_id=name, first=first, stop=stop)
            for name, (first, stop) in zip(ids, spans, strict=True)
            if name not in finished
        }
    if left:
        log.info("%d videos are cut into pieces, %d of which are to do", len(cut), len(left))
        work = {"config": config, "output": output, "deadline": deadline}
        check = partial(require_sound_program, config=config, output=output)
        _work_through(left, look_at_piece, work, ray_config, Work(output, len(left), "pieces", check))
    if deadline is not None:
        finished = output.list_finished_units()
        missing = {name for name, whole in cut.items() if not finished.issuperset(whole.piece_ids)}
        waiting = [unit for unit in waiting if missing.isdisjoint(unit.rows["video_id"].to_pylist())]
    return [_add_pieces(unit, cut) for unit in waiting]


def survey_video(block: pa.Table, config: ExtractConfig, output: Output) -> pa.Table:
    """A long video, surveyed; answers its ``videos`` row."""
    [entry] = block.to_pylist()
    survey_id = entry.pop("survey_id")

    def survey() -> ExtractionResult:
        extractor = get_extractor(fit_to_machine(config), output.storage)
        return extractor.survey(entry, config.sampling.piece_seconds)

    return _look_and_stage(survey_id, entry, "packets", survey, output)


def look_at_piece(
    block: pa.Table, config: ExtractConfig, output: Output, deadline: Deadline | None = None
) -> pa.Table:
    """One piece of a long video, looked at and staged; answers its ``videos`` row."""
    if deadline is not None and deadline.has_passed():
        return make_empty_answer()
    [entry] = block.to_pylist()
    survey_id, name, first, stop = (entry.pop(key) for key in ("survey_id", "piece_id", "first", "stop"))

    def look() -> ExtractionResult:
        packets = tables.read_table(output.storage, output.locate_unit("packets", survey_id), "packets")
        return get_extractor(fit_to_machine(config), output.storage).look(entry, (first, stop), packets)

    return _look_and_stage(name, entry, "pieces", look, output)


def _look_and_stage(
    unit_id: str, entry: dict[str, Any], table: str, look: Callable[[], ExtractionResult], output: Output
) -> pa.Table:
    """Have a video or a piece looked at, unless workers have died of it, and staged; its ``videos`` row."""

    def work(attempt: Attempt) -> pa.Table:
        found = look() if attempt.begin(entry["video_id"]) else make_left_out(entry, table)
        attempt.rest()
        require_readable(unit_id, [found.video], output.storage)
        row = tables.from_rows("videos", [found.video], output.config_sha256)
        output.write_unit(unit_id, {table: found.table, "videos": row})
        return make_answer(row)

    return attempt_unit(unit_id, work)


def _survey(
    rows: list[pa.Table], config: ExtractConfig, output: Output, ray_config: RayConfig
) -> dict[str, list[int]]:
    """The bounds of each video's pieces, by the id of its survey."""
    blocks = {_survey_id(row, config, output): row for row in rows}
    finished = output.list_finished_units()
    left = {name: _make_block(row, survey_id=name) for name, row in blocks.items() if name not in finished}
    if left:
        work = {"config": config, "output": output}
        _work_through(left, survey_video, work, ray_config, Work(output, len(left), "surveys"))
    with ThreadPoolExecutor(READERS) as pool:
        uris = [output.locate_unit("packets", name) for name in blocks]
        bounds = pool.map(lambda uri: chunks.read_bounds(uri, output.storage), uris)
        return dict(zip(blocks, bounds, strict=True))


def _work_through(
    blocks: Mapping[str, pa.Table],
    function: Callable[..., pa.Table],
    arguments: Mapping[str, Any],
    config: RayConfig,
    work: Work,
) -> None:
    """Have a task done for each block, by the id of what it makes."""

    def make_round(ids: set[str]) -> runner.Answers:
        left = [block for name, block in blocks.items() if name in ids]
        return runner.run_tasks(left, function, arguments, config)

    work.do(blocks, make_round)


def _survey_id(row: pa.Table, config: ExtractConfig, output: Output) -> str:
    return chunks.make_survey_id(row.to_pylist()[0], output.config_sha256, config.sampling.piece_seconds)


def list_long_videos(rows: pa.Table, megabytes: float) -> list[pa.Table]:
    """The catalog rows of videos larger than so much, each as a table."""
    large = rows.filter(pc.greater(pc.fill_null(rows["size_bytes"], 0), int(megabytes * 1e6)))
    names = zip(large["video_id"].to_pylist(), large["uri"].to_pylist(), strict=True)
    still = [is_image_name(name) or uri.endswith("/") for name, uri in names]
    return [large.slice(i, 1) for i in range(large.num_rows) if not still[i]]


def _make_block(row: pa.Table, **more: str | int) -> pa.Table:
    for name, value in more.items():
        row = row.append_column(name, pa.array([value]))
    return row


def _add_pieces(unit: Unit, cut: Mapping[str, Pieces]) -> Unit:
    found = [cut.get(name) for name in unit.rows["video_id"].to_pylist()]
    rows = unit.rows
    for name, kind in PIECE_COLUMNS.items():
        values = [None if whole is None else getattr(whole, name) for whole in found]
        rows = rows.append_column(name, pa.array(values, kind))
    return Unit(unit.unit_id, rows, unit.seconds)
