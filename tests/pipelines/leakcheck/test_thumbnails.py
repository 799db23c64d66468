"""Pictures of what was found alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from deepfake.config import LeakcheckJobConfig
from deepfake.crops.dataset import index_rows
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.leakcheck.inputs import LeakcheckInput, load_input
from deepfake.pipelines.leakcheck.scan import PICTURES
from deepfake.pipelines.leakcheck.thumbnails import SIDE, make_thumbnails
from deepfake.report.images import decode_file
from tests.clips import picture, write_clip
from tests.pipelines.leakcheck.made import crop, face, write
from tests.rows import video_row


def overlap(kind: str, a: str, b: str, frame: int | None = 0) -> dict[str, Any]:
    return {"kind": kind, "video_a": a, "video_b": b, "frame_a": frame, "frame_b": frame}


def load(folder: Path, count: int) -> tuple[LeakcheckInput, pa.Table]:
    """A crops folder with a drawn face for each video, and the places of its crops."""
    crops = [crop(f"{i}.mp4", face(i), 0, frame=30 * j) for i in range(count) for j in range(2)]
    uri = write(folder / "crops", crops)
    loaded = load_input(LeakcheckJobConfig(input=uri, output="out"), Storage())
    return loaded, index_rows(loaded.files, "crops", ["video_id", "frame_index"], Storage())


def test_pairs_that_are_alike_are_shown_as_small_pictures_of_themselves(tmp_path: Path) -> None:
    loaded, pictures = load(tmp_path, 3)
    found = make_thumbnails(
        [overlap("near_duplicate", "0.mp4", "2.mp4")], loaded, pictures, 10, 60, Storage()
    )
    assert set(found) == {("0.mp4", 0), ("2.mp4", 0)}
    shown = decode_file(found["2.mp4", 0])
    assert shown.shape == (SIDE, SIDE, 3)
    distance = {i: np.abs(shown[8:104, 8:104] / 1.0 - face(i)).mean() for i in range(3)}
    assert min(distance, key=lambda i: distance[i]) == 2


def test_near_duplicates_come_first_where_there_is_room_for_few(tmp_path: Path) -> None:
    loaded, pictures = load(tmp_path, 4)
    rows = [overlap("label_conflict", "0.mp4", "1.mp4"), overlap("near_duplicate", "2.mp4", "3.mp4")]
    assert set(make_thumbnails(rows, loaded, pictures, 3, 60, Storage())) == {("2.mp4", 0), ("3.mp4", 0)}
    assert make_thumbnails(rows, loaded, pictures, 1, 60, Storage()) == {}


def test_shared_people_and_unknown_frames_have_no_pictures_but_whole_files_have_any(tmp_path: Path) -> None:
    loaded, pictures = load(tmp_path, 2)
    rows = [
        overlap("identity", "0.mp4", "1.mp4"),
        overlap("near_duplicate", "0.mp4", "1.mp4", 77),
        overlap("duplicate_file", "0.mp4", "gone.mp4", None),
    ]
    assert set(make_thumbnails(rows, loaded, pictures, 10, 60, Storage())) == {("0.mp4", None)}


def test_of_a_catalogs_files_the_frame_that_was_looked_at_is_shown(tmp_path: Path) -> None:
    rows = [video_row("a.mp4", uri=str(write_clip(tmp_path / "a.mp4", frames=10)))]
    rows.append(video_row("b.mp4", uri=str(tmp_path / "gone.mp4")))
    loaded = LeakcheckInput("catalog", str(tmp_path), tables.from_rows("videos", rows))
    seen = [{"video_id": row["video_id"], "frame_index": 0} for row in rows]
    pictures = pa.Table.from_pylist(seen, PICTURES)
    pair = [overlap("near_duplicate", "a.mp4", "b.mp4")]
    found = make_thumbnails(pair, loaded, pictures, 10, 60, Storage())
    assert set(found) == {("a.mp4", 0)}  # b's file is gone
    shown, first = decode_file(found["a.mp4", 0]), picture(0.0)
    assert shown.shape == (SIDE * 3 // 4, SIDE, 3)
    assert abs(float(shown.mean()) - float(first.mean())) < 5
