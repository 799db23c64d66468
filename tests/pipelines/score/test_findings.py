"""What is said of a video in words: its content credentials, from the file to the page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Page

from deepfake.config import ScoreJobConfig, VerdictsJobConfig
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.tables.columns import CREDENTIALS
from deepfake.pipelines.score import findings, pipeline, verdicts, video_page
from tests.signing import make_signer
from tests.small_bundle import save_untrained

COLUMNS = [column.name for column in CREDENTIALS]


def score(archive: Path, output: Path, **scoring: Any) -> pd.DataFrame:
    values = {
        "input": str(archive), "output": str(output), "bundle": str(archive.parent / "bundle"),
        "sampling": {"every_n": 20}, "detector": {"name": "haar"}, "scoring": scoring,
        "report": {"heat_maps": False, "frames": 0},
    }  # fmt: skip
    pipeline.run(ScoreJobConfig.model_validate(values))
    return read(output)


def read(output: Path) -> pd.DataFrame:
    return pd.read_parquet(output / "video_scores").set_index("video_id").sort_index()


@pytest.mark.browser
def test_credentials_go_from_the_files_to_table_and_page_and_change_no_score(
    ffpp_small: Path, tmp_path: Path, open_page: Callable[..., Page]
) -> None:
    archive, signer = tmp_path / "archive", make_signer()
    archive.mkdir()
    save_untrained(str(tmp_path / "bundle"), unproven="it guesses")  # each video has a page
    (tmp_path / "list.pem").write_bytes(signer.root)
    clip = min(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))
    shutil.copy(clip, archive / "plain.mp4")
    signer.sign(clip, archive / "signed.mp4")
    altered = (archive / "signed.mp4").read_bytes().replace(b"Lavf", b"Lavg")
    (archive / "altered.mp4").write_bytes(altered)

    without = score(archive, tmp_path / "without")
    found = score(archive, tmp_path / "scores", credentials=True, trust_list=str(tmp_path / "list.pem"))

    assert without[COLUMNS].isna().all().all()
    states = {"altered.mp4": "invalid", "plain.mp4": "none", "signed.mp4": "trusted"}
    assert found["credentials"].to_dict() == states
    assert found["score"].tolist() == without["score"].tolist()
    (tmp_path / "list.pem").unlink()  # verdicts reads no file again
    remade = {"input": str(tmp_path / "scores"), "output": str(tmp_path / "remade")}
    verdicts.run(VerdictsJobConfig.model_validate(remade))
    pd.testing.assert_frame_equal(read(tmp_path / "remade")[COLUMNS], found[COLUMNS])
    with pytest.raises(UsageError, match=r"list\.pem: no such file"):
        score(archive, tmp_path / "again", credentials=True, trust_list=str(tmp_path / "list.pem"))

    for name, words in {
        "plain.mp4": ["There are none. That says nothing"],
        "signed.mp4": ["whom the trust list names", "Test Camera, Test Works", "no time stamp says it"],
        "altered.mp4": ["they do not hold", "bmffHash.mismatch"],
    }.items():
        page = open_page(tmp_path / "scores" / video_page.locate_page(name))
        section = page.locator("section[aria-labelledby=credentials]").inner_text()
        assert all(one in section for one in words)
    page = open_page(tmp_path / "without" / video_page.locate_page("plain.mp4"))
    assert page.locator("section[aria-labelledby=credentials]").count() == 0


def test_there_are_words_for_each_state_that_is_stored() -> None:
    doc = tables.SCHEMAS["video_scores"].field("credentials").metadata[b"doc"].decode()
    for state, words in findings.CREDENTIALS.items():
        assert state in doc
        found = findings.describe_credentials({**dict.fromkeys(COLUMNS), "credentials": state})
        assert found is not None and found["words"] == words
    assert findings.describe_credentials(dict.fromkeys(COLUMNS)) is None
