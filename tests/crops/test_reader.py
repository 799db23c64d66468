"""Stored crops at their places, and the one place where their bytes become RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from deepfake.crops.reader import decode_crop, read_crops, read_rows
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage


def test_a_stored_crop_decodes_to_rgb() -> None:
    golden = np.zeros((224, 224, 3), np.uint8)
    golden[0, 0] = (250, 130, 10)  # red, green, blue
    golden[5, 7] = (1, 2, 3)
    as_bgr = np.ascontiguousarray(golden[:, :, ::-1])
    for extension in (".png", ".webp"):
        options = [cv2.IMWRITE_WEBP_QUALITY, 101] if extension == ".webp" else []
        found = decode_crop(cv2.imencode(extension, as_bgr, options)[1].tobytes(), 224)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, golden)


def test_a_crop_of_another_size_is_an_error_that_says_what_to_do() -> None:
    small = cv2.imencode(".png", np.zeros((100, 100, 3), np.uint8))[1].tobytes()
    with pytest.raises(tables.TableError, match=r"part-1: .*100x100, expected 224x224.*--crop.size 224"):
        decode_crop(small, 224, "part-1")


def test_bytes_that_are_no_image_are_an_error() -> None:
    with pytest.raises(tables.TableError, match="not an image"):
        decode_crop(b"not an image", 224)


def test_rows_come_in_the_order_asked_for(make_crops) -> None:
    part = str(make_crops(rows_per_file=20, row_group_rows=6) / "part-00000.parquet")
    whole = tables.read_table(Storage(), part, "crops").to_pylist()
    found = dict(read_rows(part, {2: [5, 0], 0: [3]}, Storage(), ["video_id", "frame_index"]))
    expected = {2: [whole[17], whole[12]], 0: [whole[3]]}
    assert {group: table.to_pylist() for group, table in found.items()} == {
        group: [{name: row[name] for name in ("video_id", "frame_index")} for row in rows]
        for group, rows in expected.items()
    }


def test_crops_come_with_their_faces_where_those_are_asked_for(make_crops) -> None:
    landmarks = [float(i) for i in range(10)]
    place = (str(make_crops(landmarks=landmarks) / "part-00000.parquet"), 1, 2)
    with_face = read_crops([place, place], Storage(), with_faces=True)[place]
    assert with_face.box == (1.0, 2.0, 100.0, 100.0)
    np.testing.assert_array_equal(with_face.landmarks, np.reshape(landmarks, (5, 2)))
    plain = read_crops([place], Storage())[place]
    assert (plain.box, plain.landmarks, plain.encoded) == (None, None, with_face.encoded)


def test_a_file_that_is_gone_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    gone = str(tmp_path / "part-00000.parquet")
    with pytest.raises(UsageError, match=f"{gone}: gone since this job began; run it again"):
        read_crops([(gone, 0, 0)], Storage())


def test_a_file_of_another_table_is_refused(make_crops) -> None:
    manifest = str(make_crops() / "_manifest.parquet")
    with pytest.raises(tables.TableError, match=r"_manifest\.parquet"):
        read_crops([(manifest, 0, 0)], Storage())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("box", {"x": float("nan"), "y": 0.0, "w": 9.0, "h": 9.0}, "a face's box is"),
        ("box", {"x": 0.0, "y": float("nan"), "w": 9.0, "h": 9.0}, "a face's box is"),
        ("box", {"x": 0.0, "y": 0.0, "w": -5.0, "h": 9.0}, "a face's box is"),
        ("box", {"x": 0.0, "y": 0.0, "w": 9.0, "h": 0.0}, "a face's box is"),
        ("box", {"x": -1e30, "y": 0.0, "w": 9.0, "h": 9.0}, "a face's box is"),
        ("box", {"x": None, "y": 0.0, "w": 9.0, "h": 9.0}, "a face's box is"),
        ("frame_width", 0, "a face's box is .* in a frame of 0x480"),
        ("frame_width", 2**31 - 1, "a face's box is .* in a frame of 2147483647x480"),
        ("landmarks", [float("nan")] * 10, "a face's landmarks are"),
        ("landmarks", [1.0, 2.0, 3.0], "a face's landmarks are"),
        ("landmarks", [1e38] * 10, "a face's landmarks are"),
    ],
)
def test_a_face_that_can_be_nowhere_is_refused_by_its_file(
    make_crops, name: str, value: Any, words: str
) -> None:
    part = next(iter(sorted(make_crops().glob("part-*.parquet"))))
    table = tables.read_table(Storage(), str(part), "crops")
    place = table.schema.get_field_index(name)
    values = pa.array([value] * len(table), table.schema.field(name).type)
    tables.write_table(Storage(), str(part), table.set_column(place, table.schema.field(name), values))
    with pytest.raises(tables.TableError, match=rf"part-00000\.parquet: train/.*{words}"):
        read_crops([(str(part), 0, 0)], Storage(), with_faces=True)
    assert read_crops([(str(part), 0, 0)], Storage())  # nobody who takes the crop alone asks


def test_a_file_that_has_fewer_rows_by_now_is_told_by_its_name(make_crops) -> None:
    part = str(make_crops(rows_per_file=20) / "part-00000.parquet")
    with pytest.raises(UsageError, match=r"part-00000\.parquet: has other rows than when this job began"):
        list(read_rows(part, {99: [0]}, Storage(), ["video_id"]))
    with pytest.raises(tables.TableError, match=r"part-00000\.parquet: .*out of bounds"):
        list(read_rows(part, {0: [99]}, Storage(), ["video_id"]))
