"""The preprocess job on real clips: what it finds, that it resumes, and that its rows never depend on how."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from deepfake.config import PreprocessJobConfig
from deepfake.errors import UsageError
from deepfake.execution import runner, unit_worker
from deepfake.execution.output import Output, Part
from deepfake.faces.encoding import decode_image
from deepfake.io.storage import Storage
from deepfake.pipelines.preprocess import pipeline
from tests import running


def _config(source: Path, output: Path, **more: Any) -> PreprocessJobConfig:
    splits = source / "splits"
    base: dict[str, Any] = {"input": str(source), "output": str(output), "detector": {"name": "haar"}}
    if splits.is_dir():
        base["catalog"] = {"splits_dir": str(splits)}
    return PreprocessJobConfig.model_validate(base | more)


def _rows(output: Path) -> pd.DataFrame:
    return pd.read_parquet(output).reset_index(drop=True)


@pytest.fixture(scope="module")
def made(ffpp_small: Path, tmp_path_factory: pytest.TempPathFactory, ray_session: None) -> Path:
    output = tmp_path_factory.mktemp("made") / "crops"
    pipeline.run(_config(ffpp_small, output))
    return output


def test_the_dataset_opens_in_pandas_and_duckdb_and_holds_every_video(made: Path) -> None:
    rows = _rows(made)
    assert rows["video_id"].nunique() == 12
    assert set(rows["split"]) == {"train", "val", "test"}
    assert set(rows["label"]) == {0, 1}
    [(count, narrowest)] = duckdb.sql(f"select count(*), min(box.w) from '{made}/part-*.parquet'").fetchall()
    assert count == len(rows)
    assert narrowest > 30
    assert decode_image(rows["crop"][0]).shape == (224, 224, 3)
    assert rows.sort_values(["video_id", "frame_index", "face_index"]).index.tolist() == list(
        range(len(rows))
    )


def test_a_second_run_does_nothing_and_changes_nothing(made: Path, ffpp_small: Path) -> None:
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in made.glob("*.parquet")}
    pipeline.run(_config(ffpp_small, made))
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in made.glob("*.parquet")} == before


@pytest.mark.data
def test_a_run_goes_on_with_its_detector_though_a_better_one_is_there_by_now(
    made: Path, ffpp_small: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFAKE_CACHE", str(data / "models"))
    done = pipeline.run(_config(ffpp_small, made, detector={"name": "auto"}))
    assert done.summary["detector"] == "haar"
    with pytest.raises(UsageError, match=r"detector\.name was haar, is yunet"):
        pipeline.run(_config(ffpp_small, made, detector={"name": "yunet"}))


def test_rows_do_not_depend_on_the_number_of_workers(made: Path, ffpp_small: Path, tmp_path: Path) -> None:
    pipeline.run(_config(ffpp_small, tmp_path / "one", ray={"workers": 1}))
    pd.testing.assert_frame_equal(_rows(tmp_path / "one"), _rows(made))
    assert (tmp_path / "one/part-00000.parquet").read_bytes() == (made / "part-00000.parquet").read_bytes()


def test_an_interrupted_run_goes_on_where_it_stopped(
    made: Path, ffpp_small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "crops"
    monkeypatch.setattr(runner, "join_parts", _power_cut)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(_config(ffpp_small, output))
    monkeypatch.undo()
    finished = sorted((output / "_work/videos").glob("*.parquet"))
    assert len(finished) > 3
    lost = pd.read_parquet(finished[0])
    finished[0].unlink()  # as if one unit had not been reached
    left = {p: p.stat().st_mtime_ns for p in (output / "_work/crops").glob("*.parquet")}
    done: list[int] = []
    join_parts = runner.join_parts

    def watch(joined: Output, parts: list[Part], known: pa.Table) -> None:
        now = {p: p.stat().st_mtime_ns for p in (output / "_work/crops").glob("*.parquet")}
        done.append(sum(now[p] != left[p] for p in left))
        join_parts(joined, parts, known)

    monkeypatch.setattr(runner, "join_parts", watch)
    outcome = pipeline.run(_config(ffpp_small, output))
    assert done == [1], "only the missing unit is done again"
    assert outcome.summary["videos"] > len(lost)
    pd.testing.assert_frame_equal(_rows(output), _rows(made))
    assert not (output / "_work").exists()


def _power_cut(*_: object) -> None:
    raise KeyboardInterrupt


def test_another_configuration_never_mixes_with_old_rows(made: Path, ffpp_small: Path) -> None:
    with pytest.raises(UsageError, match=r"another configuration \(sampling\.every_n was 30, is 7\)"):
        pipeline.run(_config(ffpp_small, made, sampling={"every_n": 7}))


def test_new_videos_are_added_and_the_old_ones_left_alone(ffpp_small: Path, tmp_path: Path) -> None:
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))[:3]
    archive = tmp_path / "archive"
    archive.mkdir()
    for clip in clips[:2]:
        (archive / clip.name).write_bytes(clip.read_bytes())
    pipeline.run(_config(archive, tmp_path / "crops"))
    first = (tmp_path / "crops/part-00000.parquet").read_bytes()
    (archive / clips[2].name).write_bytes(clips[2].read_bytes())
    pipeline.run(_config(archive, tmp_path / "crops"))
    assert (tmp_path / "crops/part-00000.parquet").read_bytes() == first
    assert _rows(tmp_path / "crops")["video_id"].unique().tolist() == [clip.name for clip in clips]
    manifest = pd.read_parquet(tmp_path / "crops/_manifest.parquet")
    assert manifest["video_id"].tolist() == [clip.name for clip in clips]


def test_a_file_that_could_not_be_read_is_tried_again_and_a_broken_one_only_where_that_is_asked_for(
    ffpp_small: Path, tmp_path: Path
) -> None:
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))[:3]
    archive, output = tmp_path / "archive", tmp_path / "crops"
    archive.mkdir()
    (archive / "good.mp4").write_bytes(clips[0].read_bytes())
    (archive / "broken.mp4").write_text("not a video")
    (archive / "list.csv").write_text("path\ngood.mp4\nbroken.mp4\naway.mp4\n")

    def run(**more: Any) -> pd.DataFrame:
        pipeline.run(_config(archive / "list.csv", output, **more))
        return pd.read_parquet(output / "_manifest.parquet").set_index("video_id")

    first = run()
    assert first["status"].to_dict() == {
        "away.mp4": "unreadable",
        "broken.mp4": "unreadable",
        "good.mp4": "ok",
    }
    assert first["retry"].to_dict() == {"away.mp4": True, "broken.mp4": False, "good.mp4": None}
    (archive / "away.mp4").write_bytes(clips[1].read_bytes())
    (archive / "broken.mp4").write_bytes(clips[2].read_bytes())
    second = run()
    assert second["status"].to_dict() == {"away.mp4": "ok", "broken.mp4": "unreadable", "good.mp4": "ok"}
    assert second.loc["good.mp4"].equals(first.loc["good.mp4"])  # its seconds too: it was not done again
    third = run(retry_failed=True)
    assert set(third["status"]) == {"ok"}
    assert third.loc["away.mp4"].equals(second.loc["away.mp4"])


def test_a_file_that_changed_is_done_again_alone_and_one_that_is_gone_keeps_its_row(
    ffpp_small: Path, tmp_path: Path
) -> None:
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))
    archive, output = tmp_path / "archive", tmp_path / "crops"
    archive.mkdir()
    for name, clip in zip("abc", clips, strict=False):
        (archive / f"{name}.mp4").write_bytes(clip.read_bytes())

    def run() -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
        summary = pipeline.run(_config(archive, output)).summary
        return summary, pd.read_parquet(output / "_manifest.parquet").set_index("video_id"), _rows(output)

    _, before, crops_before = run()
    (archive / "b.mp4").write_bytes(clips[3].read_bytes())
    (archive / "c.mp4").unlink()
    summary, after, crops = run()
    assert (summary["videos"], summary["no_longer_in_input"]) == (3, 1)
    assert after["gone"].to_dict() == {"a.mp4": None, "b.mp4": None, "c.mp4": True}
    for name in ("a.mp4", "c.mp4"):  # their seconds too: they were not done again
        assert after.loc[name].drop("gone").equals(before.loc[name].drop("gone"))
    assert after.loc["b.mp4", "content_sha256"] != before.loc["b.mp4", "content_sha256"]
    assert not crops.duplicated(["video_id", "frame_index", "face_index"]).any()
    assert crops.groupby("video_id").size().to_dict() == after["faces"].to_dict()
    old, new = (rows[rows["video_id"] == "b.mp4"]["crop"].tolist() for rows in (crops_before, crops))
    assert new and not set(old) & set(new)
    (archive / "c.mp4").write_bytes(clips[2].read_bytes())
    summary, again, _ = run()
    assert summary["no_longer_in_input"] == 0 and not again["gone"].any()
    assert again.loc["a.mp4"].equals(after.loc["a.mp4"])


def test_what_the_input_no_longer_has_is_removed_where_it_is_asked_for(
    ffpp_small: Path, tmp_path: Path
) -> None:
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))
    archive, output = tmp_path / "archive", tmp_path / "crops"
    archive.mkdir()
    for name, clip in zip(("a", "b", "copy"), (0, 1, 1), strict=True):
        (archive / f"{name}.mp4").write_bytes(clips[clip].read_bytes())
    pipeline.run(_config(archive, output))
    (archive / "b.mp4").unlink()
    with pytest.raises(UsageError, match="leave out --limit"):
        pipeline.run(_config(archive, output, remove_gone=True, limit=1))
    for _ in range(2):  # the second time there is nothing to do
        summary = pipeline.run(_config(archive, output, remove_gone=True)).summary
        assert (summary["videos"], summary["no_longer_in_input"]) == (2, 0)
    pipeline.run(_config(archive, tmp_path / "without"))
    untimed = [pd.read_parquet(folder / "_manifest.parquet").filter(regex="^(?!.*_seconds)")
               for folder in (output, tmp_path / "without")]  # fmt: skip
    pd.testing.assert_frame_equal(*untimed)
    crops = [_rows(folder).sort_values(["video_id", "frame_index"], ignore_index=True)
             for folder in (output, tmp_path / "without")]  # fmt: skip
    pd.testing.assert_frame_equal(*crops)


def test_a_file_that_was_moved_leaves_no_rows_where_it_was(ffpp_small: Path, tmp_path: Path) -> None:
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))
    archive, output = tmp_path / "archive", tmp_path / "crops"
    for name, clip in zip(("real/a", "real/b", "real/copy", "fake/c"), (0, 1, 1, 2), strict=True):
        (archive / f"{name}.mp4").parent.mkdir(parents=True, exist_ok=True)
        (archive / f"{name}.mp4").write_bytes(clips[clip].read_bytes())
    pipeline.run(_config(archive, output))
    (archive / "real/a.mp4").rename(archive / "fake/a.mp4")  # its label was wrong
    (archive / "real/b.mp4").rename(archive / "real/d.mp4")
    summary = pipeline.run(_config(archive, output)).summary
    videos, crops = pd.read_parquet(output / "_manifest.parquet").set_index("video_id"), _rows(output)
    assert summary["no_longer_in_input"] == 0
    assert videos["label"].to_dict() == {
        "fake/a.mp4": 1, "fake/c.mp4": 1, "real/copy.mp4": 0, "real/d.mp4": 0,
    }  # fmt: skip
    assert videos["duplicate_of"].to_dict()["real/d.mp4"] == "real/copy.mp4"
    labels = crops.groupby("video_id")["label"].unique()
    assert {name: found.tolist() for name, found in labels.items()} == {
        "fake/a.mp4": [1], "fake/c.mp4": [1], "real/copy.mp4": [0],
    }  # fmt: skip


def test_what_the_catalog_says_by_now_of_a_video_stands_in_its_rows(ffpp_small: Path, tmp_path: Path) -> None:
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))
    manifest, output = tmp_path / "list.csv", tmp_path / "crops"

    def run(*rows: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        lines = [f"{clip},{row}" for clip, row in zip(clips, rows, strict=False)]
        manifest.write_text("\n".join(["path,label,split,target_id", *lines]))
        pipeline.run(_config(manifest, output))
        return pd.read_parquet(output / "_manifest.parquet").set_index("uri"), _rows(output)

    before, _ = run("real,train,anna", "real,train,bert")
    after, crops = run("fake,val,anna", "real,train,bert", "real,test,carl")
    changed, same, new = (after.loc[str(clip)] for clip in clips[:3])
    assert (changed["label"], changed["split"], new["split"]) == (1, "val", "test")
    assert changed["detect_seconds"] == before.loc[str(clips[0]), "detect_seconds"], "it was not done again"
    assert same.equals(before.loc[str(clips[1])])
    for name in ("label", "method", "split", "target_id", "group_id"):
        told = crops.groupby("video_id")[name].unique()
        assert {video: values.tolist() for video, values in told.items()} == {
            row["video_id"]: [row[name]] for _, row in after.iterrows()
        }
    assert crops.groupby("video_id").size().to_dict() == after.set_index("video_id")["faces"].to_dict()
    rewritten = sorted(output.glob("part-*.parquet"))
    again, _ = run("fake,val,anna", "real,train,bert", "real,test,carl")
    assert again.equals(after) and sorted(output.glob("part-*.parquet")) == rewritten


def test_bad_files_are_rows_with_a_status_and_change_nothing_else(
    made: Path, ffpp_small: Path, tmp_path: Path
) -> None:
    import shutil

    source = tmp_path / "source"
    shutil.copytree(ffpp_small, source)
    folder = source / "original_sequences/youtube/c23/videos"
    (folder / "900.mp4").touch()
    (folder / "901.mp4").write_text("no video at all")
    whole = next(iter(sorted(folder.glob("*.mp4")))).read_bytes()
    (folder / "902.mp4").write_bytes(whole[: len(whole) // 2])
    summary = pipeline.run(_config(source, tmp_path / "crops")).summary
    assert summary["videos"] == 15
    manifest = pd.read_parquet(tmp_path / "crops/_manifest.parquet").set_index("video_id")
    bad = manifest[manifest["status"] != "ok"]
    assert sorted(Path(name).name for name in bad.index) == ["900.mp4", "901.mp4", "902.mp4"]
    pd.testing.assert_frame_equal(_rows(tmp_path / "crops"), _rows(made))


def test_every_block_is_one_unit_on_its_way_through_ray() -> None:
    made = {"unit_id": "abc", "videos": pa.table({"a": [1, 2]}), "crops": pa.table({"b": [b"x"]})}
    packed = pa.concat_tables([unit_worker.pack_unit(made), unit_worker.pack_unit(made)])
    assert [unit["unit_id"] for unit in unit_worker.unpack_units(packed)] == ["abc", "abc"]
    assert unit_worker.unpack_units(packed)[1]["videos"].equals(made["videos"])


@pytest.mark.slow
def test_the_command_line_says_what_was_done(ffpp_small: Path, tmp_path: Path) -> None:
    command = running.command(
        "preprocess", "--input", ffpp_small, "--output", tmp_path / "crops", "--limit", "3",
        "--ray.num_cpus", "2", "--detector.name", "haar",
    )  # fmt: skip
    plan = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "every_n: 30" in plan.stdout
    assert not (tmp_path / "crops").exists()
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    summary = json.loads((tmp_path / "crops/_summary.json").read_text())
    assert summary["videos"] == 3
    assert summary["exit_status"] == 0
    assert f"frames with face       {summary['frames_with_face']}" in ran.stdout
    sheets = list((tmp_path / "crops/_contact_sheets").glob("*.jpg"))
    assert sheets and all(str(sheet) in ran.stdout for sheet in sheets)


@pytest.mark.data
def test_genuine_ffpp_clips_give_the_frames_and_faces_that_are_there(data: Path, tmp_path: Path) -> None:
    config = _config(data / "ffpp", tmp_path / "crops", catalog={"splits_dir": str(data / "ffpp_splits")})
    outcome = pipeline.run(config)
    summary, sheets = outcome.summary, outcome.look_at
    assert (summary["videos"], summary["frames_sampled"]) == (7, 109)
    assert summary["frames_with_face"] >= 107
    rows = _rows(tmp_path / "crops")
    assert sorted(rows.groupby("video_id")["method"].first()) == [
        "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "real", "real", "real",
    ]  # fmt: skip
    assert len(sheets) == 7
    storage = Storage()
    assert all(storage.exists(sheet) for sheet in sheets)
