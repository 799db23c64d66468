"""Which faces are evaluated, and what is said where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.run_record import write_record
from deepfake.io.storage import Storage
from deepfake.pipelines.evaluate import inputs
from tests.pipelines.evaluate.faces import crop, scored, two_classes, write

STORAGE = Storage()


def test_crops_are_found_with_their_places_in_the_files(tmp_path: Path) -> None:
    first = [crop("b.mp4", frame, 0) for frame in range(7)]
    uri = write(tmp_path, "crops", first, [crop("a.mp4", 0, 1)])
    write_record(uri, STORAGE, {"crop": {"margin": 0.3}})
    faces = inputs.load_faces(uri, STORAGE)
    assert faces.kind == "crops"
    assert faces.config["crop"] == {"margin": 0.3}
    places = faces.table.select(["video_id", "frame_index", "file", "row_group", "row"]).to_pylist()
    assert [tuple(place.values()) for place in places[:2]] == [("a.mp4", 0, 1, 0, 0), ("b.mp4", 0, 0, 0, 0)]
    assert tuple(places[-1].values()) == ("b.mp4", 6, 0, 1, 1)


def test_the_folder_of_the_score_job_stands_for_its_face_scores(tmp_path: Path) -> None:
    write(tmp_path / "face_scores", "face_scores", two_classes())
    write(tmp_path / "track_scores", "face_scores", two_classes())
    faces = inputs.load_faces(str(tmp_path), STORAGE)
    assert faces.kind == "face_scores"
    assert faces.table.num_rows == 24


def test_files_that_begin_with_an_underscore_are_no_crops(tmp_path: Path) -> None:
    write(tmp_path, "face_scores", two_classes())
    (tmp_path / "_work").mkdir()
    (tmp_path / "_work" / "x.parquet").write_bytes(b"not parquet")
    assert inputs.load_faces(str(tmp_path), STORAGE).table.num_rows == 24


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere: no such folder"):
        inputs.load_faces(str(tmp_path / "nowhere"), STORAGE)


def test_another_table_is_refused_with_what_would_do(tmp_path: Path) -> None:
    tables.write_table(STORAGE, str(tmp_path / "part.parquet"), tables.from_rows("catalog", []))
    with pytest.raises(UsageError, match="neither crops nor face scores"):
        inputs.load_faces(str(tmp_path), STORAGE)


def test_faces_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    uri = write(tmp_path, "face_scores", two_classes(), two_classes()[:3])
    with pytest.raises(UsageError, match="3 faces are there twice"):
        inputs.load_faces(uri, STORAGE)


def test_an_absent_split_is_answered_with_the_splits_there_are(tmp_path: Path) -> None:
    faces = inputs.load_faces(write(tmp_path, "face_scores", two_classes(videos=2)), STORAGE)
    with pytest.raises(UsageError, match=r"split 'val'.*test: 2 real, 2 fake.*--evaluation\.split"):
        inputs.select_split(faces, "val")


def test_a_split_of_one_class_is_refused(tmp_path: Path) -> None:
    rows = [row for row in two_classes() if row["label"] == 1]
    faces = inputs.load_faces(write(tmp_path, "face_scores", rows), STORAGE)
    for split in ("test", "all"):
        with pytest.raises(UsageError, match="needs real and fake videos and has 0 real, 4 fake"):
            inputs.select_split(faces, split)


def test_all_takes_rows_of_every_split_and_of_none(tmp_path: Path) -> None:
    rows = [*two_classes(videos=1), scored("other.mp4", 0, 1, 0.5, split=None)]
    faces = inputs.load_faces(write(tmp_path, "face_scores", rows), STORAGE)
    assert inputs.select_split(faces, "all").table.num_rows == 7
    assert inputs.select_split(faces, "test").table.num_rows == 6


def test_scores_of_an_archive_without_splits_are_taken_whole(tmp_path: Path) -> None:
    rows = [scored(f"{label}.mp4", i, label, 0.5, split=None) for label in (0, 1) for i in range(3)]
    faces = inputs.load_faces(write(tmp_path, "face_scores", rows), STORAGE)
    assert inputs.select_split(faces, "test").table.num_rows == 6


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*two_classes(), scored("unknown.mp4", 0, None, 0.5)]
    selected = inputs.select_split(inputs.load_faces(write(tmp_path, "face_scores", rows), STORAGE), "test")
    assert (selected.table.num_rows, selected.unlabelled) == (24, 1)


def test_a_limit_takes_whole_videos(tmp_path: Path) -> None:
    faces = inputs.load_faces(write(tmp_path, "face_scores", two_classes()), STORAGE)
    limited = inputs.select_split(faces, "test", limit=5).table
    assert limited.group_by("video_id").aggregate([]).num_rows == 5
    assert limited.num_rows == 15


def test_videos_without_a_face_are_counted_from_the_manifest(tmp_path: Path) -> None:
    def looked_at(name: str, split: str, label: int | None) -> dict:
        counts = {"frames_sampled": 1, "frames_with_face": 0, "faces": 0}
        return {"video_id": name, "uri": name, "status": "ok", "split": split, "label": label, **counts}

    write(tmp_path, "face_scores", two_classes(videos=1))
    rows = [
        looked_at("real0.mp4", "test", 0),
        looked_at("faceless.mp4", "test", 1),
        looked_at("elsewhere.mp4", "train", 1),
        looked_at("unknown.mp4", "test", None),
    ]
    tables.write_table(STORAGE, str(tmp_path / "_manifest.parquet"), tables.from_rows("videos", rows))
    faces = inputs.load_faces(str(tmp_path), STORAGE)
    assert inputs.list_without_faces(faces, "test").num_rows == 1
    assert inputs.list_without_faces(faces, "all").num_rows == 2


def test_of_a_scored_archive_without_splits_all_videos_without_a_face_are_counted_copies_excepted(
    tmp_path: Path,
) -> None:
    write(tmp_path, "face_scores", two_classes(videos=1, split=None))
    counts = {"frames_sampled": 1, "frames_with_face": 0, "faces": 0, "label": 1}
    rows = [
        {"video_id": name, "uri": name, "status": status, **counts}
        for name, status in (("a.mp4", "no_face"), ("b.mp4", "unreadable"), ("c.mp4", "skipped_duplicate"))
    ]
    tables.write_table(STORAGE, str(tmp_path / "_manifest.parquet"), tables.from_rows("videos", rows))
    found = inputs.list_without_faces(inputs.load_faces(str(tmp_path), STORAGE), "test")
    assert found["video_id"].to_pylist() == ["a.mp4", "b.mp4"]


def test_a_review_labels_the_videos_that_it_names(tmp_path: Path) -> None:
    rows = [scored(name, 0, None, 0.5) for name in ("=a.mp4", "b,c.mp4", "d.mp4")]
    rows += [scored("known.mp4", 0, 1, 0.5), scored("corrected.mp4", 0, 1, 0.5)]
    faces = inputs.load_faces(write(tmp_path, "face_scores", rows), STORAGE)
    review = tmp_path / "review.csv"
    said = ['"\'=a.mp4","fake","a note"', '"b,c.mp4","real",""', '"d.mp4","unsure",""', '"known.mp4","","?"']
    review.write_text("\n".join(["video_id,label,note", *said, '"corrected.mp4","real",""', ""]))
    table = inputs.label_videos(faces, str(review), STORAGE).table
    found = {row["video_id"]: (row["label"], row["method"]) for row in table.to_pylist()}
    assert found == {
        "=a.mp4": (1, "fake"), "b,c.mp4": (0, "real"), "d.mp4": (None, None), "known.mp4": (1, "Swap"),
        "corrected.mp4": (0, "real"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("video_id,label\nz.mp4,fake\n", "names no video of"),
        ("video_id,label\na.mp4,fake\na.mp4,real\n", "names a video twice"),
        ("video_id,label\na.mp4,perhaps\n", "'perhaps', expected real, fake, unsure"),
        ("video_id,note\na.mp4,x\n", "no column label"),
    ],
)
def test_labels_that_make_no_sense_are_refused(tmp_path: Path, text: str, words: str) -> None:
    faces = inputs.load_faces(write(tmp_path, "face_scores", [scored("a.mp4", 0, None, 0.5)]), STORAGE)
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UsageError, match=words):
        inputs.label_videos(faces, str(tmp_path / "labels.csv"), STORAGE)
