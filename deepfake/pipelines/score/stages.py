"""What the workers of a score job do with a unit: cut its crops, score them, leave its tables in the output.

On CPUs ``CutAndScoreUnit`` does all in turn. With GPUs there are three stages, so that a GPU does nothing but
score: ``cut_unit`` and ``write_units`` on CPUs, ``ScoreOnGpu`` between them. A unit's block is as in
``deepfake.execution.unit_worker``.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from deepfake.execution import session
from deepfake.execution.attempts import Attempt
from deepfake.execution.deadline import Deadline
from deepfake.execution.output import Output
from deepfake.execution.unit_worker import (
    SECONDS,
    UNIT_ID,
    attempt_unit,
    count_unit,
    make_answer,
    make_empty_answer,
    pack_unit,
    read_unit_id,
    unpack_units,
)
from deepfake.faces.encoding import decode_image
from deepfake.io import tables
from deepfake.model.inference import AnyNetwork, Scorer, score_by_each
from deepfake.pipelines.score import first_pass
from deepfake.pipelines.score.rows import Judgement, score_crops, score_tables

PIXELS = "pixels"  # of a unit's block: its crops, (n, size, size, 3) uint8 RGB; null where they are many
SCORES = "scores"  # and their scores; of an ensemble those of each bundle, face after face
# Of a unit, that go to the GPU's actor as pixels: 2,048 of the usual crops. Of more it decodes them.
MOST_PIXEL_BYTES = 2048 * 224 * 224 * 3


@dataclass(frozen=True)
class Budgeted:
    """The time for units, but for some that are done however short it is."""

    deadline: Deadline | None  # None: there is no end
    always: frozenset[str]  # ids of units

    def is_too_late_for(self, block: pa.Table) -> bool:
        """Whether the unit of a block is not to be begun."""
        if self.deadline is None or read_unit_id(block) in self.always:
            return False
        return self.deadline.has_passed()


@dataclass(frozen=True)
class Writer:
    """Where the tables of scored units go, and how they are judged."""

    output: Output
    judgement: Judgement

    def write(
        self, unit: Mapping[str, Any], scores: np.ndarray, passes: Mapping[str, int] = MappingProxyType({})
    ) -> pa.Table:
        """Write the tables of one unit; its ``videos`` rows. ``scores``: see ``score_by_each``."""
        made = score_tables(unit["videos"], unit["crops"], scores, self.judgement, passes)
        if "crops" in self.output.folders:
            made["crops"] = unit["crops"]
        self.output.write_unit(unit[UNIT_ID], {"videos": unit["videos"], **made})
        count_unit(unit["videos"])
        return unit["videos"]


def start_scorer(network: Any, threads: int | None = None) -> Scorer:
    """A ``Network`` that the job shares, as what scores with it, compiled."""
    fetched: AnyNetwork = session.fetch(network)
    scorer = fetched.start_scorer(threads)
    size = fetched.bundle.crop_size
    scorer.score(np.zeros((1, size, size, 3), np.uint8))
    return scorer


class MakeCrops(Protocol):
    """Gives a unit's ``{"unit_id", "videos", "crops"}`` from its block."""

    def prepare(self) -> None:
        """Load what it needs; called once by each worker."""

    def __call__(self, block: pa.Table, attempt: Attempt) -> dict[str, Any]:
        """Crops of one unit."""


