"""What a bundle knows of its validation videos, and which videos are unlike them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from deepfake.io import tables
from deepfake.model.validation_data import ValidationData, describe_validation
from tests.rows import crop_row, video_row

FILES = {
    "real.mp4": {"codec": "h264", "width": 640, "height": 360, "frames_total": 100, "size_bytes": 1_000_000},
    "fake.mp4": {"codec": "h264", "width": 1080, "height": 1920, "frames_total": 50, "size_bytes": 2_000_000},
    "train.mp4": {"codec": "av1", "width": 64, "height": 64, "frames_total": 50, "size_bytes": 2_000_000},
}
LABELS = {"real.mp4": 0, "fake.mp4": 1, "train.mp4": 1}


def describe(with_manifest: bool = True) -> ValidationData:
    rows = []
    for name, count in (("real.mp4", 3), ("fake.mp4", 5), ("train.mp4", 9)):
        for frame in range(count):
            box = {"x": 0.0, "y": 0.0, "w": 50.0 + 10 * frame, "h": 60.0 + 20 * LABELS[name]}
            size = {"frame_width": FILES[name]["width"], "frame_height": FILES[name]["height"]}
            given = {"box": box, "label": LABELS[name], "method": "DF" if LABELS[name] else "real"}
            rows.append(crop_row(name, frame, dataset="youtube", compression="c23", **given, **size))
    crops = tables.from_rows("crops", rows)
    videos = [video_row(name, detector="yunet", **file) for name, file in FILES.items()]
    faces = crops.filter(pa.array([row["video_id"] != "train.mp4" for row in rows]))
    return describe_validation(faces, crops, tables.from_rows("videos", videos) if with_manifest else None)


def test_it_is_what_the_validation_videos_were_and_no_others() -> None:
    found = describe()
    assert (found.real_videos, found.fake_videos) == (1, 1)
    assert found.counts == {
        "dataset": {"youtube": 2}, "method": {"DF": 1, "real": 1}, "compression": {"c23": 2},
        "codec": {"h264": 2}, "detector": {"yunet": 2},
    }  # fmt: skip
    assert found.ranges["frame_side"] == (360, 1080) and found.ranges["faces"] == (3, 5)
    assert found.ranges["face_size_px"] == (60, 80)  # medians of the longer sides
    bits = (8 * 2e6 / (1080 * 1920 * 50), 8 * 1e6 / (640 * 360 * 100))
    assert found.ranges["bits_per_pixel"] == pytest.approx(bits)
    assert "1 real and 1 fake videos; of youtube; by DF; in c23" in found.put_in_words()
    assert ValidationData.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"codec": "hevc"}, "its codec is hevc, theirs h264"),
        ({"detector": "haar"}, "its faces were found by haar, theirs yunet"),
        ({"compression": "c40"}, "it is c40, theirs c23"),
        (
            {"height": 240, "frames_total": 200},
            "the short side of its frames is 240 pixels, theirs 360 to 1080",
        ),
        ({"face_size_px": 30.0}, "its faces are 30 pixels wide or high (median), theirs 60 to 80"),
        ({"faces": 2}, "it has 2 faces that were scored, theirs 3 to 5"),
        ({"size_bytes": 10_000}, "its file has 0.0035 bits a pixel, theirs 0.15 to 0.35"),
        ({"codec": None, "height": None, "size_bytes": None, "face_size_px": None}, None),
    ],
)
def test_a_video_is_unlike_them_in_what_none_of_them_had(change: dict[str, Any], words: str | None) -> None:
    video = {
        **FILES["real.mp4"], "compression": None, "detector": "yunet", "face_size_px": 70.0, "faces": 4,
        **change,
    }  # fmt: skip
    assert describe().list_differences(video) == ([words] if words else [])


KNOWN = ValidationData(
    real_videos=100,
    fake_videos=99,
    counts={"codec": {"h264": 199}},
    ranges={
        "frame_side": (360, 1080),
        "bits_per_pixel": (0.1, 0.4),
        "face_size_px": (60, 80),
        "faces": (3, 5),
    },
)


def test_an_archive_is_compared_by_the_videos_that_were_scored_and_as_each_of_them_is() -> None:
    changes: list[dict[str, Any]] = [
        {}, {"codec": "hevc"}, {"codec": "hevc", "face_size_px": 20.0}, {"size_bytes": 10},
        {"score": None, "codec": "av1"},
        {"codec": None, "width": None, "size_bytes": None, "detector": "haar"},
    ]  # fmt: skip
    like = {**FILES["real.mp4"], "face_size_px": 70.0, "faces": 4, "score": 0.5}
    rows = [{**like, **change} for change in changes]
    found = KNOWN.compare_archive(pa.Table.from_pylist(rows))
    assert (found.scored, found.outside) == (5, 3)
    assert found.subjects == {"codec": 2, "bits a pixel": 1, "size of faces": 1}
    assert found.outside == sum(bool(KNOWN.list_differences(row)) for row in rows if row["score"] is not None)
    assert found.expected == pytest.approx(5 * 2 * 4 / 200)
    assert KNOWN.compare_archive(pa.Table.from_pylist([{"score": None}])).scored == 0


@pytest.mark.parametrize(
    ("like", "unlike", "clearly"), [(1000, 0, False), (960, 40, False), (900, 100, True), (0, 5, True)]
)
def test_an_archive_is_unlike_them_where_chance_gives_fewer(like: int, unlike: int, clearly: bool) -> None:
    one = {**FILES["real.mp4"], "face_size_px": 70.0, "faces": 4, "score": 0.5}
    found = KNOWN.compare_archive(pa.Table.from_pylist([one] * like + [{**one, "faces": 9}] * unlike))
    assert (found.outside, found.is_unlike) == (unlike, clearly)


def test_crops_without_a_manifest_know_less_and_compare_that() -> None:
    found = describe(with_manifest=False)
    assert found.ranges["frame_side"] == (360, 1080) and "bits_per_pixel" not in found.ranges
    assert not found.list_differences({**FILES["real.mp4"], "codec": "hevc", "size_bytes": 1, "faces": 4})
