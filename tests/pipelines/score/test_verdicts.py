"""Verdicts made again from stored face scores: the rows of a full run under that rule."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.config import ScoreJobConfig, ScoringConfig, VerdictsJobConfig
from deepfake.crops import sandbox
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.model import inference
from deepfake.model.bundle import read_bundle_info, write_bundle
from deepfake.pipelines.score import pipeline, verdicts
from tests.small_bundle import save_untrained

TABLES = ("video_scores", "track_scores", "face_scores", "segments", "evidence")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("bundle"))
    save_untrained(uri, unproven="")
    return uri


@pytest.fixture(scope="module")
def archive(ffpp_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips, a copy of one, and a file that is none."""
    folder = tmp_path_factory.mktemp("archive")
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))[:3]
    for clip, name in zip([*clips, clips[0]], ("a.mp4", "b.mp4", "c.mp4", "d.mp4"), strict=True):
        shutil.copy(clip, folder / name)
    (folder / "text.mp4").write_text("not a video")
    return folder


def score(
    archive: Path, bundle: str, output: Path, report: dict[str, Any] | None = None, **scoring: Any
) -> Path:
    values = {
        "input": str(archive), "output": str(output), "bundle": bundle, "max_failed": 1.0,
        "sampling": {"every_n": 10}, "detector": {"name": "haar", "keep": "all"}, "scoring": scoring,
        "report": report or {"heat_maps": False, "frames": 0},
    }  # fmt: skip
    pipeline.run(ScoreJobConfig.model_validate(values))
    return output


