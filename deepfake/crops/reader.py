"""Stored crops at their places: the bytes of chosen rows of crops files, and the pixels of such bytes.

Reads the row groups that hold the rows and no others. ``dataset`` says what lies where.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from deepfake.errors import UsageError
from deepfake.faces import encoding
from deepfake.faces.encoding import decode_image
from deepfake.io import tables
from deepfake.io.storage import Storage

LARGEST_SIDE = 10**6  # pixels; no frame is so large
_FACE_COLUMNS = ["box", "landmarks", "frame_width", "frame_height"]

Place = tuple[str, int, int]  # URI of a crops file, row group, row within the row group


@dataclass(frozen=True)
class StoredCrop:
    """One crop as it is stored."""

    video_id: str
    frame_index: int
    face_index: int
    encoded: bytes
    box: tuple[float, float, float, float] | None = None  # x, y, w, h in the frame's pixels, if asked for
    landmarks: np.ndarray | None = None  # (5, 2) float64 in the frame's pixels, if asked for and known
    frame_size: tuple[int, int] | None = None  # height and width in pixels, if asked for
    surround: bytes | None = None  # if asked for and stored

    @property
    def sample_id(self) -> str:
        """The name that augmentation is seeded by."""
        return f"{self.video_id}#{self.frame_index}#{self.face_index}"


def list_places(table: pa.Table, files: Sequence[str]) -> list[Place]:
    """The places of the rows of an index (``dataset.index_rows``) over some files, by their URIs."""
    columns = (table[name].to_pylist() for name in ("file", "row_group", "row"))
    return [(files[file], group, row) for file, group, row in zip(*columns, strict=True)]


def read_crops(
    places: Iterable[Place],
    storage: Storage,
    with_faces: bool = False,
    with_surround: bool = False,
    known: Container[Place] = (),
) -> dict[Place, StoredCrop]:
    """The crops at some places, in any order; ``with_faces`` reads boxes, landmarks and frame sizes too.

    A row group of which only places in ``known`` are asked for is read without pictures: ``encoded`` is
    empty.
    """
    wanted: dict[str, dict[int, set[int]]] = {}
    for uri, group, row in places:
        wanted.setdefault(uri, {}).setdefault(group, set()).add(row)
    columns = ["video_id", "frame_index", "face_index", *(_FACE_COLUMNS * with_faces)]
    pictures = ["crop", *(["surround"] * with_surround)]
    found: dict[Place, StoredCrop] = {}
    for uri, groups in wanted.items():
        ordered: dict[bool, dict[int, list[int]]] = {True: {}, False: {}}  # True: without pictures
        for group, rows in groups.items():
            ordered[all((uri, group, row) in known for row in rows)][group] = sorted(rows)
        for bare, chosen in ordered.items():
            names = columns if bare else columns + pictures
            for group, table in read_rows(uri, chosen, storage, names) if chosen else ():
                for row, values in zip(chosen[group], table.to_pylist(), strict=True):
                    box, landmarks, width, height = (values.pop(name, None) for name in _FACE_COLUMNS)
                    if with_faces:
                        _require_face(f"{uri}: {values['video_id']}", box, landmarks, width, height)
                    found[uri, group, row] = StoredCrop(
                        encoded=values.pop("crop", b""),
                        **values,
                        box=(box["x"], box["y"], box["w"], box["h"]) if box else None,
                        landmarks=np.array(landmarks, np.float64).reshape(-1, 2) if landmarks else None,
                        frame_size=(height, width) if box else None,
                    )
    return found


def _require_face(
    where: str,
    box: Mapping[str, float | None] | None,
    landmarks: Sequence[float] | None,
    width: int | None,
    height: int | None,
) -> None:
    """Raise ``TableError`` where these can be no face's box, points and frame."""
    if box is not None:
        sides = np.array([box["w"], box["h"], width, height], np.float64)  # None as NaN
        if not (sides > 0).all() or not _lies_in_frames([*box.values(), width, height]):
            raise tables.TableError(f"{where}: a face's box is {box}, in a frame of {width}x{height} pixels")
    if landmarks and (len(landmarks) != 10 or not _lies_in_frames(landmarks)):
        raise tables.TableError(f"{where}: a face's landmarks are {landmarks[:10]}")


def _lies_in_frames(numbers: Sequence[float | None]) -> bool:
    return bool((np.abs(np.array(numbers, np.float64)) <= LARGEST_SIDE).all())


def read_indexed(
    table: pa.Table, files: Sequence[str], storage: Storage, with_faces: bool = False
) -> list[StoredCrop]:
    """The crops of the rows of an index over some files, in their order."""
    places = list_places(table, files)
    found = read_crops(places, storage, with_faces)
    return [found[place] for place in places]


def read_rows(
    uri: str,
    row_groups: Mapping[int, Sequence[int]],
    storage: Storage,
    columns: Sequence[str] | None = None,
    table: str = "crops",
) -> Iterator[tuple[int, pa.Table]]:
    """``(row group, its chosen rows in the order given)`` of one file of a table, all columns or some.

    Raises ``UsageError`` where the file is gone, or has fewer rows by now.
    """
    wanted = list(columns) if columns is not None else None
    try:
        with tables.open_table(storage, uri, table) as file:
            for group, rows in row_groups.items():
                found = file.read_row_group(group, columns=wanted).take(pa.array(rows, pa.int64()))
                yield group, tables.add_later_columns(table, found, wanted)
    except FileNotFoundError:
        raise UsageError(f"{uri}: gone since this job began; run it again") from None
    except IndexError:
        raise UsageError(f"{uri}: has other rows than when this job began; run it again") from None


def decode_wide_crop(crop: np.ndarray, surround: bytes, where: str = "crop") -> np.ndarray:
    """The ``(n, n, 3) uint8 RGB`` picture with a crop in its middle and its encoded surroundings about it.

    Raises ``tables.TableError`` that names ``where`` where these are no image, or of another crop.
    """
    try:
        return encoding.join_surround(crop, surround)
    except ValueError as error:
        raise tables.TableError(
            f"{where}: what is stored around the crop is not readable: {error}"
        ) from error


def decode_crop(encoded: bytes, size: int | None, where: str = "crop") -> np.ndarray:
    """Stored bytes as ``(size, size, 3) uint8 RGB``, 0..255; of any size where ``size`` is None.

    Raises ``tables.TableError`` that names ``where`` for bytes that are no image or of another size.
    """
    announced = encoding.read_size(encoded)  # before anything is unpacked
    if size is not None and announced is not None and announced != (size, size):
        raise tables.TableError(
            f"{where}: the stored crop is {announced[1]}x{announced[0]}, expected {size}x{size}; "
            f"run jobs/preprocess.py with --crop.size {size}"
        )
    try:
        return decode_image(encoded)
    except ValueError as error:
        raise tables.TableError(f"{where}: the stored crop is not an image ({error})") from error
