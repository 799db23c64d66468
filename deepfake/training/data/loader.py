"""Batches of decoded crops for one training worker, streamed from Parquet.

A thread reads and decodes them, or Ray does: tasks read windows of stored crops, a few tables ahead, and
actors, which live as long as the training, decode and augment them, table by table. The training worker holds
no more than a few tables, however large the data set. ``epoch_plan`` decides what comes in which batch;
``worker`` is the code of thread, tasks and actors.

Ray Data is not in between: its scheduler would run in the worker's own process, where it takes from the
training step what time Python has (docs/benchmark.md has the measurement).
"""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import ray

from deepfake.config import AugmentConfig, CropConfig
from deepfake.crops.dataset import Rows
from deepfake.execution import ray_compat
from deepfake.execution.accounting import leave_account
from deepfake.execution.nodes import stay_here
from deepfake.io.storage import Storage
from deepfake.outcome import get_clock
from deepfake.progress import warn_if_slow
from deepfake.training.data import worker
from deepfake.training.data.epoch_plan import EpochPlan, Share
from deepfake.training.data.pixel_cache import PixelCache
from deepfake.training.data.worker import CropDecoder, DecodedCrops
from deepfake.training.resources import WorkerResources

_READ_AHEAD = 4  # tables of stored crops of one window that lie ready
_QUEUED = 2  # tables of stored crops that wait for a process that decodes them
_SLOW_SECONDS = 60.0  # a worker whose crops take longer says so: it may wait for what will never come


@dataclass(frozen=True)
class Source:
    """The crops of one split, and how they are read."""

    files: tuple[str, ...]  # URIs
    rows: Rows
    storage: Storage
    augment: AugmentConfig | None = None  # None: as stored
    seed: int = 0
    crop: CropConfig | None = None  # how the crops were cut; needed where fakes are made of them
    cache: PixelCache | None = None  # of decoded crops

    @property
    def crop_size(self) -> int:
        """Side of the crops in pixels."""
        return (self.crop or CropConfig()).size

    @property
    def is_framed(self) -> bool:
        """Whether windows of the crops and what lies around them are shown, and not the crops themselves."""
        return self.augment is not None and self.augment.enabled and self.crop is not None


@dataclass(frozen=True)
class Batch:
    """One worker's slice of a global batch; it may be empty."""

    inputs: np.ndarray  # (n, size, size, 3) uint8 RGB, or the crops' features (n, d) float32
    positions: np.ndarray  # (n,) int64, places in the epoch


class Feeder(Protocol):
    """What reads stored crops and decodes them for one training worker, epoch after epoch."""

    def read(self, source: Source, plan: EpochPlan, share: Share) -> Iterator[Any]:
        """The stored crops of the share, in its order, table by table."""

    def decode(self, decoder: CropDecoder, stored: Iterator[Any]) -> Iterator[DecodedCrops]:
        """``decoder.decode`` of each table that was read, in the order of the tables."""


class LoaderThread:
    """Reads and decodes in the thread of its ``BatchStream``, which works while TensorFlow does."""

    def read(self, source: Source, plan: EpochPlan, share: Share) -> Iterator[pa.Table]:
        reader = worker.WindowReader(source.files, source.storage, source.is_framed, source.cache)
        for first, stop in share.windows:
            yield from reader.read_tables(worker.list_crops(source.rows, plan, share.positions[first:stop]))

    def decode(self, decoder: CropDecoder, stored: Iterator[pa.Table]) -> Iterator[DecodedCrops]:
        return map(decoder.decode, stored)


