"""The queries that pages show, run on tables as jobs leave them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from deepfake.io import tables
from deepfake.io.storage import Storage
from tests.pipelines.score import score_tables
from tests.rows import crop_row, video_row
from tests.running import ROOT

PAGES = [ROOT / "docs" / name for name in ("cookbook.md",)]
STAMP = {"bundle_sha256": "ab" * 32, "config_sha256": "cd" * 32}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``out/scores`` and ``out/crops``: two judged videos, a copy, one without a face."""
    root = tmp_path_factory.mktemp("queries")
    scored = [
        score_tables.video_row("a.mp4", 0.9, faces=3, face_size_px=40.0),
        score_tables.video_row("b.mp4", 0.2, face_size_px=120.0),
        score_tables.video_row("c.mp4", None),
        score_tables.video_row("d.mp4", None, status="skipped_duplicate", duplicate_of="a.mp4"),
    ]
    of_track = {"faces": 3, "first_s": 0.0, "last_s": 3.0, "segments": 1, "face_size_px": 40.0, **STAMP}
    tracks = [
        {"video_id": "a.mp4", "track_id": number, "score": score, **of_track}
        for number, score in ((0, 0.3), (1, 0.9))
    ]
    segment = {
        "video_id": "a.mp4", "track_id": 1, "segment_index": 0, "start_s": 1.0, "end_s": 2.0, "faces": 3,
        "mean_score": 0.8, "highest_score": 0.9, "highest_frame_index": 30, "threshold": 0.5, **STAMP,
    }  # fmt: skip
    crops = [
        crop_row(name, label=label, split="train", group_id=name)
        for name, label in (("a.mp4", 1), ("b.mp4", 0))
    ]
    listed = [video_row("a.mp4", label=1, method="FaceSwap"), video_row("b.mp4", label=0, method="real")]
    for path, table, rows in (
        ("scores/video_scores/part-00000.parquet", "video_scores", scored),
        ("scores/track_scores/part-00000.parquet", "track_scores", tracks),
        ("scores/segments/part-00000.parquet", "segments", [segment]),
        ("crops/part-00000.parquet", "crops", crops),
        ("crops/_manifest.parquet", "videos", listed),
    ):
        tables.write_table(Storage(), str(root / "out" / path), tables.from_rows(table, rows))
    return root


def blocks(kind: str) -> list[Any]:
    return [
        pytest.param(text, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, text in enumerate(re.findall(rf"```{kind}\n(.*?)```", page.read_text(), re.S))
    ]


@pytest.mark.parametrize("query", blocks("sql"))
def test_a_query_in_sql_answers_with_rows(query: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out)
    for statement in filter(str.strip, re.sub(r"--.*", "", query).split(";")):
        assert duckdb.sql(statement).fetchall()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_lines_in_python_answer_with_rows(page: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out)
    names: dict[str, Any] = {"pd": pd}
    for text in re.findall(r"```python\n(.*?)```", page.read_text(), re.S):
        *statements, last = ast.parse(text).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(statements, []), str(page), "exec"), names)
        assert len(eval(compile(ast.Expression(last.value), str(page), "eval"), names)) > 0


def test_the_cookbook_answers_ten_questions() -> None:
    assert len(re.findall(r"^\*\*.*\?\*\*", (ROOT / "docs" / "cookbook.md").read_text(), re.M)) == 10
