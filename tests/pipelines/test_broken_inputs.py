"""Broken and hostile files through whole jobs: each gets a status, and the job ends as always."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import deepfake.pipelines.score.pipeline
from deepfake.config import PreprocessJobConfig, ScoreJobConfig
from deepfake.io import tables
from deepfake.pipelines.preprocess import pipeline
from tests.broken_inputs import write
from tests.small_bundle import red_is_fake

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder of more than 500 broken files, and their names as the tables have them."""
    folder = tmp_path_factory.mktemp("archive") / "broken"
    names = write(folder, rounds=8)
    assert len(names) > 500
    return folder, names


def _settings(folder: Path, output: Path) -> dict[str, Any]:
    return {
        "input": str(folder),
        "output": str(output),
        "detector": {"name": "haar"},
        "catalog": {"dedupe": False},  # many are cut to the same few bytes
        "sampling": {"timeout_seconds": 10, "max_memory_mb": 1024, "policy": "count", "count": 2},
    }


@pytest.fixture(scope="module")
def preprocessed(
    broken: tuple[Path, list[str]], tmp_path_factory: pytest.TempPathFactory, ray_session: None
) -> pd.DataFrame:
    """The manifest of a preprocess job on them, by ``video_id``."""
    output = tmp_path_factory.mktemp("preprocessed") / "crops"
    summary = pipeline.run(PreprocessJobConfig.model_validate(_settings(broken[0], output))).summary
    manifest = pd.read_parquet(output / "_manifest.parquet").set_index("video_id")
    assert summary["by_status"] == dict(sorted(Counter(manifest["status"]).items()))
    return manifest.sort_index()


def test_five_hundred_broken_files_each_get_a_status(
    broken: tuple[Path, list[str]], preprocessed: pd.DataFrame
) -> None:
    # A link to a folder is not followed, and a pipe is no file.
    media = [name for name in broken[1] if name not in ("loop folder", "pipe.mp4")]
    assert preprocessed.index.tolist() == sorted(media)
    assert set(preprocessed["status"]) <= {status.value for status in tables.Status}
    failed = preprocessed["status"].isin(tables.FAILURES)
    assert failed.sum() > 0 and preprocessed.loc[failed, "status_detail"].notna().all()
    for name, expected in {
        "empty.mp4": "unreadable",
        "text.mp4": "unreadable",
        "16384.png": "unsupported",
        "loop.mp4": "unreadable",
        "dangling.mp4": "unreadable",
        "playlist.mp4": "unreadable",
        "bytes\\xff\\xfe.mp4": "unreadable",
        "new\nline.mp4": "unreadable",
    }.items():
        assert preprocessed.loc[name, "status"] == expected, name


def test_scoring_gives_each_of_them_the_status_that_preprocessing_gave(
    broken: tuple[Path, list[str]], preprocessed: pd.DataFrame, tmp_path: Path
) -> None:
    bundle = red_is_fake(str(tmp_path / "bundle"))
    settings = _settings(broken[0], tmp_path / "scores") | {
        "bundle": bundle.uri, "report": {"heat_maps": False},
    }  # fmt: skip
    summary = deepfake.pipelines.score.pipeline.run(ScoreJobConfig.model_validate(settings)).summary
    scores = pd.read_parquet(tmp_path / "scores/video_scores").set_index("video_id").sort_index()
    assert scores["status"].to_dict() == preprocessed["status"].to_dict()
    assert scores.loc[scores["status"].isin(tables.FAILURES), "status_detail"].notna().all()
    assert (scores["score"].isna() == (scores["status"] != "ok")).all()
    assert (scores["verdict"].isna() == (scores["status"] != "ok")).all()
    assert summary["by_status"] == dict(sorted(Counter(scores["status"]).items()))
    assert "16384.png" in (tmp_path / "scores/report.html").read_text()
