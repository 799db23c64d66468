"""What Ray's tasks and actors do to feed a training worker: read stored crops, decode, blend, augment.

Plain functions, which know nothing of Ray: ``loader`` starts them and cuts what they decode into batches.
``deepfake.crops.self_blending`` makes fakes of reals, ``deepfake.crops.augmentation`` does the rest.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import pyarrow as pa

from deepfake.config import AugmentConfig, CropConfig
from deepfake.crops import augmentation, self_blending
from deepfake.crops.dataset import Rows
from deepfake.crops.framing import find_framing
from deepfake.crops.reader import Place, decode_crop, decode_wide_crop, list_places, read_crops
from deepfake.io.storage import Storage
from deepfake.outcome import get_clock
from deepfake.training import faults
from deepfake.training.data.balancing import CropKind
from deepfake.training.data.epoch_plan import EpochPlan
from deepfake.training.data.pixel_cache import PixelCache

_TOGETHER = 64  # crops or pairs that are decoded by one call: 4 MB of PNG, 10 MB of pixels
_UNIT = pa.list_(
    pa.struct(
        {
            "position": pa.int64(),
            "index": pa.int64(),  # of its row in Rows
            "kind": pa.int8(),
            "name": pa.string(),  # what augmentation is seeded by
            "turned": pa.bool_(),
            "where": pa.string(),
            "place": pa.struct({"uri": pa.string(), "row_group": pa.int32(), "row": pa.int32()}),
            "encoded": pa.binary(),  # null: made of the crop before it; empty: its pixels are kept
            "box": pa.list_(pa.float64()),
            "landmarks": pa.list_(pa.float64()),
            "frame_size": pa.list_(pa.int64()),
            "surround": pa.binary(),
            "room": pa.list_(pa.float32()),  # of the frame of another face, as in Rows
        }
    )
)


class DecodedCrops(NamedTuple):
    """Crops ready to be learned from."""

    positions: np.ndarray  # (n,) int64, places in the epoch
    crops: np.ndarray  # (n, size, size, 3) uint8 RGB


def list_crops(rows: Rows, plan: EpochPlan, positions: np.ndarray) -> pa.Table:
    """Where the crops of a window of positions ``(n,) int64`` are stored, and what becomes of each."""
    chosen = plan.rows[positions]
    room = pa.nulls(len(chosen))
    if plan.other is not None and rows.room is not None:
        room = pa.FixedSizeListArray.from_arrays(rows.room[plan.other[positions]].ravel(), 4)
    return pa.table(
        {
            "position": positions,
            "index": chosen,
            "unit": plan.unit[positions],
            "file": rows.file[chosen],
            "row_group": rows.row_group[chosen],
            "row": rows.row[chosen],
            "occurrence": plan.occurrence[positions],
            "kind": plan.kind[positions],
            "turned": np.zeros(len(chosen), bool) if rows.turned is None else rows.turned[chosen],
            "room": room,
        }
    )


class WindowReader:
    """Reads the stored crops of windows, as they are; with ``wide`` what is stored around them, too."""

    def __init__(
        self, files: Sequence[str], storage: Storage, wide: bool = False, cache: PixelCache | None = None
    ) -> None:
        """``cache``: pictures that need not be read."""
        self._files, self._storage, self._wide, self._cache = files, storage, wide, cache

    def read_tables(self, window: pa.Table) -> Iterator[pa.Table]:
        """The crops of a window of ``list_crops``, 64 rows a table; a row is one crop or a pair."""
        with get_clock().on("read"):
            units = self._units(window)
        for start in range(0, len(units), _TOGETHER):
            yield pa.table({"unit": pa.array(units[start : start + _TOGETHER], _UNIT)})

    def _units(self, window: pa.Table) -> list[list[dict[str, Any]]]:
        units: list[list[dict[str, Any]]] = []
        lying = list_places(window, self._files)
        with_faces = self._wide or not {CropKind.TARGET, CropKind.MADE}.isdisjoint(window["kind"].to_pylist())
        known: set[Place] = set()
        if (cache := self._cache) is not None:  # a row and a copy of it lie at one place
            indices = window["index"].to_pylist()
            wanted = {at for index, at in zip(indices, lying, strict=True) if not cache.has(index)}
            known = set(lying) - wanted
        stored = read_crops(lying, self._storage, with_faces, with_surround=self._wide, known=known)
        name, unit = "", None
        for place, at in zip(window.to_pylist(), lying, strict=True):
            found = stored[at]
            if place["kind"] not in (CropKind.BLENDED, CropKind.BESIDE):  # which take the name before theirs
                name = f"{found.sample_id}@{place['occurrence']}" if place["occurrence"] else found.sample_id
                name += "@turned" if place["turned"] else ""
            if place["unit"] != unit:
                unit = place["unit"]
                units.append([])
            units[-1].append(
                {
                    "position": place["position"],
                    "index": place["index"],
                    "kind": place["kind"],
                    "name": name,
                    "turned": place["turned"],
                    "where": f"{at[0]}: {found.sample_id}",
                    "place": dict(zip(("uri", "row_group", "row"), at, strict=True)),
                    "encoded": None if place["kind"] == CropKind.BLENDED else found.encoded,
                    "box": found.box,
                    "landmarks": None if found.landmarks is None else found.landmarks.ravel(),
                    "frame_size": found.frame_size,
                    "surround": None if place["kind"] == CropKind.BLENDED else found.surround,
                    "room": place["room"],
                }
            )
        return units


class CropDecoder:
    """Decodes, blends and augments stored crops; the result depends on the crop and the epoch alone."""

    def __init__(
        self,
        changes: AugmentConfig | None,
        seed: int,
        epoch: int,
        cut: CropConfig | None,
        cache: PixelCache | None = None,
        storage: Storage | None = None,
    ) -> None:
        """``changes``: None leaves the crops as stored. ``cut``: how they were cut, needed to blend them.

        ``storage``: where a crop is read whose pixels were in the ``cache`` when its window was.
        """
        self._changes, self._seed, self._epoch, self._cut, self._cache = changes, seed, epoch, cut, cache
        self._storage = storage
        self._size = (cut or CropConfig()).size

    def decode(self, stored: pa.Table) -> DecodedCrops:
        """The crops of a table of ``WindowReader``, in its order; ``TableError`` for one that is none."""
        cv2.setNumThreads(1)  # there is a process for each core already
        with get_clock().on("decode"):
            units = stored["unit"].to_pylist()
            crops = np.stack([image for unit in units for image in self._decode_unit(unit)])
            positions = [crop["position"] for unit in units for crop in unit]
        return DecodedCrops(np.array(positions, np.int64), crops)

    def _decode_unit(self, unit: list[dict[str, Any]]) -> Iterator[np.ndarray]:
        pair: self_blending.Pair | None = None
        for crop in unit:
            if crop["kind"] == CropKind.BLENDED and pair is not None:
                picture = pair.fake
            else:
                picture = self._open(crop)
            if crop["turned"]:
                picture = faults.turn_crop(picture)
            if crop["kind"] in (CropKind.TARGET, CropKind.MADE):
                with get_clock().on("augment"):
                    pair = self._blend(picture, crop)
                picture = pair.real if crop["kind"] == CropKind.TARGET else pair.fake
            with get_clock().on("augment"):
                picture = self._augment(picture, crop)
            yield picture

    def _open(self, crop: dict[str, Any]) -> np.ndarray:
        """A stored crop with what is stored around it, from the cache or into it."""
        kept = None if self._cache is None else self._cache.read(crop["index"])
        if kept is not None:
            return kept
        if not crop["encoded"] and self._storage is not None:
            crop = crop | self._read_again(crop["place"], self._storage)
        picture = decode_crop(crop["encoded"], self._size, crop["where"])
        if crop["surround"] is not None and not crop["turned"]:
            picture = decode_wide_crop(picture, crop["surround"], crop["where"])
        if self._cache is not None:
            self._cache.write(crop["index"], picture)
        return picture

    def _read_again(self, lying: dict[str, Any], storage: Storage) -> dict[str, Any]:
        """The stored bytes of a crop whose pixels are not kept any more."""
        place = (lying["uri"], lying["row_group"], lying["row"])
        is_framed = self._changes is not None and self._changes.enabled and self._cut is not None
        found = read_crops([place], storage, with_surround=is_framed)[place]
        return {"encoded": found.encoded, "surround": found.surround}

    def _blend(self, picture: np.ndarray, crop: dict[str, Any]) -> self_blending.Pair:
        if self._cut is None:
            raise ValueError("self-blended images can be made only where it is known how the crops were cut")
        landmarks = np.array(crop["landmarks"]).reshape(-1, 2) if crop["landmarks"] else None
        surround = (len(picture) - self._cut.size) // 2
        face = self_blending.locate_face(
            tuple(crop["box"]), landmarks, tuple(crop["frame_size"]), self._cut, surround
        )
        return self_blending.self_blend(picture, face, self._seed, self._epoch, crop["name"])

    def _augment(self, picture: np.ndarray, crop: dict[str, Any]) -> np.ndarray:
        if self._changes is None or not self._changes.enabled:
            return picture
        changes = augmentation.draw_changes(self._changes, self._seed, self._epoch, crop["name"])
        framing = None
        if self._cut is not None and crop["frame_size"] is not None and not crop["turned"]:
            framing = find_framing(
                len(picture), tuple(crop["box"]), crop["landmarks"] or None, tuple(crop["frame_size"]),
                self._cut, crop["room"],
            )  # fmt: skip
        return augmentation.apply_changes(picture, changes, self._size, framing)
