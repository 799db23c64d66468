"""Scores of stored crops, by Ray Data: actors that hold the network read, decode and score windows of crops.

One stage does it all, so that no other can take the CPUs that it needs: an actor reads its next window while
it scores one. A score depends on its crop and the bundle alone, so the result is the same whatever the number
of actors.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from threading import Lock
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import ray

from deepfake.config import EvaluateJobConfig
from deepfake.crops.corruptions import CORRUPTIONS, NONE, Corruption
from deepfake.crops.reader import decode_crop, list_places, read_crops
from deepfake.errors import JobError
from deepfake.execution import pools, runner, session
from deepfake.execution.process import count_cpus
from deepfake.execution.ray_errors import raise_user_errors
from deepfake.io.storage import Storage
from deepfake.model.inference import AnyNetwork, Scorer, score_by_each
from deepfake.outcome import get_clock
from deepfake.pipelines.evaluate.inputs import LabelledFaces
from deepfake.progress import Progress

SECONDS_PER_CROP = 0.012  # of one core: read, decoded and scored
_WINDOW = 256  # crops that are read at once: about 15 MB as stored, 39 MB decoded
_WINDOWS_AT_ONCE = 2  # of an actor: one is scored, the other read meanwhile
_THREADS = 4  # of one CPU actor; TensorFlow gains little from more, and each actor holds a network
_DECODERS = 16  # threads that feed a GPU, where its node has as many CPUs


def score_faces(
    faces: LabelledFaces,
    network: AnyNetwork,
    storage: Storage,
    config: EvaluateJobConfig,
    changes: Sequence[Corruption] = (NONE,),
) -> np.ndarray:
    """``(changes, n)`` float64 scores of the ``n`` selected crops, in their order.

    Of an ensemble they are ``(changes, n, bundles)``, for its ``mixer`` to make scores of. Each crop is read
    and decoded once, and scored once for each change made to it.
    """
    shape = (len(changes), faces.table.num_rows)
    scores = np.full(shape, np.nan)
    windows = cut_windows(faces.table)
    workers, demand = _plan_workers(config, len(windows))
    threads = int(demand.get("CPU", _THREADS)) if session.workers_exist() else None
    arguments = {
        "files": faces.files, "changes": tuple(changes), "network": session.share(network),
        "storage": storage, "threads": threads,
    }  # fmt: skip
    with Progress("faces scored", math.prod(shape)) as progress, raise_user_errors("scoring"):
        found = runner.run_on_workers(windows, _Scorer, arguments, workers, demand, _WINDOWS_AT_ONCE)
        for batch in found:
            some = np.array(batch["score"].to_pylist())
            if scores.ndim != some.ndim + 1:
                scores = np.full((*shape, *some.shape[1:]), np.nan)
            scores[batch["change"].to_numpy(), batch["position"].to_numpy()] = some
            progress.step(batch.num_rows)
    if missing := int(np.isnan(scores).sum()):
        raise JobError(f"{missing} of {scores.size} faces came back without a score")
    return scores


def estimate_core_seconds(crops: int, config: EvaluateJobConfig) -> float:
    """About how long one core takes to score so many crops, as often as the configuration says."""
    if config.scoring.use_gpu:
        return math.inf  # which this process does not use by itself
    evaluation = config.evaluation
    sweep = min(crops, evaluation.robustness_crops) * len(CORRUPTIONS) if evaluation.robustness else 0
    return SECONDS_PER_CROP * (crops + sweep)


def _plan_workers(config: EvaluateJobConfig, windows: int) -> tuple[pools.Workers, dict[str, float]]:
    """Actors, and what each asks for: a GPU, or as many CPUs as the smallest node has free."""
    if config.scoring.use_gpu:
        return pools.await_gpus(config.ray, "scoring.use_gpu", windows), {"GPU": 1.0}
    workers = pools.await_workers(config.ray, windows)  # once there is a node
    if not session.workers_exist():
        return workers, {}
    free = [cpus for cpus in pools.list_free_cpus() if cpus >= 1.0]
    threads = int(min([*free, _THREADS]))
    fitting = sum(int(cpus // threads) for cpus in free)
    return pools.plan_workers(config.ray, windows, fitting), {"CPU": float(threads)}


def cut_windows(table: pa.Table) -> list[pa.Table]:
    """What each reading task needs to know: the places of its crops and of their scores."""
    places = table.select(["file", "row_group", "row"])
    places = places.append_column("position", pa.array(np.arange(len(places), dtype=np.int64)))
    places = places.take(np.lexsort([places[name].to_numpy() for name in ("row", "row_group", "file")]))
    return [places.slice(start, _WINDOW).combine_chunks() for start in range(0, len(places), _WINDOW)]


class _Scorer:
    """Holds the network; called by several threads at a time, of which one scores while the others read."""

    def __init__(
        self,
        files: tuple[str, ...],
        changes: tuple[Corruption, ...],
        network: Any,
        storage: Storage,
        threads: int | None,
    ) -> None:
        cv2.setNumThreads(1)
        self._files, self._storage, self._changes = files, storage, changes
        fetched: AnyNetwork = session.fetch(network)
        self._size = fetched.bundle.crop_size
        self._scorer: Scorer = fetched.start_scorer(threads)
        self._scoring = Lock()
        on_gpu = session.workers_exist() and bool(ray.get_gpu_ids())
        self._decoders = ThreadPoolExecutor(min(_DECODERS, count_cpus()) if on_gpu else 1)

    def __call__(self, window: pa.Table) -> Iterator[pa.Table]:
        """``change, position, score`` of the crops of a window, for each change.

        A generator: of what is raised in one Ray keeps the error itself, which is meant for the user.
        """
        positions, images = self._read(window)
        get_clock().count(crops=len(positions))
        for number, change in enumerate(self._changes):
            crops = np.stack(list(self._decoders.map(change, images)))
            with get_clock().on("wait"), self._scoring:  # for the actor's other thread
                scores = score_by_each(self._scorer, crops)
            changes = np.full(len(positions), number, np.int16)
            yield pa.table({"change": changes, "position": positions, "score": scores.tolist()})

    def _read(self, window: pa.Table) -> tuple[np.ndarray, list[np.ndarray]]:
        """Positions (n,) int64 of a window's crops, and the crops, each (size, size, 3) uint8 RGB."""
        places = list_places(window, self._files)
        with get_clock().on("read"):
            stored = read_crops(places, self._storage)
        encoded = [stored[place].encoded for place in places]
        names = [f"{uri}, row group {group}, row {row}" for uri, group, row in places]
        with get_clock().on("decode"):
            decode = self._decoders.map(decode_crop, encoded, repeat(self._size), names)
            return window["position"].to_numpy(), list(decode)
