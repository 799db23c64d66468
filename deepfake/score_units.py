"""What the workers of a score job do with a unit: cut its crops, score them, leave its tables in the output.

On CPUs one process does both in turn, with GPUs ``cut_unit`` runs beside ``ScoreUnits``. A unit's block is as
in ``deepfake.units``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from deepfake import first_pass, tables, units
from deepfake.first_pass import Stage
from deepfake.runtimes import Scorer
from deepfake.score_rows import Judgement, score_crops, score_tables
from deepfake.staging import Output


def cut_unit(block: pa.Table, stage: Stage, deadline: float | None) -> pa.Table:
    """One unit's catalog rows to its videos and crops, packed into one row."""
    if deadline is not None and time.time() > deadline:
        return pa.table({})
    return units.pack(stage(block))


class ScoreUnits:
    """Packed units to scores, written to the output; answers their ``videos`` rows. One network a process.

    ``network`` is the serialised reference to a ``Network``.
    """

    def __init__(
        self, network: bytes, output: Output, judgement: Judgement, threads: int | None = None
    ) -> None:
        self._network, self._threads = network, threads
        self._output, self._judgement = output, judgement

    def __call__(self, block: pa.Table) -> pa.Table:
        began = time.time()
        unpacked = units.unpack(block)
        return units.answer(self.score(unpacked) if unpacked else tables.from_rows("videos", []), began)

    @cached_property
    def _scorer(self) -> Scorer:
        return ray.get(ray.cloudpickle.loads(self._network)).scorer(self._threads)

    def score(self, unpacked: list[dict[str, Any]]) -> pa.Table:
        """Score units together, so that batches fill up, and write the tables of each."""
        encoded = [data for unit in unpacked for data in unit["crops"]["crop"].to_pylist()]
        scores = score_crops(encoded, self.score_crops)
        for unit in unpacked:
            count = unit["crops"].num_rows
            self.write(unit, scores[:count], {})
            scores = scores[count:]
        return pa.concat_tables([unit["videos"] for unit in unpacked])

    def look(self, block: pa.Table, first: Stage, whole: Stage) -> pa.Table:
        """Score one unit by a first look, and a whole one where that leaves doubt; write its tables."""
        judgement = self._judgement
        looked = first_pass.look(
            block, first, whole, self.score_crops, judgement.scoring, judgement.point.threshold
        )
        self.write(looked.unit, looked.scores, looked.passes)
        return looked.unit["videos"]

    def start(self) -> None:
        """Load the network now; else its first crops do."""
        _ = self._scorer

    def score_crops(self, crops: np.ndarray) -> np.ndarray:
        """See ``Scorer``."""
        return self._scorer.score(crops)

    def write(self, unit: dict[str, Any], scores: np.ndarray, passes: Mapping[str, int]) -> None:
        """Write the tables of one unit."""
        made = score_tables(unit["videos"], unit["crops"], scores, self._judgement, passes)
        if "crops" in self._output.folders:
            made["crops"] = unit["crops"]
        self._output.write_unit(unit[units.UNIT_ID], {"videos": unit["videos"], **made})


class CutAndScoreUnit:
    """Both stages in one process, for machines without GPUs, so that no core waits for the other stage."""

    def __init__(
        self, stage: Stage, first: Stage | None, deadline: float | None, scorer: dict[str, Any]
    ) -> None:
        self._stage, self._first, self._deadline = stage, first, deadline
        self._scorer = ScoreUnits(**scorer)
        self._begun = False  # so that a short budget gets somewhere, however long a worker takes to start
        for look in (stage, first):
            if isinstance(look, partial) and "config" in look.keywords:
                units.prepare(look.keywords["config"], look.keywords["storage"])
        self._scorer.start()

    def __call__(self, block: pa.Table) -> pa.Table:
        began = time.time()
        if self._begun and self._deadline is not None and began > self._deadline:
            return units.answer(tables.from_rows("videos", []), began)
        self._begun = True
        if self._first is not None:
            return units.answer(self._scorer.look(block, self._first, self._stage), began)
        return units.answer(self._scorer.score([self._stage(block)]), began)
