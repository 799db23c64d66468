"""The page of scores while the job still runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deepfake.config import ReportConfig
from deepfake.execution.output import Output
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.model.thresholds import Mixer
from deepfake.model.verdicts import VerdictRule
from deepfake.pipelines.score import index_page
from deepfake.pipelines.score.live_page import LivePage
from deepfake.pipelines.score.pipeline import FOLDERS
from tests.pipelines.score.score_tables import video_row, video_table
from tests.pipelines.score.test_index_page import JPEG


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An output's folder, here and in a bucket."""
    return str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('s3_root')}/scores"


def make_output(root: str | Path) -> Output:
    return Output(str(root), Storage(), "cd" * 32, FOLDERS)


def stage(output: Output, unit: str, *rows: dict[str, Any]) -> None:
    """What a worker leaves of a unit."""
    shared = set(tables.list_columns("videos"))
    looked = [{name: value for name, value in row.items() if name in shared} for row in rows]
    key = {"frame_index": 0, "time_s": 0.0, "face_index": 0, "box": {"x": 0.0, "y": 0.0, "w": 9.0, "h": 9.0},
           "detector": "haar", "detector_score": 1.0}  # fmt: skip
    pictures = [{"video_id": row["video_id"], **key, "score": row["score"], "image": JPEG}
                for row in rows if row["score"] is not None]  # fmt: skip
    output.write_unit(
        unit,
        {
            "videos": tables.from_rows("videos", looked),
            "video_scores": video_table(*rows),
            "evidence": tables.from_rows("evidence", pictures),
        },
    )


def read_page(root: str) -> tuple[str, dict[str, Any]]:
    text = Storage().read_text(join(root, "report.html"))
    return text, json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]


def list_rows(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the page says of each video, by name."""
    columns = [
        name
        for name, value in data.items()
        if isinstance(value, list) and not name.endswith(("Keys", "Words"))
    ]
    rows = {name: {c: data[c][i] for c in columns if c != "status"} for i, name in enumerate(data["name"])}
    for i, name in enumerate(data["name"]):
        rows[name] |= {"status": data["statusKeys"][data["status"][i]], "face": data["thumbnail"].get(str(i))}
    return rows


def test_what_is_done_has_the_rows_and_faces_of_the_finished_page(root: str) -> None:
    output, point = make_output(root), VerdictRule("balanced", 0.5, 0.45, 0.55)
    whole = {"tracks": 2, "worst_track_id": 1, "segments_s": 4.0, "face_size_px": 60.0}
    whole["bundle_scores"] = [0.25, 0.75]
    mixer = Mixer((None, None), ("one", "other"))
    first = [video_row("a.mp4", 0.9, **whole), video_row("b.mp4", None)]
    second = [video_row("c.mp4", 0.95, **whole), video_row("d.mp4", 0.1, **whole)]
    live = LivePage(output, 7, ReportConfig(), {"Archive": "/archive"}, point, "/archive", mixer)
    live.write()
    assert not Storage().exists(join(root, "report.html"))
    stage(output, "1", *first)
    live.write()
    text, one = read_page(root)
    assert "has the 2 of 7 videos that were done" in text and one["name"] == ["a.mp4", "b.mp4"]
    stage(output, "2", *second)
    live.write()
    _, both = read_page(root)
    table = video_table(*first, *second)
    pictures = {row["video_id"]: JPEG for row in (*first, *second) if row["score"] is not None}
    index_page.write_index(
        root, Storage(), table, index_page.sort_by_suspicion(table), pictures, point=point,
        facts={"Archive": "/archive"}, archive="/archive", mixer=mixer,
    )  # fmt: skip
    text, finished = read_page(root)
    assert "still runs" not in text
    rows = list_rows(finished)
    assert list_rows(both) == rows and both["ensemble"] == finished["ensemble"]
    assert finished["ensemble"]["apart"] == [0.5, 0.5, 0.5, None]
    assert list_rows(one) == {name: rows[name] for name in ("a.mp4", "b.mp4")}
    assert len(list(Storage().list_files(join(root, "thumbnails")))) == 3


def test_a_page_that_cannot_be_written_stops_no_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = make_output(tmp_path)
    stage(output, "1", video_row("a.mp4", 0.9))
    (tmp_path / "_work/evidence/1.parquet").write_bytes(b"cut")
    live = LivePage(output, 1, ReportConfig(), {}, VerdictRule("balanced", 0.5, 0.45, 0.55), "/archive")
    live.write()
    assert "cannot be written" in caplog.text and not (tmp_path / "report.html").exists()


def test_a_job_whose_page_is_written_all_the_time_ends_with_the_finished_one(tmp_path: Path) -> None:
    output = make_output(tmp_path)
    config = ReportConfig(live_seconds=0.001)
    live = LivePage(output, 2, config, {}, VerdictRule("balanced", 0.5, 0.45, 0.55), "/archive")
    with live.keep_up():
        stage(output, "1", video_row("a.mp4", 0.9))
        while not (tmp_path / "report.html").exists():
            pass
    assert "has the 1 of 2 videos" in (tmp_path / "report.html").read_text()
