"""Broken and hostile files through the whole job: each gets a status, and the job ends as always."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from deepfake import preprocess, tables
from deepfake.config import PreprocessJobConfig
from tests.broken_inputs import write


@pytest.mark.slow
def test_five_hundred_broken_files_each_get_a_status(tmp_path: Path, ray_session: None) -> None:
    names = write(tmp_path / "broken", rounds=8)
    assert len(names) > 500
    config = {
        "input": str(tmp_path / "broken"),
        "output": str(tmp_path / "crops"),
        "detector": {"name": "haar"},
        "catalog": {"dedupe": False},  # many are cut to the same few bytes
        "sampling": {"timeout_seconds": 10, "max_memory_mb": 1024, "policy": "count", "count": 2},
    }
    summary, _ = preprocess.run(PreprocessJobConfig.model_validate(config))
    manifest = pd.read_parquet(tmp_path / "crops/_manifest.parquet").set_index("video_id")
    # A link to a folder is not followed, and a pipe is no file.
    media = [name for name in names if name not in ("loop folder", "pipe.mp4")]
    assert manifest.index.tolist() == sorted(media)
    assert set(manifest["status"]) <= {status.value for status in tables.Status}
    assert manifest.loc[manifest["status"].isin(tables.FAILURES), "status_detail"].notna().all()
    assert summary["by_status"] == dict(sorted(Counter(manifest["status"]).items()))
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
        assert manifest.loc[name, "status"] == expected, name
