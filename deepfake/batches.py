"""Batches of decoded crops for one training worker, streamed from Parquet by Ray Data.

Ray's CPU tasks read, decode and augment; the worker holds no more than a few blocks, however large the
data set. ``deepfake.plan`` decides what comes in which batch, ``deepfake.sbi`` makes fakes out of reals and
``deepfake.augment`` does the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
import pyarrow as pa
import ray.data

from deepfake import augment, cropset, faults, sbi
from deepfake.config import AugmentConfig, CropConfig
from deepfake.cropset import Rows
from deepfake.plan import EpochPlan, Share
from deepfake.progress import said_where_slow
from deepfake.resources import WorkerResources
from deepfake.selection import Kind
from deepfake.storage import Storage, join

_PLACE = ("file", "row_group", "row", "occurrence", "kind", "turned")
_CHUNK = 16  # crops that a task hands out at once: 2.4 MB
_SLOW_SECONDS = 60.0  # a worker whose crops take longer says so: it may wait for what will never come
_BLOCK_BYTES = 8 * 2**20  # blocks this small keep the first batch from waiting for a whole window


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


def stream(
    source: Source, plan: EpochPlan, share: Share, epoch: int, resources: WorkerResources, wait: InputWait
) -> Iterator[Batch]:
    """A worker's batches of one epoch, one for each of ``plan.steps``, empty slices included."""
    blocks = _blocks(source, plan, share, epoch, resources) if len(share.positions) else iter(())
    pending: list[tuple[np.ndarray, np.ndarray]] = []
    start = 0
    for size in share.sizes.tolist():
        asked = time.monotonic()
        while sum(len(positions) for positions, _ in pending) < size:
            with said_where_slow(
                f"waiting for crops; the tasks that read them need storage that answers and, each, "
                f"{resources.data_cpus:g} of a CPU that nobody holds",
                _SLOW_SECONDS,
            ):
                pending.append(next(blocks))
        crops, positions, pending = _take(pending, size)
        wait.seconds += time.monotonic() - asked
        if not np.array_equal(positions, share.positions[start : start + size]):
            raise RuntimeError("Ray Data delivered crops out of order; preserve_order must be on")
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


def _blocks(
    source: Source, plan: EpochPlan, share: Share, epoch: int, resources: WorkerResources
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``(positions, crops)`` block by block, in the order of the share."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = _BLOCK_BYTES
    context.execution_options.preserve_order = True
    tasks = [_task_table(source.rows, plan, share.positions[start:stop]) for start, stop in share.windows]
    # Not from_arrow: it counts rows in a task of a whole CPU, which the other workers' tasks may hold until
    # this worker joins their all-reduce.
    dataset = ray.data.from_blocks(tasks).map_batches(
        _Reader(source, epoch),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=resources.data_cpus,
        compute=ray.data.TaskPoolStrategy(size=min(resources.data_tasks, len(tasks))),
    )
    for block in dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=1):
        yield block["position"], block["crop"]


def _task_table(rows: Rows, plan: EpochPlan, positions: np.ndarray) -> pa.Table:
    """What one reading task needs to know: the places of its crops, in the order in which they are wanted."""
    chosen = plan.rows[positions]
    return pa.table(
        {
            "position": positions,
            "file": rows.file[chosen],
            "row_group": rows.row_group[chosen],
            "row": rows.row[chosen],
            "occurrence": plan.occurrence[positions],
            "kind": plan.kind[positions],
            "turned": np.zeros(len(chosen), bool) if rows.turned is None else rows.turned[chosen],
        }
    )


class _Reader:
    """Reads, decodes, blends and augments the crops of one window. Runs in Ray's tasks; holds no state."""

    def __init__(self, source: Source, epoch: int) -> None:
        # without the index of all rows, which each task would otherwise load
        self.uri, self.files, self.storage = source.uri, source.files, source.storage
        self.augment, self.seed, self.epoch, self.crop = source.augment, source.seed, epoch, source.crop

    def __call__(self, window: pa.Table) -> Iterator[dict[str, np.ndarray]]:
        cv2.setNumThreads(1)  # Ray runs one task a core already
        places = {name: window[name].to_numpy(zero_copy_only=False) for name in window.column_names}
        crops = self._crops(places)
        for start in range(0, len(window), _CHUNK):
            positions = places["position"][start : start + _CHUNK]
            yield {"position": positions, "crop": np.stack([next(crops) for _ in positions])}

    def _crops(self, places: dict[str, np.ndarray]) -> Iterator[np.ndarray]:
        """One crop after the other; the two of a pair follow each other."""
        stored = self._read(places)
        name, pair = "", None
        columns = (places[column].tolist() for column in _PLACE)
        for file, group, row, occurrence, kind, turned in zip(*columns, strict=True):
            found = stored[file][group, row]
            where = f"{join(self.uri, self.files[file])}: {found.sample_id}"
            if kind not in (Kind.BLENDED, Kind.BESIDE):  # those take the name of the crop before them
                name = f"{found.sample_id}@{occurrence}" if occurrence else found.sample_id
                name += "@turned" if turned else ""
            if kind == Kind.BLENDED and pair is not None:
                image = pair.fake
            else:
                image, pair = cropset.decode(found.encoded, where), None
            if turned:
                image = faults.turned(image)
            if kind == Kind.TARGET:
                pair = self._blended(image, found, name)
                image = pair.real
            yield self._augmented(image, name)

    def _blended(self, crop: np.ndarray, stored: cropset.StoredCrop, name: str) -> sbi.Pair:
        if self.crop is None:
            raise ValueError("batches of self-blended images need Source.crop")
        assert stored.box is not None  # it was read with the crop
        face = sbi.face_in_crop(stored.box, stored.landmarks, self.crop)
        return sbi.self_blend(crop, face, self.seed, self.epoch, name)

    def _augmented(self, crop: np.ndarray, name: str) -> np.ndarray:
        if self.augment is None or not self.augment.enabled:
            return crop
        return augment.apply(crop, augment.draw(self.augment, self.seed, self.epoch, name))

    def _read(self, places: dict[str, np.ndarray]) -> dict[int, dict[tuple[int, int], cropset.StoredCrop]]:
        wanted: dict[int, dict[int, set[int]]] = {}
        for file, group, row in zip(
            places["file"].tolist(), places["row_group"].tolist(), places["row"].tolist(), strict=True
        ):
            wanted.setdefault(file, {}).setdefault(group, set()).add(row)
        with_faces = bool((places["kind"] == Kind.TARGET).any())
        return {
            file: cropset.read_stored(
                self.uri,
                self.files[file],
                {group: sorted(rows) for group, rows in groups.items()},
                self.storage,
                with_faces,
            )
            for file, groups in wanted.items()
        }