class LoaderWorkers:
    """The processes that decode, blend and augment crops for one training worker, epoch after epoch.

    They lie on the worker's node. Ray starts one that has died again and gives it its work again.
    """

    def __init__(self, resources: WorkerResources) -> None:
        self.resources = resources
        actor = ray.remote(_LoaderWorker).options(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=stay_here()
        )
        self._actors = [actor.remote() for _ in range(resources.data_tasks)]

    def read(self, source: Source, plan: EpochPlan, share: Share) -> Iterator[ray.ObjectRef[pa.Table]]:
        task = ray.remote(_read_window).options(
            num_cpus=0,
            max_retries=-1,
            scheduling_strategy=stay_here(),
            **ray_compat.make_streaming_options(_READ_AHEAD),
        )
        # without the index of all rows, which each task would otherwise load
        reader = ray.put(worker.WindowReader(source.files, source.storage, source.is_framed, source.cache))
        windows = iter(share.windows)

        def start(most: int) -> Iterator[ray.ObjectRefGenerator]:
            for first, stop in itertools.islice(windows, most):
                yield task.remote(reader, worker.list_crops(source.rows, plan, share.positions[first:stop]))

        running = deque(start(self.resources.readers))
        while running:
            tables = running.popleft()
            # not "yield from", which would close it: Ray cannot
            while (table := next(tables, None)) is not None:
                yield table
            running.extend(start(1))

    def decode(
        self, decoder: CropDecoder, stored: Iterator[ray.ObjectRef[pa.Table]]
    ) -> Iterator[DecodedCrops]:
        shared = ray.put(decoder)
        turns = itertools.cycle(self._actors)
        pending: deque[ray.ObjectRef[DecodedCrops]] = deque()
        for table in stored:
            if len(pending) == len(self._actors) + _QUEUED:
                yield ray.get(pending.popleft())
            pending.append(next(turns).decode.remote(shared, table))
        for one in self._actors:  # after what it still has to decode
            one.leave_account.remote()
        while pending:
            yield ray.get(pending.popleft())


def _read_window(reader: worker.WindowReader, window: pa.Table) -> Iterator[pa.Table]:
    """The task: ``reader.read_tables``, and the account of the process that does it."""
    yield from reader.read_tables(window)
    leave_account(loads=True)


class _LoaderWorker:
    """The actor: a process that stays, where that of a task might be started anew for each task."""

    def decode(self, decoder: CropDecoder, stored: pa.Table) -> DecodedCrops:
        return decoder.decode(stored)

    def leave_account(self) -> None:
        leave_account(loads=True)


class BatchStream:
    """A worker's batches of one epoch, one for each of ``plan.steps``, empty slices included. Iterate once.

    The batch after the one that is given is put together meanwhile, by a thread.
    """

    def __init__(self, source: Source, plan: EpochPlan, share: Share, epoch: int, feeder: Feeder) -> None:
        self._source, self._plan, self._share, self._epoch = source, plan, share, epoch
        self._feeder = feeder

    def __iter__(self) -> Iterator[Batch]:
        batches = self._batches()
        thread = ThreadPoolExecutor(1, "crops")
        try:
            following = thread.submit(next, batches, None)
            while True:
                words = "waiting for crops; the tasks that read them need storage that answers"
                with warn_if_slow(words, _SLOW_SECONDS), get_clock().on("input"):
                    batch = following.result()
                if batch is None:
                    return
                following = thread.submit(next, batches, None)
                yield batch
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    def _batches(self) -> Iterator[Batch]:
        """Decoded crops cut into this worker's slices, each checked to be what the plan says."""
        source, share = self._source, self._share
        blocks = self._feeder.decode(
            CropDecoder(source.augment, source.seed, self._epoch, source.crop, source.cache, source.storage),
            self._feeder.read(source, self._plan, share),
        )
        pending: deque[DecodedCrops] = deque()
        start = 0
        for size in share.sizes.tolist():
            while sum(len(block.positions) for block in pending) < size:
                pending.append(next(blocks))
            batch = _take_batch(pending, size, source.crop_size)
            if not np.array_equal(batch.positions, share.positions[start : start + size]):
                raise RuntimeError("crops came in another order than that of the plan")
            start += size
            yield batch


def _take_batch(pending: deque[DecodedCrops], count: int, size: int) -> Batch:
    """The first ``count`` crops, ``size`` pixels wide, of the pending blocks, which are left without them."""
    crops = np.empty((count, size, size, 3), np.uint8)
    positions = np.empty(count, np.int64)
    filled = 0
    while filled < count:
        block = pending.popleft()
        taken = min(count - filled, len(block.positions))
        crops[filled : filled + taken] = block.crops[:taken]
        positions[filled : filled + taken] = block.positions[:taken]
        filled += taken
        if taken < len(block.positions):
            pending.appendleft(DecodedCrops(block.positions[taken:], block.crops[taken:]))
    return Batch(crops, positions)
