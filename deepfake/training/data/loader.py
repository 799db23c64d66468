"""Batches of decoded crops for one training worker, streamed from Parquet by Ray.

Tasks read windows of stored crops, a few tables ahead; processes that stay decode and augment them, table by
table; the worker holds no more than a few of them, however large the data set. ``epoch_plan`` decides what
comes in which batch, ``worker`` is what those tasks and processes do.

Ray Data is not in between: its scheduler would run in the worker's own process, where it takes from the
training step what time Python has (docs/training.md has the measurement).
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deepfake.config import AugmentConfig, CropConfig
from deepfake.crops.dataset import Rows
from deepfake.io.storage import Storage
from deepfake.progress import said_where_slow
from deepfake.training.data import worker
from deepfake.training.data.epoch_plan import EpochPlan, Share
from deepfake.training.data.worker import Made, Maker
from deepfake.training.resources import WorkerResources

_READ_AHEAD = 4  # such tables of one window that lie ready
_QUEUED = 2  # such tables that wait for a process
_SLOW_SECONDS = 60.0  # a worker whose crops take longer says so: it may wait for what will never come


@dataclass(frozen=True)
class Source:
    """The crops of one split, and how they are read."""

    uri: str
    files: tuple[str, ...]
    rows: Rows
    storage: Storage
    augment: AugmentConfig | None = None  # None: as stored
    seed: int = 0
    crop: CropConfig | None = None  # how the crops were cut; needed where fakes are made of them


@dataclass(frozen=True)
class Batch:
    """One worker's slice of a global batch; it may be empty."""

    crops: np.ndarray  # (n, 224, 224, 3) uint8 RGB
    positions: np.ndarray  # (n,) int64, places in the epoch


@dataclass
class InputWait:
    """Seconds that the consumer of a stream spent waiting for it."""

    seconds: float = field(default=0.0)


class Makers:
    """The processes that decode, blend and augment crops for one training worker, epoch after epoch.

    They lie on the worker's node. Ray starts one that has died again and gives it its work again.
    """

    def __init__(self, resources: WorkerResources) -> None:
        self.resources = resources
        process = ray.remote(_Process).options(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=_here()
        )
        self._processes = [process.remote() for _ in range(resources.data_tasks)]

    def made(self, maker: Maker, stored: Iterable[ray.ObjectRef[pa.Table]]) -> Iterator[Made]:
        """What ``maker`` makes of each table of ``crop_tasks.Reader``, in their order."""
        shared = ray.put(maker)
        turns = itertools.cycle(self._processes)
        under_way: deque[ray.ObjectRef[Made]] = deque()
        for table in stored:
            if len(under_way) == len(self._processes) + _QUEUED:
                yield ray.get(under_way.popleft())
            under_way.append(next(turns).make.remote(shared, table))
        while under_way:
            yield ray.get(under_way.popleft())


def _here() -> NodeAffinitySchedulingStrategy:
    """This node; named, it also keeps what is started out of the worker's place, whose CPUs are its own."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


class _Process:
    """Runs in an actor, which is there for long: a task's process might be started anew for each task."""

    def make(self, maker: Maker, stored: pa.Table) -> Made:
        return maker.made(stored)


def stream(
    source: Source, plan: EpochPlan, share: Share, epoch: int, makers: Makers, wait: InputWait
) -> Iterator[Batch]:
    """A worker's batches of one epoch, one for each of ``plan.steps``, empty slices included.

    The batch after the one that is given is put together meanwhile, by a thread.
    """
    made = _sliced(source, plan, share, epoch, makers)
    maker = ThreadPoolExecutor(1, "crops")
    try:
        following = maker.submit(next, made, None)
        while True:
            asked = time.monotonic()
            with said_where_slow(
                "waiting for crops; the tasks that read them need storage that answers",
                _SLOW_SECONDS,
            ):
                batch = following.result()
            wait.seconds += time.monotonic() - asked
            if batch is None:
                return
            following = maker.submit(next, made, None)
            yield batch
    finally:
        maker.shutdown(wait=False, cancel_futures=True)


def _sliced(source: Source, plan: EpochPlan, share: Share, epoch: int, makers: Makers) -> Iterator[Batch]:
    """What ``stream`` gives."""
    blocks = makers.made(
        worker.Maker(source.augment, source.seed, epoch, source.crop),
        _stored(source, plan, share, makers.resources),
    )
    pending: list[tuple[np.ndarray, np.ndarray]] = []
    start = 0
    for size in share.sizes.tolist():
        while sum(len(positions) for positions, _ in pending) < size:
            pending.append(next(blocks))
        crops, positions, pending = _take(pending, size)
        if not np.array_equal(positions, share.positions[start : start + size]):
            raise RuntimeError("crops came in another order than that of the plan")
        start += size
        yield Batch(crops, positions)


def _take(
    pending: list[tuple[np.ndarray, np.ndarray]], size: int
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """The first ``size`` crops of the pending blocks, their positions, and what is left."""
    crops = np.empty((size, *_SHAPE), np.uint8)
    positions = np.empty(size, np.int64)
    filled = 0
    while filled < size:
        block_positions, block_crops = pending[0]
        count = min(size - filled, len(block_positions))
        crops[filled : filled + count] = block_crops[:count]
        positions[filled : filled + count] = block_positions[:count]
        filled += count
        if count == len(block_positions):
            pending = pending[1:]
        else:
            pending = [(block_positions[count:], block_crops[count:]), *pending[1:]]
    return crops, positions, pending


_SHAPE = (224, 224, 3)


def _stored(
    source: Source, plan: EpochPlan, share: Share, resources: WorkerResources
) -> Iterator[ray.ObjectRef[pa.Table]]:
    """The stored crops of the share, in its order, table by table."""
    read = ray.remote(worker.read).options(
        num_returns="streaming",
        num_cpus=0,
        max_retries=-1,
        scheduling_strategy=_here(),
        _generator_backpressure_num_objects=_READ_AHEAD,
    )
    # without the index of all rows, which each task would otherwise load
    reader = ray.put(worker.Reader(source.uri, source.files, source.storage))
    waiting = iter(share.windows)

    def started(most: int) -> Iterator[ray.ObjectRefGenerator]:
        for start, stop in itertools.islice(waiting, most):
            yield read.remote(reader, worker.places(source.rows, plan, share.positions[start:stop]))

    under_way = deque(started(resources.readers))
    while under_way:
        tables = under_way.popleft()
        while (table := next(tables, None)) is not None:  # not "yield from", which would close it: Ray cannot
            yield table
        under_way.extend(started(1))
