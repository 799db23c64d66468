"""Videos and people taken out of finished outputs: what is left is what a run without them makes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from deepfake.config import PreprocessJobConfig, RemoveJobConfig, ScoreJobConfig, VerdictsJobConfig
from deepfake.errors import UsageError
from deepfake.outcome import Outcome
from deepfake.pipelines.preprocess import pipeline as preprocessing
from deepfake.pipelines.remove import pipeline
from deepfake.pipelines.score import pipeline as scoring
from deepfake.pipelines.score import verdicts
from tests.small_bundle import save_untrained

pytestmark = pytest.mark.slow(60)

TABLES = ("video_scores", "track_scores", "face_scores", "segments", "evidence", "crops")
TIMES = ["decode_seconds", "detect_seconds", "crop_seconds"]
PICTURES = (".jpg", ".html", ".csv")


def remove(output: Path, **more: Any) -> Outcome:
    return pipeline.run(RemoveJobConfig.model_validate({"output": str(output), **more}))


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path).drop(columns=TIMES, errors="ignore").reset_index(drop=True)


def require_alike(one: Path, other: Path, tables: tuple[str, ...]) -> None:
    """The same rows and manifest, and the same files for people."""
    for name in (*tables, "_manifest.parquet"):
        pd.testing.assert_frame_equal(read(one / name), read(other / name))
    shown = [
        {path.relative_to(root): path for path in root.rglob("*") if path.suffix in PICTURES}
        for root in (one, other)
    ]
    assert list(shown[0]) and shown[0].keys() == shown[1].keys()
    for name, path in shown[0].items():
        if name.name == "video_scores.csv":  # it says how long decoding took
            rows = [pd.read_csv(root / name).drop(columns=TIMES[:2]) for root in (one, other)]
            pd.testing.assert_frame_equal(*rows)
        else:
            assert path.read_bytes() == shown[1][name].read_bytes(), name
    assert not list(one.glob(pipeline.MARK)) and not (one / "_work").exists()


def preprocess(archive: Path, output: Path) -> dict[str, Any]:
    """Splits are dealt, so that they depend on who is there."""
    values = {"input": str(archive), "output": str(output), "detector": {"name": "haar"}}
    return dict(preprocessing.run(PreprocessJobConfig.model_validate(values)).summary)


@pytest.fixture
def crops(ffpp_small: Path, tmp_path: Path) -> Path:
    shutil.copytree(ffpp_small, tmp_path / "archive")
    preprocess(tmp_path / "archive", tmp_path / "crops")
    return tmp_path / "crops"


def test_a_person_leaves_crops_as_a_run_without_them_makes_them(crops: Path, tmp_path: Path) -> None:
    before = read(crops / "_manifest.parquet")
    person = before["source_id"].dropna().iloc[0]
    theirs = before[(before["target_id"] == person) | (before["source_id"] == person)]
    assert len(theirs) > 1 and set(theirs["label"]) == {0, 1}
    for name, people in (("model", {"train": [person], "val": ["x"]}), ("other", {"train": ["x"]})):
        save_untrained(str(tmp_path / name), training={"identities": people})
    save_untrained(str(tmp_path / "silent"))
    bundles = [str(tmp_path / name) for name in ("model", "other", "silent")]

    summary = remove(crops, people=[person], bundles=bundles).summary

    assert summary["removed"] == summary["still_in_input"] == len(theirs)
    assert [words.partition(": ")[2] for words in summary["remains"]] == [
        "was trained on identities that were removed (1 in train); train again without them",
        "was trained on none of 1 identities that were removed",
        "does not say whom it was trained on",
    ]
    for uri in theirs["uri"]:
        Path(uri).unlink()
    preprocess(tmp_path / "archive", tmp_path / "without")
    require_alike(crops, tmp_path / "without", ("",))
    files = {path: path.read_bytes() for path in crops.rglob("*.parquet")}
    assert preprocess(tmp_path / "archive", crops)["no_longer_in_input"] == 0
    assert files == {path: path.read_bytes() for path in crops.rglob("*.parquet")}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("bundle"))
    save_untrained(uri, unproven="")
    return uri


@pytest.fixture
def archive(ffpp_small: Path, tmp_path: Path) -> Path:
    """Three clips, a copy of the first, and a file that is none."""
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))[:3]
    (tmp_path / "archive").mkdir()
    for clip, name in zip([*clips, clips[0]], ("a.mp4", "b.mp4", "c.mp4", "d.mp4"), strict=True):
        shutil.copy(clip, tmp_path / "archive" / name)
    (tmp_path / "archive" / "text.mp4").write_text("not a video")
    return tmp_path / "archive"


Scorer = Callable[[Path], Path]


@pytest.fixture
def score(archive: Path, bundle: str) -> Scorer:
    def score_to(output: Path) -> Path:
        values = {
            "input": str(archive), "output": str(output), "bundle": bundle, "max_failed": 1.0,
            "sampling": {"every_n": 20}, "detector": {"name": "haar"}, "scoring": {"keep_crops": True},
            "report": {"heat_maps": False, "frames": 1},
        }  # fmt: skip
        scoring.run(ScoreJobConfig.model_validate(values))
        return output

    return score_to


def test_a_video_leaves_scores_whose_pages_stay_however_often_it_is_stopped(
    score: Scorer, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = score(tmp_path / "scores")
    for step in ("remove_rows", "renew_scores"):  # killed before anything is done, and in the midst of it
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                remove(output, videos=["b.mp4"])
    assert "b.mp4" not in set(read(output / "video_scores")["video_id"])
    assert "b.mp4" in (output / "report.html").read_text()

    assert remove(output, videos=["b.mp4"]).summary["removed"] == 1

    (archive / "b.mp4").unlink()
    require_alike(output, score(tmp_path / "without"), TABLES)
    named = [path for path in output.rglob("*") if path.is_file() and b"b.mp4" in path.read_bytes()]
    assert named == []


def test_copies_leave_with_a_video_and_other_traces_of_it_too(
    score: Scorer, archive: Path, tmp_path: Path
) -> None:
    first, output = score(tmp_path / "scores"), tmp_path / "remade"
    (tmp_path / "case.yaml").write_text("items: [{video: a.mp4}]")
    report = {"case": str(tmp_path / "case.yaml"), "checksums": True, "frames": 1}
    values = {"input": str(first), "output": str(output), "report": report}
    verdicts.run(VerdictsJobConfig.model_validate(values))
    (output / "verification").mkdir()
    (output / "verification" / "verification.json").write_text('{"videos": [{"video_id": "a.mp4"}]}')

    assert remove(output, videos=["d.mp4"]).summary["removed"] == 2

    for name in ("a.mp4", "d.mp4"):
        (archive / name).unlink()
        files = [path for path in output.rglob("*") if path.is_file()]
        assert [path for path in files if name.encode() in path.read_bytes()] == []
    assert set(read(output / "changes.parquet")["video_id"]) == {"b.mp4", "c.mp4", "text.mp4"}
    assert "changes.parquet" in (output / "SHA256SUMS").read_text()
    without = score(tmp_path / "without")
    for table in TABLES[:-1]:
        pd.testing.assert_frame_equal(*(read(one / table).drop(columns="config_sha256", errors="ignore")
                                        for one in (output, without)))  # fmt: skip


def test_what_can_no_longer_be_had_keeps_nothing_from_leaving(
    score: Scorer, archive: Path, bundle: str, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    output = score(tmp_path / "scores")
    archive.rename(tmp_path / "elsewhere")
    record = output / "_config.json"
    record.write_text(record.read_text().replace(bundle, str(tmp_path / "absent")))
    with caplog.at_level(logging.WARNING):
        assert remove(output, videos=["b.mp4"]).summary["still_in_input"] == 0
    assert "splits and groups of the rest stay as they are" in caplog.text
    assert "the page says nothing of error rates" in caplog.text
    assert set(read(output / "face_scores")["video_id"]) == {"a.mp4", "c.mp4"}
    assert "b.mp4" not in (output / "report.html").read_text()


def test_a_name_that_is_not_there_or_would_leave_nothing_is_refused(
    score: Scorer, archive: Path, tmp_path: Path
) -> None:
    output = score(tmp_path / "scores")
    with pytest.raises(UsageError, match=r"no video of it is bb\.mp4; did you mean b\.mp4"):
        remove(output, videos=["bb.mp4"])
    with pytest.raises(UsageError, match="no video of it is nobody"):
        remove(output, people=["nobody"])
    with pytest.raises(UsageError, match="every video of it would leave; remove the folder"):
        remove(output, videos=["a.mp4", "b.mp4", "c.mp4", "text.mp4"])
    assert remove(output, videos=["a.mp4"], dry_run=True).summary["would_leave"] == ["a.mp4", "d.mp4"]
    assert len(read(output / "video_scores")) == 5 and not (output / pipeline.MARK).exists()
    (output / "_manifest.parquet").unlink()
    with pytest.raises(UsageError, match="has not finished"):
        remove(output, videos=["a.mp4"])
    with pytest.raises(UsageError, match=r"not an output of jobs/preprocess\.py or jobs/score\.py"):
        remove(archive, videos=["a.mp4"])
    with pytest.raises(UsageError, match="name what to take out"):
        remove(output)