@pytest.fixture(scope="module")
def scored(archive: Path, bundle: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return score(archive, bundle, tmp_path_factory.mktemp("scored") / "scores", keep_crops=True)


def remake(scored: Path, output: Path, **more: Any) -> Path:
    """The job, where neither a decoder nor a network can be had."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was decoded or scored")

    config = VerdictsJobConfig.model_validate({"input": str(scored), "output": str(output), **more})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox.IsolatedExtractor, "extract", refuse)
        patch.setattr(inference, "prepare_network", refuse)
        verdicts.run(config)
    return output


def read(output: Path, name: str) -> pd.DataFrame:
    rows = pd.read_parquet(output / name)
    return rows.drop(columns=[column for column in rows if column.endswith("_seconds")])


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        {"threshold": 0.99, "uncertain": 0.0, "aggregation": "max", "smooth_seconds": 0.0},
        {"over_tracks": "top_k", "top_k": 2, "min_faces": 4},
    ],
    ids=["another threshold", "by tracks"],
)
def test_the_rows_are_those_of_a_full_run_under_that_rule(
    rule: dict[str, Any], scored: Path, archive: Path, bundle: str, tmp_path: Path
) -> None:
    remade = remake(scored, tmp_path / "remade", scoring=rule)
    whole = score(archive, bundle, tmp_path / "whole", **rule)
    for name in (*TABLES, "_manifest.parquet"):
        pd.testing.assert_frame_equal(read(remade, name), read(whole, name))
    records = [json.loads((output / "_config.json").read_text()) for output in (remade, whole)]
    assert records[0] == records[1]
    changed = pd.read_parquet(remade / "changes.parquet")
    assert len(changed) == 5
    assert (remade / "report.html").exists()
    if "threshold" in rule:
        assert set(changed["verdict_after"].dropna()) == {"likely_real"}
        assert "likely_real" not in set(changed["verdict_before"])


def test_a_bundle_of_the_same_network_brings_its_own_thresholds(
    scored: Path, bundle: str, tmp_path: Path
) -> None:
    again = shutil.copytree(bundle, tmp_path / "calibrated anew")
    info = read_bundle_info(str(again), Storage())
    sealed = write_bundle(str(again), Storage(), info.model_copy(update={"threshold": 0.99}))
    remade = read(remake(scored, tmp_path / "remade", bundle=str(again)), "video_scores")
    assert set(remade["threshold"]) == {0.99}
    assert set(remade["bundle_sha256"]) == {sealed.sha256}
    assert set(remade["verdict"].dropna()) == {"likely_real"}


def test_an_output_of_before_likelihood_ratios_gets_them_and_is_not_mixed_with_new_rows(
    scored: Path, archive: Path, bundle: str, tmp_path: Path
) -> None:
    earlier = shutil.copytree(scored, tmp_path / "earlier")
    later = frozenset().union(*tables.ADDED.values())
    for path in earlier.rglob("*.parquet"):
        table = pq.read_table(path)
        metadata = {**table.schema.metadata, b"deepfake.schema_version": b"5"}
        kept = table.select([name for name in table.column_names if name not in later])
        pq.write_table(kept.replace_schema_metadata(metadata), path)
    record = json.loads((earlier / "_config.json").read_text())
    del record["schema_version"]
    (earlier / "_config.json").write_text(json.dumps(record))
    new, old = (remake(source, tmp_path / f"of {source.name}") for source in (scored, earlier))
    pd.testing.assert_frame_equal(read(old, "video_scores"), read(new, "video_scores"))
    assert read(old, "video_scores")["no_ratio"].notna().any()
    with pytest.raises(UsageError, match=r"earlier version, whose rows have no likelihood ratio.*verdicts"):
        score(archive, bundle, earlier, keep_crops=True)


def test_without_faces_no_picture_of_anybody_is_in_an_output(
    scored: Path, archive: Path, bundle: str, tmp_path: Path
) -> None:
    def list_pictures(output: Path) -> list[str]:
        files = [path.name for path in output.rglob("*") if path.suffix in (".jpg", ".png", ".webp")]
        tables_ = [path.name for path in output.rglob("*.parquet") if read_pictures(path)]
        pages = [path.name for path in output.rglob("*.html") if "data:image" in path.read_text()]
        return files + tables_ + pages

    def read_pictures(path: Path) -> bool:
        table = pq.read_table(path)
        kinds = [field.name for field in table.schema if pa.types.is_binary(field.type)]
        return any(table[name].null_count < len(table) for name in kinds)

    assert list_pictures(scored)  # what is looked for is found where there is any
    without = {"faces": False, "frames": 2, "heat_maps": True}
    whole = score(archive, bundle, tmp_path / "whole", report=without)
    remade = remake(scored, tmp_path / "remade", report={"faces": False})
    again = remake(whole, tmp_path / "again")
    for output in (whole, remade, again):
        assert list_pictures(output) == [] and (output / "report.html").exists()
        pd.testing.assert_frame_equal(
            read(output, "face_scores").drop(columns="config_sha256"),
            read(scored, "face_scores").drop(columns="config_sha256"),
        )
        assert json.loads((output / "_config.json").read_text())["report"] == {"faces": False}
    page = next((whole / "video_pages").glob("*.html")).read_text()
    assert "None are shown: this output was made without them." in page
    with pytest.raises(UsageError, match="holds rows of another configuration"):
        score(archive, bundle, whole)
    with pytest.raises(ValueError, match="keeps pictures of faces"):
        score(archive, bundle, tmp_path / "kept", report=without, keep_crops=True)


def test_a_bundle_of_another_network_is_refused(scored: Path, tmp_path: Path) -> None:
    save_untrained(str(tmp_path / "other"), seed=7)
    with pytest.raises(UsageError, match=r"other: another network than the one that scored .*scores"):
        remake(scored, tmp_path / "remade", bundle=str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("recorded", "told", "words"),
    [
        ({"first_pass": 4}, {"threshold": 0.3}, "made with scoring.first_pass"),
        ({"min_faces": 3}, {"min_faces": 2}, "scoring.min_faces 2: a was made with 3"),
    ],
)
def test_a_rule_whose_rows_are_not_in_the_output_is_refused(
    recorded: dict[str, Any], told: dict[str, Any], words: str
) -> None:
    config = VerdictsJobConfig.model_validate({"input": "a", "output": "b", "scoring": told})
    with pytest.raises(UsageError, match=words):
        verdicts.merge_rule(config, ScoringConfig.model_validate(recorded), "a")


def test_what_is_not_told_stays_and_an_operating_point_takes_the_place_of_a_threshold() -> None:
    config = VerdictsJobConfig.model_validate(
        {"input": "a", "output": "b", "scoring": {"operating_point": "fpr_0.01"}}
    )
    recorded = ScoringConfig(threshold=0.4, aggregation="max", keep_crops=True)
    found = verdicts.merge_rule(config, recorded, "a")
    assert found == ScoringConfig(operating_point="fpr_0.01", aggregation="max")


def test_what_is_no_finished_output_is_refused(bundle: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not an output of jobs/score\.py"):
        remake(Path(bundle), tmp_path / "remade")
