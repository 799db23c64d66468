"""What a score job leaves for people, from finished tables: files for programs, pages, pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig, ScoreJobConfig
from deepfake.execution.output import Output
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.model.inference import Network
from deepfake.model.verdicts import VerdictRule
from deepfake.pipelines.score import index_page, report, video_page
from deepfake.report.images import decode_file
from tests.clips import write_clip
from tests.pipelines.score.score_tables import video_row

POINT = VerdictRule("balanced", 0.5, 0.5, 0.5)

STAMP = {"bundle_sha256": "ab" * 32, "config_sha256": "cd" * 32}
BOX = {"x": 60.0, "y": 40.0, "w": 50.0, "h": 50.0}


def face(name: str, frame: int, score: float) -> dict[str, Any]:
    key = {"video_id": name, "frame_index": frame, "time_s": frame / 25, "face_index": 0, "track_id": 3}
    return {**key, "box": BOX, "detector": "haar", "score": score, **STAMP}


def write_output(folder: Path, **rows: list[dict[str, Any]]) -> Output:
    """A finished output of these rows by table, as far as reports read it."""
    names = ("video_scores", "track_scores", "face_scores", "segments", "evidence")
    for name in names:
        uri = str(folder / name / "part-00000.parquet")
        tables.write_table(Storage(), uri, tables.from_rows(name, rows.get(name, [])))
    return Output(str(folder), Storage(), "cd" * 32, {name: name for name in names})


def configure(folder: Path, **page: Any) -> ScoreJobConfig:
    settings = {"heat_maps": False, "frames": 2, **page}
    return ScoreJobConfig.model_validate(
        {"input": "archive", "output": str(folder), "bundle": "model", "report": settings}
    ).model_copy(update={"detector": DetectorConfig(name="haar"), "crop": CropConfig()})


def order_of(output: Output) -> tuple[pa.Table, pa.Array]:
    videos = output.read_all("video_scores")
    return videos, index_page.sort_by_suspicion(videos)


def test_the_tables_for_programs_have_every_video_the_most_suspicious_first(tmp_path: Path) -> None:
    rows = [video_row("low.mp4", 0.1), video_row("none.mp4", None), video_row('h\u00f6ch, "st".mp4', 0.9)]
    output = write_output(tmp_path, video_scores=rows)
    path = report.write_tables(*order_of(output), output)
    expected = ['h\u00f6ch, "st".mp4', "low.mp4", "none.mp4"]
    with open(path, encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["video_id"] for row in read] == expected and read[2]["score"] == ""
    lines = Path(path).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["video_id"] for line in lines] == expected
    assert list(json.loads(lines[0])) == tables.list_columns("video_scores")


def test_suspicious_videos_have_pages_with_pictures_and_those_that_are_gone_pages_without(
    tmp_path: Path,
) -> None:
    clip = write_clip(tmp_path / "fake.mp4", frames=40)
    known = {"track_scores": [], "face_scores": [], "segments": [], "video_scores": []}
    for name, uri, score in (
        ("fake.mp4", str(clip), 0.9),
        ("gone.mp4", "gone.mp4", 0.8),
        ("real.mp4", "x", 0.1),
    ):
        own = {"uri": uri, "operating_point": "balanced", "uncertain_from": 0.45, "uncertain_to": 0.55}
        known["video_scores"].append(video_row(name, score, duration_s=1.6, **own))
        known["face_scores"] += [face(name, frame, score - frame / 1000) for frame in (0, 10, 30)]
        spans = {"first_s": 0.0, "last_s": 1.2, "face_size_px": 50.0, "segments": 0}
        known["track_scores"].append(
            {"video_id": name, "track_id": 3, "score": score, "faces": 3, **spans, **STAMP}
        )
    folder = tmp_path / "out"
    output = write_output(folder, **known)
    stale = folder / video_page.FOLDER / "of-an-earlier-run.html"
    stale.parent.mkdir()
    stale.write_text("")

    cases = report.write_pages(*order_of(output), configure(folder), output, cast(Network, None), POINT)

    assert set(cases) == {"fake.mp4", "gone.mp4"} and not stale.exists()
    pictures = sorted(path.name for path in stale.parent.glob("*.jpg"))
    stem = video_page.name_file("fake.mp4")
    assert pictures == [f"{stem}-{n}-{what}.jpg" for n in (1, 2) for what in ("crop", "frame")]
    assert decode_file((stale.parent / f"{stem}-1-frame.jpg").read_bytes()).shape == (144, 192, 3)
    page = (folder / video_page.locate_page("fake.mp4")).read_text(encoding="utf-8")
    assert all(name in page for name in pictures) and "frame 10" in page  # the two highest faces
    assert ".jpg" not in (folder / video_page.locate_page("gone.mp4")).read_text(encoding="utf-8")


def test_where_nothing_is_suspicious_there_are_no_pages(tmp_path: Path) -> None:
    output = write_output(tmp_path, video_scores=[video_row("real.mp4", 0.1)])
    assert (
        report.write_pages(*order_of(output), configure(tmp_path), output, cast(Network, None), POINT) == {}
    )


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        (SamplingConfig(every_n=15), "every 15th frame"),
        (SamplingConfig(policy="per_second", per_second=0.5), "0.5 a second"),
        (SamplingConfig(policy="count", count=8), "8 a video, evenly spread"),
        (SamplingConfig(policy="keyframes"), "key frames only"),
    ],
)
def test_which_frames_were_looked_at_is_said_for_each_policy(sampling: SamplingConfig, words: str) -> None:
    assert report.describe_sampling(sampling) == words
