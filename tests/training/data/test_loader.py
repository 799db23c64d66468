"""Ray Data's streams deliver exactly the planned crops, whatever the number of workers."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from deepfake.config import AugmentConfig, CropConfig
from deepfake.crops import augmentation, dataset, self_blending
from deepfake.crops.framing import find_framing
from deepfake.crops.reader import StoredCrop, decode_crop, read_crops
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.outcome import get_clock
from deepfake.training.data import loader
from deepfake.training.data.balancing import CropKind
from deepfake.training.data.epoch_plan import EpochPlan, plan_validation
from deepfake.training.data.pixel_cache import PixelCache
from deepfake.training.resources import divide_node
from deepfake.training.validation import add_blended_copies
from tests import running
from tests.processes import wait_until
from tests.training.data.plans import plan_epoch

pytestmark = pytest.mark.usefixtures("ray_session")
AUGMENT = AugmentConfig(jpeg=0.5, noise=0.5)


CROP = CropConfig(margin=0.25)


def planned(
    folder: Path, batch: int = 5, balance: str = "method", fakes: str = "real"
) -> tuple[loader.Source, EpochPlan]:
    """The training crops, and the plan of epoch 3."""
    storage = Storage()
    crops = dataset.open_crops(str(folder), storage)
    rows = dataset.select_rows(crops, "train", with_originals=balance == "paired")
    plan = plan_epoch(rows, balance, batch, 2, 5, 3, fakes)
    return loader.Source(crops.files, rows, storage, AUGMENT, 5, CROP), plan


def streamed(
    folder: Path, world: int, batch: int = 5, balance: str = "method", fakes: str = "real"
) -> tuple[list[list[int]], dict[int, np.ndarray]]:
    """Slice sizes of each worker, and the pixels at each position of epoch 3."""
    source, plan = planned(folder, batch, balance, fakes)
    sizes, pixels = [], {}
    for rank in range(world):
        workers, before = loader.LoaderWorkers(divide_node(2, world)), get_clock().read("input")
        stream = loader.BatchStream(source, plan, plan.cut_share(rank, world), 3, workers)
        found = list(stream)
        sizes.append([len(batch.inputs) for batch in found])
        for batch_ in found:
            pixels.update(zip(batch_.positions.tolist(), batch_.inputs, strict=True))
        assert get_clock().read("input") > before
    return sizes, pixels


def test_three_workers_see_the_pixels_that_one_would_see(small_crops: Path) -> None:
    (one,), alone = streamed(small_crops, 1)
    three, together = streamed(small_crops, 3)
    assert [sum(step) for step in zip(*three, strict=True)] == one
    assert alone.keys() == together.keys() == set(range(36))
    for position, crop in alone.items():
        np.testing.assert_array_equal(crop, together[position])


def test_a_thread_gives_the_batches_that_workers_would_give(small_crops: Path) -> None:
    source, plan = planned(small_crops)
    share = plan.cut_share(0, 1)
    by_thread = list(loader.BatchStream(source, plan, share, 3, loader.LoaderThread()))
    _, pixels = streamed(small_crops, 1)
    assert [len(batch.inputs) for batch in by_thread] == share.sizes.tolist()
    for batch in by_thread:
        for position, crop in zip(batch.positions.tolist(), batch.inputs, strict=True):
            np.testing.assert_array_equal(crop, pixels[position])


@pytest.mark.parametrize(("workers", "fakes"), [(False, "real"), (False, "mix"), (True, "real")])
def test_an_epoch_after_the_first_shows_the_same_and_reads_no_picture(
    small_crops: Path, tmp_path: Path, workers: bool, fakes: str
) -> None:
    source, plan = planned(small_crops, fakes=fakes)
    share = plan.cut_share(0, 1)
    feeder = loader.LoaderWorkers(divide_node(2, 1)) if workers else loader.LoaderThread()

    def collect(source: loader.Source) -> np.ndarray:
        return np.concatenate([batch.inputs for batch in loader.BatchStream(source, plan, share, 3, feeder)])

    expected = collect(source)
    cached = replace(source, cache=PixelCache(tmp_path, "train", len(source.rows), 400, 10**9))
    np.testing.assert_array_equal(collect(cached), expected)
    emptied = []
    for number, file in enumerate(source.files):
        with (
            pq.ParquetFile(file) as stored,
            pq.ParquetWriter(tmp_path / f"{number}.parquet", stored.schema_arrow) as empty,
        ):
            at = stored.schema_arrow.names.index("crop")
            for group in range(stored.num_row_groups):
                table = stored.read_row_group(group)
                nothing = pa.array([b""] * len(table), table.schema.field(at).type)
                empty.write_table(table.set_column(at, table.schema.field(at), nothing))
        emptied.append(str(tmp_path / f"{number}.parquet"))
    np.testing.assert_array_equal(collect(replace(cached, files=tuple(emptied))), expected)
    with pytest.raises(tables.TableError, match="not an image"):
        thread = loader.LoaderThread()
        list(loader.BatchStream(replace(source, files=tuple(emptied)), plan, share, 3, thread))


def test_a_copy_that_is_not_kept_is_read_though_the_crop_at_its_place_is_kept(
    small_crops: Path, tmp_path: Path
) -> None:
    source, _ = planned(small_crops)
    copied = source.rows.add_copies(np.flatnonzero(source.rows.label == 1), "turned")
    source = replace(source, rows=copied)
    plan = plan_epoch(copied, "method", 5, 2, 5, 3)
    share = plan.cut_share(0, 1)

    def collect(source: loader.Source) -> np.ndarray:
        stream = loader.BatchStream(source, plan, share, 3, loader.LoaderThread())
        return np.concatenate([batch.inputs for batch in stream])

    originals = len(copied) - int((copied.label == 1).sum()) // 2
    assert originals < len(copied)
    cache = PixelCache(tmp_path, "train", originals, 400, 10**9)
    for _ in range(2):
        np.testing.assert_array_equal(collect(replace(source, cache=cache)), collect(source))
    fakes = np.flatnonzero(copied.label == 1)
    assert {bool(row < originals) for row in fakes if cache.has(row)} == {True}


def test_a_worker_without_a_part_in_a_batch_gets_an_empty_slice(small_crops: Path) -> None:
    sizes, pixels = streamed(small_crops, 3, batch=2)
    assert len(pixels) == 36
    assert sizes[2] == [0] * 18


def test_a_stream_needs_no_cpu_that_ray_counts(small_crops: Path) -> None:
    """Other jobs hold theirs for hours, other workers until all have taken the step, which is for ever."""
    mine = divide_node(2, 2)

    @ray.remote(num_cpus=2)
    class Other:
        def ready(self) -> bool:
            return True

    other = Other.remote()
    assert ray.get(other.ready.remote())
    storage = Storage()
    crops = dataset.open_crops(str(small_crops), storage)
    rows = dataset.select_rows(crops, "train")
    plan = plan_epoch(rows, "method", 5, 2, 5, 3)
    source = loader.Source(crops.files, rows, storage, AUGMENT, seed=5)
    taken: list[int] = []

    def take() -> None:
        for batch in loader.BatchStream(source, plan, plan.cut_share(0, 2), 3, loader.LoaderWorkers(mine)):
            taken.append(len(batch.inputs))

    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    taker.join(timeout=120)
    ray.kill(other)
    assert not taker.is_alive()
    assert sum(taken) == len(plan.cut_share(0, 2).positions)


def test_a_stream_that_is_left_early_leaves_nothing_running(make_crops) -> None:
    folder = make_crops((("train", 0, 20, 30), ("train", 1, 20, 30)))
    storage = Storage()
    crops = dataset.open_crops(str(folder), storage)
    rows = dataset.select_rows(crops, "train")
    plan = plan_epoch(rows, "none", 16, 1_000, 5, 3)  # one window of 1,200 crops: more than may lie ready
    source = loader.Source(crops.files, rows, storage)
    share = plan.cut_share(0, 1)
    workers = loader.LoaderWorkers(divide_node(2, 1))

    def first(workers: loader.LoaderWorkers) -> loader.Batch:
        batches = iter(loader.BatchStream(source, plan, share, 3, workers))
        batch = next(batches)
        batches.close()
        return batch

    for _ in range(3):
        np.testing.assert_array_equal(first(workers).positions, share.positions[:16])
    assert running.ray_workers(os.getpid(), "_LoaderWorker")
    del workers
    for running_code in ("_LoaderWorker", "read_tables"):
        wait_until(lambda code=running_code: not running.ray_workers(os.getpid(), code))


def test_crops_are_the_stored_ones_augmented_by_their_name(small_crops: Path) -> None:
    storage = Storage()
    crops = dataset.open_crops(str(small_crops), storage)
    rows = dataset.select_rows(crops, "train")
    plan = plan_epoch(rows, "method", 5, 2, 5, 3)
    _, pixels = streamed(small_crops, 1)
    for position in (0, 7, 35):
        row = int(plan.rows[position])
        at = (crops.files[rows.file[row]], int(rows.row_group[row]), int(rows.row[row]))
        stored = read_crops([at], storage, with_faces=True)[at]
        changes = augmentation.draw_changes(AUGMENT, 5, 3, stored.sample_id)
        np.testing.assert_array_equal(
            pixels[position],
            augment(decode_crop(stored.encoded, 224), changes, stored, other_room(rows, plan, position)),
        )


def other_room(rows: dataset.Rows, plan: EpochPlan, position: int) -> list[float]:
    """What the frame of the crop has around it by which one is framed."""
    assert plan.other is not None and rows.room is not None
    assert rows.label[plan.other[position]] != rows.label[plan.rows[position]]
    return list(rows.room[plan.other[position]])


def augment(
    picture: np.ndarray, changes: augmentation.DrawnChanges, stored: StoredCrop, room: list[float]
) -> np.ndarray:
    """A stored crop, or what was made of it, as training shows it."""
    assert stored.box is not None and stored.frame_size is not None
    points = None if stored.landmarks is None else list(stored.landmarks.ravel())
    framing = find_framing(len(picture), stored.box, points, stored.frame_size, CROP, room)
    return augmentation.apply_changes(picture, changes, 224, framing)


def stored_at(source: loader.Source, row: int) -> StoredCrop:
    rows = source.rows
    name = source.files[rows.file[row]]
    place = (name, int(rows.row_group[row]), int(rows.row[row]))
    return read_crops([place], source.storage, with_faces=True)[place]


def test_self_blended_pairs_are_the_same_on_three_workers_and_augmented_alike(make_crops) -> None:
    landmarks = [31.0, 40.0, 71.0, 40.0, 51.0, 60.0, 36.0, 82.0, 66.0, 82.0]
    folder = make_crops(landmarks=landmarks)
    (_,), alone = streamed(folder, 1, fakes="mix")
    _, together = streamed(folder, 3, fakes="mix")
    assert alone.keys() == together.keys()
    for position, crop in alone.items():
        np.testing.assert_array_equal(crop, together[position])

    source, plan = planned(folder, fakes="mix")
    blended = np.flatnonzero(plan.kind == CropKind.BLENDED)
    assert len(blended) == 9  # of 18 fakes
    for position in blended.tolist():
        stored = stored_at(source, int(plan.rows[position]))
        assert stored.box is not None
        assert stored.frame_size is not None
        face = self_blending.locate_face(stored.box, stored.landmarks, stored.frame_size, CROP)
        pair = self_blending.self_blend(decode_crop(stored.encoded, 224), face, 5, 3, stored.sample_id)
        assert pair.shape in self_blending.SHAPES  # the landmarks came with the crop
        changes = augmentation.draw_changes(AUGMENT, 5, 3, stored.sample_id)
        room = other_room(source.rows, plan, position)
        np.testing.assert_array_equal(alone[position - 1], augment(pair.real, changes, stored, room))
        np.testing.assert_array_equal(alone[position], augment(pair.fake, changes, stored, room))
        assert plan.label[position] == 1 and plan.label[position - 1] == 0


def test_validation_of_reals_alone_shows_self_blended_pairs(make_crops) -> None:
    folder = make_crops((("val", 0, 2, 4),))
    storage = Storage()
    crops = dataset.open_crops(str(folder), storage)
    rows = add_blended_copies(dataset.select_rows(crops, "val"))
    plan = plan_validation(rows)
    source = loader.Source(crops.files, rows, storage, None, 5, CROP)
    shown = {}
    for rank in range(3):  # a fake and its real may go to different workers
        share = plan.cut_stretch(rank, 3, 3)
        for batch in loader.BatchStream(source, plan, share, 0, loader.LoaderThread()):
            shown.update(zip(batch.positions.tolist(), batch.inputs, strict=True))
    assert len(shown) == 16 and plan.label.sum() == 8
    for position, image in shown.items():
        stored = stored_at(source, int(plan.rows[position]))
        assert stored.box is not None and stored.frame_size is not None
        face = self_blending.locate_face(stored.box, stored.landmarks, stored.frame_size, CROP)
        pair = self_blending.self_blend(decode_crop(stored.encoded, 224), face, 5, 0, stored.sample_id)
        np.testing.assert_array_equal(image, pair.fake if plan.label[position] else pair.real)


def test_a_fake_beside_its_original_is_augmented_as_that(make_crops) -> None:
    # real and fake 0, 1, 2 show the same footage; fake 3 has no original
    folder = make_crops(target_id=None)
    for path in sorted(folder.glob("part-*.parquet")):
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            row["target_id"] = f"{row['split']}-{row['video_id'][-7:-4]}"
        tables.write_table(Storage(), str(path), tables.from_rows("crops", rows), 8)
    source, plan = planned(folder, balance="paired")
    (_,), alone = streamed(folder, 1, balance="paired")
    beside = np.flatnonzero(plan.kind == CropKind.BESIDE)
    assert len(beside) == 18
    for position in beside.tolist():
        original, fake = (stored_at(source, int(plan.rows[place])) for place in (position - 1, position))
        assert original.sample_id == fake.sample_id.replace("fake", "real")
        changes = augmentation.draw_changes(AUGMENT, 5, 3, original.sample_id)
        assert source.rows.room is not None
        room = list(source.rows.room[plan.rows[position - 1]])  # they are framed by each other
        np.testing.assert_array_equal(
            alone[position], augment(decode_crop(fake.encoded, 224), changes, fake, room)
        )
