"""The score job: every video gets a score or a status, whatever else is in the archive."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import deepfake.pipelines.preprocess.pipeline
from deepfake.config import (
    ROWS_VERSION,
    DetectorConfig,
    PreprocessJobConfig,
    SamplingConfig,
    ScoreJobConfig,
    VerdictsJobConfig,
    VerifyJobConfig,
)
from deepfake.errors import UsageError
from deepfake.faces.encoding import decode_image
from deepfake.io import lock, tables
from deepfake.io.storage import Storage
from deepfake.model.bundle import Bundle
from deepfake.pipelines.score import pipeline, verdicts, verify, video_page
from deepfake.video.decoder import open_local
from tests.small_bundle import save_untrained


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("bundle"))
    save_untrained(uri, unproven="", detector=DetectorConfig(name="haar"))
    return uri


def _config(archive: Path, bundle: str | list[str], output: Path, **more: Any) -> ScoreJobConfig:
    base = {
        "input": str(archive),
        "bundle": bundle,
        "output": str(output),
        "detector": {"name": "haar"},
        "scoring": {"keep_crops": True},
        "report": {"heat_maps": False},  # TensorFlow starts for them
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
def scored(archive: Path, bundle: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("scored") / "scores"
    pipeline.run(_config(archive, bundle, output, report={"heat_maps": True}))
    return output


@pytest.mark.slow
def test_every_video_has_a_score_or_a_status_and_never_half_for_want_of_an_answer(scored: Path) -> None:
    videos = pd.read_parquet(scored / "video_scores")
    assert len(videos) == 6
    good, bad = videos[videos["status"] == "ok"], videos[videos["status"] != "ok"]
    assert len(good) == 3
    assert good["score"].between(0, 1).all()
    assert set(good["verdict"]) <= {"likely_real", "uncertain", "likely_fake"}
    assert bad["score"].isna().all()
    assert bad["verdict"].isna().all()
    assert bad["status_detail"].notna().all()


def test_scores_are_the_bundles_scores_of_the_crops_that_preprocess_makes(
    scored: Path, archive: Path, bundle: str, tmp_path: Path
) -> None:
    deepfake.pipelines.preprocess.pipeline.run(
        PreprocessJobConfig.model_validate(
            {"input": str(archive), "output": str(tmp_path / "crops"), "detector": {"name": "haar"}}
        )
    )
    key = ["video_id", "frame_index", "face_index"]
    crops = pd.read_parquet(tmp_path / "crops").sort_values(key)
    faces = pd.read_parquet(scored / "face_scores").sort_values(key)
    assert faces[key].to_numpy().tolist() == crops[key].to_numpy().tolist()
    expected = Bundle.load(bundle).score(np.stack([decode_image(data) for data in crops["crop"]]))
    np.testing.assert_allclose(faces["score"], expected, atol=1e-5)
    videos = pd.read_parquet(scored / "video_scores").set_index("video_id")
    means = faces.groupby("video_id")["score"].mean()
    np.testing.assert_allclose(videos.loc[means.index, "score"], means, atol=1e-9)


def test_every_row_names_what_made_it(scored: Path) -> None:
    videos = pd.read_parquet(scored / "video_scores")
    assert videos["made_with"].str.contains("openvino").all()
    assert pd.read_parquet(scored / "segments").columns.tolist() == tables.list_columns("segments")


@pytest.mark.slow
def test_an_ensemble_decodes_once_and_keeps_what_each_bundle_says(
    scored: Path, archive: Path, bundle: str, tmp_path: Path
) -> None:
    other, output = str(tmp_path / "other"), tmp_path / "scores"
    save_untrained(other, seed=8, unproven="", detector=DetectorConfig(name="haar"))
    both = [bundle, other]
    pipeline.run(_config(archive, both, output, scoring={}))
    alone = pd.read_parquet(scored / "face_scores")
    faces = pd.read_parquet(output / "face_scores")
    own = np.stack(faces["bundle_scores"].to_list())
    np.testing.assert_allclose(own[:, 0], alone["score"], atol=1e-6)
    np.testing.assert_allclose(faces["score"], own.mean(axis=1), atol=1e-12)  # neither is calibrated
    assert np.ptp(own, axis=1).min() > 0
    rows = pd.read_csv(output / "video_scores.csv").set_index("video_id")
    means = faces.assign(first=own[:, 0], second=own[:, 1]).groupby("video_id")[["score", "first", "second"]]
    found = rows.loc[means.mean().index, ["score", "score_1", "score_2"]]
    np.testing.assert_allclose(found, means.mean(), atol=1e-9)
    assert rows.loc["empty.mp4", ["score", "score_1", "score_2"]].isna().all()
    (page, *_) = (output / "video_pages").glob("*.html")
    assert "the mean of the calibrated scores of 2 model bundles" in page.read_text()

    assert (
        verify.run(VerifyJobConfig(verify=str(output), sample=2, output=str(tmp_path / "v"))).problem is None
    )
    judged = tmp_path / "judged"
    told = {"input": str(output), "output": str(judged), "scoring": {"aggregation": "max"}}
    verdicts.run(VerdictsJobConfig.model_validate({**told, "report": {"heat_maps": False}}))
    highest = faces.assign(second=own[:, 1]).groupby("video_id")[["score", "second"]].max()
    again = pd.read_parquet(judged / "video_scores").set_index("video_id").loc[highest.index]
    np.testing.assert_array_equal(again["score"], highest["score"])
    np.testing.assert_array_equal([scores[1] for scores in again["bundle_scores"]], highest["second"])

    flipped = tmp_path / "flipped"
    pipeline.run(_config(archive, both, flipped, scoring={"flip": True, "first_pass": 2}))
    looked = pd.read_parquet(flipped / "video_scores")
    assert looked["passes"].dropna().isin([1, 2]).all() and looked["bundle_scores"].notna().sum() == 3
    assert (
        verify.run(VerifyJobConfig(verify=str(flipped), sample=2, output=str(tmp_path / "w"))).problem is None
    )


ON_A_GPU = """
import sys
import ray
from deepfake.pipelines.score import pipeline
import deepfake.pipelines.preprocess.pipeline
from deepfake.config import ScoreJobConfig
ray.init(address="local", num_cpus=2, num_gpus=1, object_store_memory=2**28, include_dashboard=False)
pipeline.run(ScoreJobConfig.model_validate_json(sys.argv[1]))
"""


def test_gpu_actors_give_the_same_tables(scored: Path, archive: Path, bundle: str, tmp_path: Path) -> None:
    """The same stages and actors; Ray is told of a GPU, and TensorFlow, which sees none, takes the CPU."""
    output = tmp_path / "scores"
    config = _config(archive, bundle, output, scoring={"use_gpu": True, "keep_crops": True})
    subprocess.run([sys.executable, "-c", ON_A_GPU, config.model_dump_json()], check=True, timeout=300)
    for name in ("face_scores", "video_scores", "track_scores"):
        found, expected = pd.read_parquet(output / name), pd.read_parquet(scored / name)
        np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)
        differ = {"made_with", "decode_seconds", "detect_seconds"}
        others = [name for name in found if "score" not in name and name not in differ]
        pd.testing.assert_frame_equal(found[others], expected[others])
    assert pd.read_parquet(output / "video_scores")["made_with"].str.contains("tensorflow").all()


def test_gpus_that_this_machine_lacks_are_refused(
    archive: Path, bundle: str, tmp_path: Path, ray_session: None
) -> None:
    with pytest.raises(UsageError, match=r"--scoring\.use_gpu needs 1 GPU, Ray has 0 on this machine; leave"):
        pipeline.run(_config(archive, bundle, tmp_path / "scores", scoring={"use_gpu": True}))


def test_scores_depend_on_neither_runtime_nor_batch_size_nor_workers(
    scored: Path, archive: Path, bundle: str, tmp_path: Path, ray_session: None
) -> None:
    scoring_section = {"runtime": "tensorflow", "batch_size": 3, "keep_crops": True}
    output = tmp_path / "scores"
    pipeline.run(_config(archive, bundle, output, scoring=scoring_section, ray={"workers": 1}))
    for name in ("face_scores", "video_scores"):
        found, expected = pd.read_parquet(output / name), pd.read_parquet(scored / name)
        np.testing.assert_allclose(found["score"], expected["score"], atol=1e-5)
        assert found["config_sha256"].tolist() == expected["config_sha256"].tolist()
    assert found["made_with"].str.contains("tensorflow").all()


def test_the_page_and_the_csv_name_every_video(scored: Path, archive: Path) -> None:
    csv = pd.read_csv(scored / "video_scores.csv")
    assert len(csv) == 6
    assert csv["score"].dropna().is_monotonic_decreasing
    lines = [json.loads(line) for line in (scored / "video_scores.jsonl").read_text().splitlines()]
    assert [line["video_id"] for line in lines] == csv["video_id"].tolist()
    page = (scored / "report.html").read_text()
    assert "<script>alert(1)" not in page
    for name in ("one.mp4", "sub folder/two.mp4", "empty.mp4", "text.mp4", "cut.mp4"):
        assert name in page
    assert len(list((scored / "thumbnails").iterdir())) == 3


def test_a_suspicious_video_has_a_page_with_frames_faces_and_heat_maps(scored: Path) -> None:
    videos = pd.read_parquet(scored / "video_scores")
    suspicious = videos[videos["verdict"].isin(["uncertain", "likely_fake"])]
    assert len(suspicious)
    folder = scored / "video_pages"
    index = (scored / "report.html").read_text()
    for name in suspicious["video_id"]:
        stem = video_page.name_file(name)
        page = (folder / f"{stem}.html").read_text()
        assert f"video_pages/{stem}.html" in index
        pictures = re.findall(r'src="([^"]+)"', page)
        assert pictures and all((folder / picture).is_file() for picture in pictures)
        assert {picture.rsplit("-", 1)[1] for picture in pictures} == {"frame.jpg", "crop.jpg", "heat.jpg"}
    assert len(list(folder.glob("*.html"))) == len(suspicious)


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("other"))
    save_untrained(uri, seed=4, threshold=0.3)
    return uri


def test_frames_are_scored_as_their_video_and_what_is_not_read_is_counted(
    bundle: str, ffpp_small: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    (archive / "frames/clip").mkdir(parents=True)
    clip = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))[0]
    with open_local(clip, SamplingConfig()) as video:
        for frame in video.decode_frames(np.arange(0, 60, 2)):
            rgb = cv2.cvtColor(frame.to_rgb(), cv2.COLOR_RGB2BGR)
            cv2.imwrite(str(archive / f"frames/clip/{frame.index:04d}.png"), rgb)
    (archive / "photo.CR2").touch()
    (archive / "out").symlink_to(tmp_path)
    config = _config(archive, bundle, tmp_path / "scores", scoring={"threshold": 0.0})
    numbers = pipeline.run(config).summary
    [row] = pd.read_parquet(tmp_path / "scores/video_scores").to_dict("records")
    assert (row["video_id"], row["status"], row["frames_sampled"]) == ("frames/clip", "ok", 2)
    faces = pd.read_parquet(tmp_path / "scores" / "face_scores")
    assert faces["frame_index"].tolist() == [0, 30]
    page = (tmp_path / "scores/report.html").read_text()
    assert numbers["not_read"] == "1 files: .cr2 (1)" and "1 files: .cr2 (1)" in page
    assert numbers["links_left_out"] == "1, such as out" and "1, such as out" in page
    assert list((tmp_path / "scores/video_pages").glob("*-frame.jpg"))


def test_another_bundle_scores_the_kept_crops_and_says_what_changed(
    scored: Path, other_bundle: str, tmp_path: Path
) -> None:
    output = tmp_path / "again"
    job = _config(scored, other_bundle, output, compare_with=str(scored))
    numbers = pipeline.run(job).summary
    faces = pd.read_parquet(output / "face_scores")
    assert not Path(job.input, "one.mp4").exists()  # there is nothing but crops to score
    crops = pd.read_parquet(scored / "crops")
    expected = Bundle.load(other_bundle).score(np.stack([decode_image(data) for data in crops["crop"]]))
    np.testing.assert_allclose(faces["score"], expected, atol=1e-4)
    before, now = (pd.read_parquet(folder / "video_scores") for folder in (scored, output))
    same = ["video_id", "status", "status_detail", "content_sha256", "frames_sampled", "faces"]
    pd.testing.assert_frame_equal(now[same], before[same])
    changes = pd.read_parquet(output / "changes.parquet").set_index("video_id")
    assert len(changes) == 6
    difference = (now.set_index("video_id")["score"] - before.set_index("video_id")["score"]).loc[
        changes.index
    ]
    np.testing.assert_allclose(changes["difference"], difference)
    assert numbers["largest_difference"] == pytest.approx(difference.abs().max())
    page = (output / "report.html").read_text()
    assert f"Against <bdi>{scored}</bdi>: " in page and 'href="changes.html"' in page
    side_by_side = (output / "changes.html").read_text()
    assert f"{other_bundle}</bdi>" in side_by_side and side_by_side.count('<tr role="row">') == 7
    # nothing is known of that bundle's validation, so it gives no verdict, and every page says why
    assert set(now["verdict"].dropna()) == {"uncertain"} == set(numbers["by_verdict"])
    assert numbers["unproven"] == "nothing is recorded of its validation"
    for page in (output / "report.html", *(output / "video_pages").glob("*.html")):
        assert numbers["unproven"] in page.read_text()


def test_a_verified_output_has_the_scores_that_its_source_files_give(
    scored: Path, archive: Path, tmp_path: Path
) -> None:
    config = VerifyJobConfig(verify=str(scored), sample=6, output=str(tmp_path))
    outcome = verify.run(config)
    numbers = outcome.summary
    assert outcome.problem is None
    assert (numbers["videos"], numbers["differing"]) == (6, 0)
    assert numbers["largest_difference"] < 1e-6
    assert VerifyJobConfig(verify=str(scored)).output == f"{scored}/verification"


def test_verification_finds_scores_and_files_that_were_changed(
    scored: Path, archive: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(scored, copy)
    (part,) = (copy / "video_scores").glob("*.parquet")
    table = pq.read_table(part)
    rows = table.to_pylist()
    good = [row for row in rows if row["status"] == "ok"]
    good[0]["score"] += 0.1
    good[1]["content_sha256"] = "0" * 64
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), part)
    outcome = verify.run(VerifyJobConfig(verify=str(copy), sample=6))
    assert outcome.problem is not None and outcome.summary["differing"] == 2
    report = json.loads((copy / "verification/verification.json").read_text())
    words = {video["video_id"]: video["differences"] for video in report["videos"]}
    assert "score was" in words[good[0]["video_id"]][0]
    assert words[good[1]["video_id"]] == ["the file's bytes have changed"]
    record = copy / "_config.json"
    record.write_text(record.read_text().replace(f'"rows_version": {ROWS_VERSION}', '"rows_version": 1'))
    with pytest.raises(UsageError, match=f"rows of version 1, .* of version {ROWS_VERSION}"):
        verify.run(VerifyJobConfig(verify=str(copy), sample=6))


@pytest.mark.parametrize("budget", ["2 videos", "0.001s"])
def test_a_budget_leaves_whole_tables_and_the_same_command_goes_on(
    archive: Path, bundle: str, scored: Path, tmp_path: Path, budget: str
) -> None:
    output = tmp_path / "scores"
    numbers = pipeline.run(_config(archive, bundle, output, budget=budget)).summary
    done = len(pd.read_parquet(output / "video_scores"))
    assert numbers["left_for_the_next_run"] == 6 - done
    assert 0 < done <= 2 if budget == "2 videos" else done > 0
    numbers = pipeline.run(_config(archive, bundle, output)).summary
    assert numbers["left_for_the_next_run"] == 0
    timed = [name for name in tables.list_columns("video_scores") if name.endswith("_seconds")]
    now, expected = (
        pd.read_parquet(folder / "video_scores")
        .drop(columns=timed)
        .sort_values("video_id", ignore_index=True)
        for folder in (output, scored)
    )
    pd.testing.assert_frame_equal(now, expected)


def test_an_output_that_another_job_writes_is_refused(archive: Path, bundle: str, tmp_path: Path) -> None:
    with (
        lock.hold(str(tmp_path / "scores"), Storage()),
        pytest.raises(UsageError, match="another job is writing"),
    ):
        pipeline.run(_config(archive, bundle, tmp_path / "scores"))
    assert not (tmp_path / "scores").joinpath("_config.json").exists()


@pytest.mark.slow
def test_a_video_that_is_done_again_has_one_row_in_every_table(
    archive: Path, bundle: str, scored: Path, tmp_path: Path
) -> None:
    mine, output = tmp_path / "archive", tmp_path / "scores"
    mine.mkdir()
    shutil.copy(archive / "one.mp4", mine)
    (mine / "list.csv").write_text("path\none.mp4\nsub folder/two.mp4\n")
    config = _config(mine / "list.csv", bundle, output)
    numbers = pipeline.run(config).summary
    assert numbers["by_status"] == {"ok": 1, "unreadable": 1}
    shutil.copytree(archive / "sub folder", mine / "sub folder")
    numbers = pipeline.run(config).summary
    assert numbers["by_status"] == {"ok": 2} and numbers["videos"] == 2
    for table in ("video_scores", "face_scores", "evidence", "crops"):
        rows = pd.read_parquet(output / table).sort_values("video_id", kind="stable", ignore_index=True)
        expected = pd.read_parquet(scored / table)
        expected = expected[expected["video_id"].isin(rows["video_id"])].sort_values(
            "video_id", kind="stable"
        )
        same = [
            name
            for name in rows.columns
            if name not in ("uri", "dataset", "config_sha256") and "seconds" not in name
        ]
        pd.testing.assert_frame_equal(rows[same], expected[same].reset_index(drop=True), check_dtype=False)
    before = {p: p.read_bytes() for p in output.rglob("*.parquet")}
    pipeline.run(config)
    assert {p: p.read_bytes() for p in output.rglob("*.parquet")} == before


@pytest.mark.slow
def test_new_videos_are_scored_and_the_others_left_as_they_are(
    archive: Path, bundle: str, ffpp_small: Path, tmp_path: Path
) -> None:
    mine, output = tmp_path / "archive", tmp_path / "scores"
    mine.mkdir()
    shutil.copy(archive / "one.mp4", mine)
    pipeline.run(_config(mine, bundle, output))
    first = {p: p.read_bytes() for p in output.glob("*_scores/*.parquet")}
    shutil.copy(archive / "sub folder/two.mp4", mine)
    numbers = pipeline.run(_config(mine, bundle, output)).summary
    assert {p: p.read_bytes() for p in first} == first
    videos = pd.read_parquet(output / "video_scores").set_index("video_id")
    assert videos.index.tolist() == ["one.mp4", "two.mp4"]
    done = videos.loc["two.mp4", "frames_sampled"]
    rate, seconds = numbers["frames_per_second"], numbers["working_seconds"]
    assert rate * seconds == pytest.approx(done, abs=0.006 * (rate + seconds))  # both have two decimals
    numbers = pipeline.run(_config(mine, bundle, output)).summary
    assert numbers["videos"] == 2 and numbers["frames_per_second"] is None  # of this run, which did nothing
    assert pq.read_metadata(output / "_manifest.parquet").num_rows == 2


def test_rows_of_another_bundle_are_refused(scored: Path, archive: Path, other_bundle: str) -> None:
    with pytest.raises(UsageError, match="another bundle"):
        pipeline.run(_config(archive, other_bundle, scored))


@pytest.mark.data
def test_a_detector_that_is_not_named_is_the_bundles(
    archive: Path, bundle: str, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFAKE_CACHE", str(data / "models"))  # where YuNet is, too
    config = _config(archive, bundle, tmp_path, detector={"keep": "all"})
    found = pipeline.resolve_config(config, Bundle.load(bundle), Storage()).detector
    assert found is not None
    assert (found.name, found.keep) == ("haar", "all")


def test_a_folder_that_is_no_bundle_is_refused_by_name(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=str(tmp_path)):
        pipeline.run(_config(archive, str(tmp_path), tmp_path / "scores"))


def test_a_video_that_is_to_be_removed_leaves_nothing_behind(
    ffpp_small: Path, bundle: str, tmp_path: Path
) -> None:
    archive, output, again = tmp_path / "archive", tmp_path / "scores", tmp_path / "again"
    archive.mkdir()
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))
    for name, clip in zip(("stays", "leaves"), clips, strict=False):
        shutil.copy(clip, archive / f"{name}.mp4")
    pipeline.run(_config(archive, bundle, output))
    pipeline.run(_config(output, bundle, again))  # of the crops that were kept
    (archive / "leaves.mp4").unlink()
    pipeline.run(_config(archive, bundle, output, remove_gone=True))
    pipeline.run(_config(output, bundle, again, remove_gone=True))
    for folder in (output, again):
        assert (folder / video_page.locate_page("stays.mp4")).exists()
        assert not (folder / video_page.locate_page("leaves.mp4")).exists()
        files = [path for path in folder.rglob("*") if path.is_file()]
        tables_left = [path for path in files if path.suffix == ".parquet"]
        assert {id for path in tables_left for id in pd.read_parquet(path)["video_id"]} == {"stays.mp4"}
        assert [path for path in files if b"leaves" in path.read_bytes()] == []
