"""How large faces are and how long tracks, for faces, tracks and videos."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from deepfake.io import tables
from deepfake.pipelines.evaluate.slices import (
    AT_EDGE,
    FACE_SIZE,
    FRAMING,
    TRACK_LENGTH,
    WHOLE,
    add_columns,
    aggregate_rows,
)


def face(video: str, track: int | None, side: float, score: float = 0.5) -> dict[str, Any]:
    """A face half as high again as it is wide, with such a side on average."""
    box = {"x": 0.0, "y": 0.0, "w": 0.8 * side, "h": 1.2 * side}
    return {"video_id": video, "track_id": track, "box": box, "label": 1, "score": score}


def faces(*rows: dict[str, Any]) -> pa.Table:
    schema = tables.SCHEMAS["face_scores"]
    names = ["video_id", "track_id", "box", "label", "score"]
    kinds = [schema.field(n).type if n in schema.names else pa.int8() for n in names]
    return pa.Table.from_pylist(list(rows), pa.schema(list(zip(names, kinds, strict=True))))


@pytest.mark.parametrize(
    ("side", "size"),
    [
        (10, "under 64 px"),
        (63.9, "under 64 px"),
        (64.1, "64 to 127 px"),
        (130, "128 to 255 px"),
        (257, "256 px and more"),
    ],
)
def test_the_size_of_a_face_is_the_mean_of_its_sides(side: float, size: str) -> None:
    assert add_columns(faces(face("a", 0, side)))[FACE_SIZE].to_pylist() == [size]


@pytest.mark.parametrize(
    ("count", "length"),
    [
        (1, "1 face"),
        (2, "2 to 4 faces"),
        (4, "2 to 4 faces"),
        (5, "5 to 16 faces"),
        (16, "5 to 16 faces"),
        (17, "17 faces and more"),
    ],
)
def test_the_length_of_a_track_is_the_number_of_its_faces(count: int, length: str) -> None:
    other_video = [face("b", 0, 50)]
    found = add_columns(faces(*[face("a", 0, 50)] * count, *other_video))
    assert found[TRACK_LENGTH].to_pylist() == [length] * count + ["1 face"]


def test_a_video_has_the_median_size_of_its_faces_and_the_length_of_its_longest_track() -> None:
    rows = add_columns(
        faces(
            face("a", 0, 20), face("a", 0, 100), face("a", 1, 300), face("a", None, 120), face("a", None, 40)
        )
    )
    video = aggregate_rows(rows, "video", "mean", 5)
    assert video[FACE_SIZE].to_pylist() == ["64 to 127 px"]  # 100
    assert video[TRACK_LENGTH].to_pylist() == ["2 to 4 faces"]


def test_tracks_have_rows_of_their_own_and_keep_the_name_of_their_video() -> None:
    name = "line\nbreak 1.mp4"  # as a key of video and track holds one
    rows = add_columns(faces(face(name, 0, 20, 0.25), face(name, 0, 20, 0.75), face(name, 1, 300, 1.0)))
    tracks = aggregate_rows(rows, "track", "mean", 5)
    assert tracks["video_id"].to_pylist() == [name, name]
    assert sorted(tracks["score"].to_pylist()) == [0.5, 1.0]
    assert sorted(tracks[FACE_SIZE].to_pylist()) == ["256 px and more", "under 64 px"]
    of_tracks = aggregate_rows(tracks, "video", "max", 5)
    assert of_tracks["score"].to_pylist() == [1.0]
    assert of_tracks[TRACK_LENGTH].to_pylist() == ["2 to 4 faces"]


def test_without_faces_there_are_no_rows() -> None:
    assert aggregate_rows(add_columns(faces()), "video", "mean", 5).num_rows == 0


@pytest.mark.parametrize(
    ("padded", "shift", "shrink", "named"),
    [
        (0.0, 0.0, 1.0, WHOLE), (0.0, 0.1, 1.0, AT_EDGE), (0.0, 0.0, 0.9, AT_EDGE), (0.2, 0.0, 1.0, AT_EDGE),
        (None, 0.1, 1.0, None),
    ],
)  # fmt: skip
def test_faces_whose_crop_the_frame_changed_stand_apart(padded, shift, shrink, named) -> None:
    table = faces(face("a", 0, 50))
    for name, value in (("padded", padded), ("shift", shift), ("shrink", shrink)):
        table = table.append_column(name, pa.array([value], pa.float32()))
    assert add_columns(table)[FRAMING].to_pylist() == [named]


def test_a_video_is_framed_as_most_of_its_faces() -> None:
    table = faces(*[face("a", 0, 50)] * 3, *[face("b", 0, 50)] * 2)
    for name, values in (("padded", [0.0] * 5), ("shift", [0.1, 0.2, 0.0, 0.1, 0.0]), ("shrink", [1.0] * 5)):
        table = table.append_column(name, pa.array(values, pa.float32()))
    videos = aggregate_rows(add_columns(table), "video", "mean", 5)
    assert videos[FRAMING].to_pylist() == [AT_EDGE, WHOLE]
    assert add_columns(faces(face("a", 0, 50)))[FRAMING].to_pylist() == [None]  # of an older table
