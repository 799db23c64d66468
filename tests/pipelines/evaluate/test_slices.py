"""How large faces are and how long tracks, for faces, tracks and videos."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from deepfake.io import tables
from deepfake.pipelines.evaluate.slices import FACE_SIZE, TRACK_LENGTH, add_columns, aggregate_rows


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
