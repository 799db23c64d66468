"""The score job: every video gets a score or a status, whatever else is in the archive."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from deepfake import bundle as bundles
from deepfake import keras_runtime, model, preprocess, scoring
from deepfake.config import ModelConfig, PreprocessJobConfig, ScoreJobConfig
from deepfake.errors import UsageError
from deepfake.faces.crops import decode
from deepfake.storage import Storage


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A bundle with random weights: its scores mean nothing, but they are scores."""
    uri = str(tmp_path_factory.mktemp("bundle"))
    keras_runtime.start(seed=3)
    bundles.save(
        uri, Storage(), model.build(ModelConfig(weights="none")), threshold=0.5, threshold_rule="none"
    )
    return uri


def _config(archive: Path, bundle: str, output: Path, **more: Any) -> ScoreJobConfig:
    base = {
        "input": str(archive),
        "bundle": bundle,
        "output": str(output),
        "detector": {"name": "haar"},
        "scoring": {"batch_size": 8},
    }
    return ScoreJobConfig.model_validate(base | more)


HOSTILE = "<script>alert(1)</script> 'quoted' \u202egpj.mp4"


@pytest.fixture(scope="module")
def archive(ffpp_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three good clips, one of them with a hostile name, and three that cannot be scored."""
    folder = tmp_path_factory.mktemp("archive")
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))
    for clip, name in zip(clips, ("one.mp4", "sub folder/two.mp4", HOSTILE.replace("/", "_")), strict=False):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(clip, folder / name)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video")
    (folder / "cut.mp4").write_bytes(clips[0].read_bytes()[: clips[0].stat().st_size // 2])
    return folder


@pytest.fixture(scope="module")
def scored(archive: Path, bundle: str, tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    output = tmp_path_factory.mktemp("scored") / "scores"
    scoring.run(_config(archive, bundle, output))
    return output


def test_every_video_has_a_score_or_a_status_and_never_half_for_want_of_an_answer(scored: Path) -> None:
    videos = pd.read_parquet(scored / "video_scores")
    assert len(videos) == 6
    good, bad = videos[videos["status"] == "ok"], videos[videos["status"] != "ok"]
    assert len(good) == 3
    assert good["score"].between(0, 1).all()
    assert set(good["verdict"]) <= {"likely_real", "likely_fake"}
    assert bad["score"].isna().all()
    assert bad["verdict"].isna().all()
    assert bad["status_detail"].notna().all()


def test_scores_are_the_bundles_scores_of_the_crops_that_preprocess_makes(
    scored: Path, archive: Path, bundle: str, tmp_path: Path
) -> None:
    preprocess.run(
        PreprocessJobConfig.model_validate(
            {"input": str(archive), "output": str(tmp_path / "crops"), "detector": {"name": "haar"}}
        )
    )
    key = ["video_id", "frame_index", "face_index"]
    crops = pd.read_parquet(tmp_path / "crops").sort_values(key)
    faces = pd.read_parquet(scored / "face_scores").sort_values(key)
    assert faces[key].to_numpy().tolist() == crops[key].to_numpy().tolist()
    expected = bundles.Bundle.load(bundle).score(np.stack([decode(data) for data in crops["crop"]]))
    np.testing.assert_allclose(faces["score"], expected, atol=1e-5)
    videos = pd.read_parquet(scored / "video_scores").set_index("video_id")
    means = faces.groupby("video_id")["score"].mean()
    np.testing.assert_allclose(videos.loc[means.index, "score"], means, atol=1e-9)


def test_the_page_and_the_csv_name_every_video(scored: Path, archive: Path) -> None:
    csv = pd.read_csv(scored / "video_scores.csv")
    assert len(csv) == 6
    assert csv["score"].dropna().is_monotonic_decreasing
    page = (scored / "report.html").read_text()
    assert "<script>alert(1)" not in page
    for name in ("one.mp4", "sub folder/two.mp4", "empty.mp4", "text.mp4", "cut.mp4"):
        assert name in page
    assert len(list((scored / "thumbnails").iterdir())) == 3


def test_new_videos_are_scored_and_the_others_left_as_they_are(
    archive: Path, bundle: str, ffpp_small: Path, tmp_path: Path, ray_session: None
) -> None:
    mine, output = tmp_path / "archive", tmp_path / "scores"
    mine.mkdir()
    shutil.copy(archive / "one.mp4", mine)
    scoring.run(_config(mine, bundle, output))
    first = {p: p.read_bytes() for p in output.glob("*_scores/*.parquet")}
    shutil.copy(archive / "sub folder/two.mp4", mine)
    scoring.run(_config(mine, bundle, output))
    assert {p: p.read_bytes() for p in first} == first
    assert pd.read_parquet(output / "video_scores")["video_id"].tolist() == ["one.mp4", "two.mp4"]
    assert pq.read_metadata(output / "_manifest.parquet").num_rows == 2


def test_rows_of_another_bundle_are_refused(scored: Path, archive: Path, tmp_path: Path) -> None:
    keras_runtime.start(seed=4)
    other = str(tmp_path / "bundle")
    bundles.save(other, Storage(), model.build(ModelConfig(weights="none")), threshold=0.5)
    with pytest.raises(UsageError, match="another bundle"):
        scoring.run(_config(archive, other, scored))


def test_a_folder_that_is_no_bundle_is_refused_by_name(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=str(tmp_path)):
        scoring.run(_config(archive, str(tmp_path), tmp_path / "scores"))
