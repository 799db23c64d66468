"""What the workers of a score job do with a unit: cut its crops, score them, leave its tables in the output.

On CPUs ``CutAndScoreUnit`` does all in turn. With GPUs there are three stages, so that a GPU does nothing but
score: ``cut_unit`` and ``write_units`` on CPUs, ``ScoreOnGpu`` between them. A unit's block is as in
``deepfake.execution.runner``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from deepfake.execution import runner, session
from deepfake.execution.deadline import Deadline
from deepfake.execution.output import Output
from deepfake.faces.encoding import decode_image
from deepfake.io import tables
from deepfake.model.inference import Scorer
from deepfake.model.network import INPUT_SIZE
from deepfake.pipelines.score import first_pass
from deepfake.pipelines.score.first_pass import Stage
from deepfake.pipelines.score.rows import Judgement, score_crops, score_tables

PIXELS = "pixels"  # column of a unit's block: its crops, (n, 224, 224, 3) uint8 RGB; null where they are many
SCORES = "scores"  # and their scores
MOST_PIXELS = 2048  # crops of a unit that go to the GPU's actor as pixels, 308 MB; of more it decodes them


@dataclass(frozen=True)
class Budgeted:
    """The time for units, but for some that are done however short it is."""

    deadline: Deadline | None  # None: there is no end
    always: frozenset[str]  # ids of units

    def too_late_for(self, block: pa.Table) -> bool:
        """Whether the unit of a block is not to be begun."""
        if self.deadline is None or block[runner.UNIT_ID][0].as_py() in self.always:
            return False
        return self.deadline.passed()


@dataclass(frozen=True)
class Writer:
    """Where the tables of scored units go, and how they are judged."""

    output: Output
    judgement: Judgement

    def write(
        self, unit: Mapping[str, Any], scores: np.ndarray, passes: Mapping[str, int] = MappingProxyType({})
    ) -> pa.Table:
        """Write the tables of one unit, ``scores`` one for each of its crops; its ``videos`` rows."""
        made = score_tables(unit["videos"], unit["crops"], scores, self.judgement, passes)
        if "crops" in self.output.folders:
            made["crops"] = unit["crops"]
        self.output.write_unit(unit[runner.UNIT_ID], {"videos": unit["videos"], **made})
        return unit["videos"]


def started(network: bytes, threads: int | None = None) -> Scorer:
    """A ``Network`` that the job shares, as what scores with it, compiled."""
    scorer: Scorer = session.fetch(network).scorer(threads)
    scorer.score(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))
    return scorer


class CutAndScoreUnit:
    """All stages in one process, for machines without GPUs, so that no core waits for another stage.

    ``network`` is as in ``started``. Everything is loaded once, before the first unit.
    """

    def __init__(
        self,
        stage: Stage,
        first: Stage | None,
        budgeted: Budgeted,
        network: bytes,
        writer: Writer,
        threads: int,
    ) -> None:
        self._stage, self._first, self._budgeted = stage, first, budgeted
        self._writer = writer
        for look in (stage, first):
            if isinstance(look, partial) and "config" in look.keywords:
                runner.prepare(look.keywords["config"], look.keywords["storage"])
        self._scorer = started(network, threads)

    def __call__(self, block: pa.Table) -> pa.Table:
        began = time.monotonic()
        if self._budgeted.too_late_for(block):
            return runner.answer(tables.from_rows("videos", []), 0.0)
        return runner.answer(self._scored(block), time.monotonic() - began)

    def _scored(self, block: pa.Table) -> pa.Table:
        """Score one unit: by a first look, and a whole one where that leaves doubt, or at once."""
        if self._first is None:
            unit = self._stage(block)
            return self._writer.write(
                unit, score_crops(unit["crops"]["crop"].to_pylist(), self._scorer.score)
            )
        judgement = self._writer.judgement
        looked = first_pass.look(
            block, self._first, self._stage, self._scorer.score, judgement.scoring, judgement.point.threshold
        )
        return self._writer.write(looked.unit, looked.scores, looked.passes)


def cut_unit(block: pa.Table, stage: Stage, budgeted: Budgeted) -> pa.Table:
    """One unit's catalog rows to its packed videos and crops, with their pixels and the seconds it took."""
    began = time.monotonic()
    if budgeted.too_late_for(block):
        return pa.table({})
    unit = stage(block)
    encoded = unit["crops"]["crop"].to_pylist()
    pixels = (
        b"".join(decode_image(data).tobytes() for data in encoded) if len(encoded) <= MOST_PIXELS else None
    )
    packed = runner.pack({**unit, runner.SECONDS: time.monotonic() - began})
    return packed.append_column(PIXELS, pa.array([pixels], pa.large_binary()))


class ScoreOnGpu:
    """Packed units to the same with scores in place of pixels, in an actor that holds a GPU.

    The network starts with the actor, while the first crops are being cut.
    """

    def __init__(self, network: bytes) -> None:
        self._scorer = started(network)

    def __call__(self, block: pa.Table) -> pa.Table:
        """Score units together, so that batches fill up."""
        if PIXELS not in block.column_names:
            return block
        pixels = [_crops(value) for value in block[PIXELS]]
        at_once = [crops for crops in pixels if crops is not None]
        found = self._scorer.score(np.concatenate(at_once)) if at_once else np.empty(0)
        scores = []
        for row, crops in enumerate(pixels):
            if crops is None:
                encoded = tables.from_ipc(block["crops"][row].as_py())["crop"].to_pylist()
                scores.append(score_crops(encoded, self._scorer.score))
            else:
                scores.append(found[: len(crops)])
                found = found[len(crops) :]
        return block.drop_columns([PIXELS]).append_column(SCORES, pa.array(scores, pa.list_(pa.float64())))


def _crops(pixels: pa.LargeBinaryScalar) -> np.ndarray | None:
    """(n, 224, 224, 3) uint8 of the column ``PIXELS``, not copied."""
    if not pixels.is_valid:
        return None
    return np.frombuffer(pixels.as_buffer(), np.uint8).reshape(-1, INPUT_SIZE, INPUT_SIZE, 3)


def write_units(block: pa.Table, writer: Writer) -> pa.Table:
    """Write the tables of units that have scores; answers their ``videos`` rows."""
    began, unpacked = time.monotonic(), runner.unpack(block)
    if not unpacked:
        return runner.answer(tables.from_rows("videos", []), 0.0)
    videos = [writer.write(unit, np.array(unit[SCORES], np.float64)) for unit in unpacked]
    cutting = max(unit[runner.SECONDS] for unit in unpacked)
    return runner.answer(pa.concat_tables(videos), cutting + time.monotonic() - began)