class CutAndScoreUnit:
    """All stages in one process, for machines without GPUs, so that no core waits for another stage.

    ``network`` is as in ``start_scorer``. Everything is loaded once, before the first unit.
    """

    def __init__(
        self,
        make: MakeCrops,
        first: MakeCrops | None,
        budgeted: Budgeted,
        network: Any,
        writer: Writer,
        threads: int | None,
    ) -> None:
        self._make, self._first, self._budgeted = make, first, budgeted
        self._writer = writer
        for look in (make, first):
            if look is not None:
                look.prepare()
        self._scorer = start_scorer(network, threads)

    def __call__(self, block: pa.Table) -> pa.Table:
        if self._budgeted.is_too_late_for(block):
            return make_empty_answer()
        began = time.monotonic()
        return attempt_unit(
            read_unit_id(block), lambda attempt: make_answer(self._score(block, attempt), began)
        )

    def _score(self, block: pa.Table, attempt: Attempt) -> pa.Table:
        judgement = self._writer.judgement
        looked = first_pass.look_at_unit(
            block,
            partial(self._first, attempt=attempt) if self._first is not None else None,
            partial(self._make, attempt=attempt),
            partial(score_by_each, self._scorer),
            judgement.scoring,
            judgement.point.threshold,
            judgement.mixer,
        )
        return self._writer.write(looked.unit, looked.scores, looked.passes)


def cut_unit(block: pa.Table, make: MakeCrops, budgeted: Budgeted) -> pa.Table:
    """One unit's catalog rows to its packed videos and crops, with their pixels and the seconds it took.

    Without rows where it is not begun, or handed back.
    """
    if budgeted.is_too_late_for(block):
        return pa.table({})
    return attempt_unit(read_unit_id(block), partial(_cut, block, make), lambda: pa.table({}))


def _cut(block: pa.Table, make: MakeCrops, attempt: Attempt) -> pa.Table:
    began = time.monotonic()
    unit = make(block, attempt)
    encoded = unit["crops"]["crop"].to_pylist()
    size = len(encoded) * decode_image(encoded[0]).nbytes if encoded else 0
    fits = size <= MOST_PIXEL_BYTES
    pixels = b"".join(decode_image(data).tobytes() for data in encoded) if fits else None
    packed = pack_unit({**unit, SECONDS: time.monotonic() - began})
    return packed.append_column(PIXELS, pa.array([pixels], pa.large_binary()))


class ScoreOnGpu:
    """Packed units to the same with scores in place of pixels, in an actor that holds a GPU.

    The network starts with the actor, while the first crops are being cut.
    """

    def __init__(self, network: Any) -> None:
        self._scorer = start_scorer(network)
        self._size = session.fetch(network).bundle.crop_size

    def __call__(self, block: pa.Table) -> pa.Table:
        """Score units together, so that batches fill up."""
        if PIXELS not in block.column_names:
            return block
        pixels = [_crops(value, self._size) for value in block[PIXELS]]
        at_once = [crops for crops in pixels if crops is not None]
        score = partial(score_by_each, self._scorer)
        found = score(np.concatenate(at_once)) if at_once else np.empty(0)
        scores = []
        for row, crops in enumerate(pixels):
            if crops is None:
                encoded = tables.from_ipc(block["crops"][row].as_py())["crop"].to_pylist()
                scores.append(score_crops(encoded, score).ravel())
            else:
                scores.append(found[: len(crops)].ravel())
                found = found[len(crops) :]
        return block.drop_columns([PIXELS]).append_column(SCORES, pa.array(scores, pa.list_(pa.float64())))


def _crops(pixels: pa.LargeBinaryScalar, size: int) -> np.ndarray | None:
    """(n, size, size, 3) uint8 of the column ``PIXELS``, not copied."""
    if not pixels.is_valid:
        return None
    return np.frombuffer(pixels.as_buffer(), np.uint8).reshape(-1, size, size, 3)


def write_units(block: pa.Table, writer: Writer) -> pa.Table:
    """Write the tables of units that have scores; answers their ``videos`` rows."""
    began, units = time.monotonic(), unpack_units(block)
    if not units:
        return make_empty_answer()
    videos = []
    for unit in units:
        scores = np.array(unit[SCORES], np.float64)
        if len(scores) > (count := unit["crops"].num_rows):
            scores = scores.reshape(count, -1)
        videos.append(writer.write(unit, scores))
    cutting = max(unit[SECONDS] for unit in units)
    return make_answer(pa.concat_tables(videos), began - cutting)
