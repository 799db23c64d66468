"""Scores of stored crops, by Ray Data: tasks read and decode, actors that hold the bundle score.

Only a window of decoded crops is in memory at a time. A score depends on its crop and the bundle alone, so
the result is the same whatever the number of actors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data

from deepfake.config import EvaluateJobConfig
from deepfake.crops.corruptions import NONE, Change
from deepfake.crops.dataset import decode
from deepfake.errors import JobError, UsageError
from deepfake.execution import session
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError
from deepfake.pipelines.evaluate.inputs import LabelledFaces
from deepfake.progress import Progress

_WINDOW = 256  # crops of one reading task: about 15 MB as stored
_CHUNK = 32  # crops that it hands out at once: 4.8 MB decoded
_READ_CPUS = 0.25  # reading waits and decodes; four beside one scoring actor never starve it
_THREADS = 4  # of one CPU actor; TensorFlow gains little from more, and each actor holds a network


def score(
    faces: LabelledFaces,
    bundle: str,
    storage: Storage,
    config: EvaluateJobConfig,
    changes: Sequence[Change] = (NONE,),
) -> np.ndarray:
    """``(changes, n)`` float64 scores of the ``n`` selected crops, in their order. Needs a Ray session.

    Each crop is read and decoded once, and scored once for each change made to it.
    """
    resources = _resources(config)
    dataset = (
        ray.data.from_arrow(_windows(faces.table))
        .map_batches(
            _Reader(faces.files, storage, tuple(changes)),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=_READ_CPUS,
        )
        .map_batches(
            _Scorer,
            fn_constructor_args=(bundle, storage, config.scoring.crops_at_once, resources.threads),
            batch_size=config.scoring.crops_at_once,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=resources.actors),
            num_cpus=resources.actor_cpus,
            num_gpus=1 if config.scoring.use_gpu else None,
        )
    )
    scores = np.full((len(changes), faces.table.num_rows), np.nan)
    try:
        with Progress("faces scored", scores.size) as progress:
            for batch in dataset.iter_batches(batch_size=None, batch_format="numpy"):
                scores[batch["change"], batch["position"]] = batch["score"]
                progress.step(len(batch["position"]))
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, UsageError | TableError):
            raise type(cause)(str(cause)) from None
        raise JobError(f"scoring stopped: {cause or error}") from error
    if missing := int(np.isnan(scores).sum()):
        raise JobError(f"{missing} of {scores.size} faces came back without a score")
    return scores


@dataclass(frozen=True)
class _Resources:
    actors: int
    actor_cpus: float
    threads: int


def _resources(config: EvaluateJobConfig) -> _Resources:
    """Actors that all fit, and leave CPUs for the reading tasks that feed them."""
    if config.scoring.use_gpu:
        gpus = session.gpus(config.ray, "scoring.use_gpu")
        return _Resources(config.ray.workers or gpus, 1.0, _THREADS)
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    threads = max(1, int(min([cpus for cpus in nodes if cpus >= 1.0] + [float(_THREADS)])))
    fitting = int(sum(cpus // threads for cpus in nodes))
    return _Resources(max(1, min(config.ray.workers or fitting, fitting)), 0.75 * threads, threads)


def _windows(table: pa.Table) -> list[pa.Table]:
    """What each reading task needs to know: the places of its crops and of their scores."""
    places = table.select(["file", "row_group", "row"])
    places = places.append_column("position", pa.array(np.arange(len(places), dtype=np.int64)))
    places = places.take(np.lexsort([places[name].to_numpy() for name in ("row", "row_group", "file")]))
    return [places.slice(start, _WINDOW).combine_chunks() for start in range(0, len(places), _WINDOW)]


class _Reader:
    """Reads and decodes the crops of one window; holds no state."""

    def __init__(self, files: tuple[str, ...], storage: Storage, changes: tuple[Change, ...]) -> None:
        self.files, self.storage, self.changes = files, storage, changes

    def __call__(self, window: pa.Table) -> Iterator[dict[str, np.ndarray]]:
        cv2.setNumThreads(1)  # Ray runs several tasks a core already
        groups: dict[int, dict[int, list[tuple[int, int]]]] = {}
        for place in window.to_pylist():
            rows = groups.setdefault(place["file"], {}).setdefault(place["row_group"], [])
            rows.append((place["row"], place["position"]))
        for number, row_groups in groups.items():
            with self.storage.open(self.files[number]) as source, pq.ParquetFile(source) as file:
                for group, rows in row_groups.items():
                    crops = file.read_row_group(group, columns=["crop"])["crop"]
                    yield from self._decoded(rows, crops, self.files[number], group)

    def _decoded(
        self, rows: list[tuple[int, int]], crops: Any, name: str, group: int
    ) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            images = [decode(crops[row].as_py(), f"{name}, row group {group}, row {row}") for row, _ in chunk]
            positions = np.array([position for _, position in chunk])
            for number, change in enumerate(self.changes):
                yield {
                    "change": np.full(len(chunk), number, np.int16),
                    "position": positions,
                    "crop": np.stack([change(image) for image in images]),
                }


class _Scorer:
    """Holds the bundle; one for each actor."""

    def __init__(self, uri: str, storage: Storage, batch_size: int, threads: int) -> None:
        from deepfake.model import keras_runtime
        from deepfake.model.bundle import Bundle

        keras_runtime.start(threads=threads)
        self.bundle = Bundle.load(uri, storage, batch_size)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            "change": batch["change"],
            "position": batch["position"],
            "score": self.bundle.score(np.ascontiguousarray(batch["crop"])),
        }
