"""The leak check from its command line: exit status, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import hashlib
import json
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pyarrow.parquet as pq
import pytest

from deepfake import cli
from deepfake.config import LeakcheckJobConfig
from deepfake.pipelines.leakcheck import pipeline
from tests.clips import write_clip
from tests.pipelines.leakcheck.made import crop, face, rotated, videos_of, write

FILES = ["leakcheck.json", "overlaps.csv", "overlaps.parquet", "report.html"]


def leakcheck(*arguments: object) -> int:
    return cli.run(LeakcheckJobConfig, pipeline.run, ["--leakcheck.bootstrap", "100", *map(str, arguments)])


def found(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(output / "overlaps.parquet").to_pylist()
    return rows


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """The command line takes over Ctrl-C and SIGTERM; the test session gets them back."""
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def clean() -> list[dict[str, Any]]:
    """Crops of six videos of two frames, nothing shared."""
    return [
        crop(f"{split}/{i}.mp4", face(100 * s + 10 * i + frame), i % 2, frame, split=split)
        for s, split in enumerate(("train", "val", "test"))
        for i in range(2)
        for frame in range(2)
    ]


def test_a_clean_data_set_ends_with_0_and_says_what_it_could_not_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, out = write(tmp_path / "in", clean()), tmp_path / "out"
    assert leakcheck("--input", uri, "--output", out) == cli.DONE
    assert sorted(p.name for p in out.iterdir()) == [*sorted(["_summary.json", *FILES])]
    numbers = json.loads((out / "leakcheck.json").read_text())
    verdict = "no leak found by the checks that were made"
    assert (numbers["verdict"], numbers["found"], numbers["failing"]) == (verdict, {}, [])
    assert numbers["not_looked_for"] == ["identity", "probe"]
    assert {probe["verdict"] for probe in numbers["probes"]} == {"not measured"}
    assert any("nothing says who is on these videos" in text for text in numbers["warnings"])
    assert '"verdict uncertain"' in (out / "report.html").read_text()
    assert found(out) == []
    printed = capsys.readouterr().out
    assert verdict in printed and "nothing says who is on these videos" in printed


def test_every_kind_of_overlap_is_found_and_the_job_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = clean()
    rows += [
        crop("test/same person.mp4", face(900), 0, split="test", target_id="train/0.mp4"),
        crop("val/same bytes.mp4", face(901), 0, split="val"),
        crop("val/same pixels.mp4", face(10), 1, split="val"),  # train/1.mp4, frame 0
        crop("test/nearly.mp4", cv2.GaussianBlur(face(0), (0, 0), 1.0), 1, split="test"),
        crop("train/wrong label.mp4", face(902), 1, split="train"),
        crop("train/right label.mp4", face(902), 0, split="train"),
    ]
    videos = videos_of(rows)
    by_name = {row["video_id"]: row for row in videos}
    by_name["val/same bytes.mp4"]["content_sha256"] = by_name["train/0.mp4"]["content_sha256"]
    out = tmp_path / "out"
    assert leakcheck("--input", write(tmp_path / "in", rows, videos), "--output", out) == cli.FAILED
    pairs = {(row["kind"], row["video_a"], row["video_b"]) for row in found(out)}
    assert pairs == {
        ("identity", "train/0.mp4", "test/same person.mp4"),
        ("duplicate_file", "train/0.mp4", "val/same bytes.mp4"),
        ("duplicate_crop", "train/1.mp4", "val/same pixels.mp4"),
        ("near_duplicate", "train/0.mp4", "test/nearly.mp4"),
        ("label_conflict", "train/right label.mp4", "train/wrong label.mp4"),
    }
    printed = capsys.readouterr()
    assert "splits overlap: 1 identity is in two splits" in printed.err
    summary = json.loads((out / "_summary.json").read_text())
    assert (summary["exit_status"], summary["found"]["near_duplicate"]) == (1, 1)


@pytest.mark.parametrize(("fail_on", "status"), [("[]", cli.DONE), ('["near_duplicate"]', cli.FAILED)])
def test_what_fails_is_the_users_choice(tmp_path: Path, fail_on: str, status: int) -> None:
    rows = [*clean(), crop("test/nearly.mp4", cv2.GaussianBlur(face(0), (0, 0), 1.0), 1, split="test")]
    uri = write(tmp_path / "in", rows)
    assert leakcheck("--input", uri, "--output", tmp_path / "out", "--leakcheck.fail_on", fail_on) == status
    assert [row["kind"] for row in found(tmp_path / "out")] == ["near_duplicate"]
    assert json.loads((tmp_path / "out" / "leakcheck.json").read_text())["verdict"] == "splits may overlap"
    tone = "uncertain" if status == cli.DONE else "likely_fake"
    assert f'"verdict {tone}"' in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow(3)
def test_the_black_corners_of_rotated_fakes_are_named_by_the_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for i in range(60):
        rows.append(crop(f"{i:02d}.mp4", face(i), i % 2, 0))
        if i % 2:
            rows.append(crop(f"{i:02d}.mp4", rotated(face(i), 5.0, cv2.BORDER_CONSTANT), 1, 1))
    uri, out = write(tmp_path / "in", rows), tmp_path / "out"
    assert leakcheck("--input", uri, "--output", out) == cli.DONE
    numbers = json.loads((out / "leakcheck.json").read_text())
    assert numbers["verdict"] == "fakes can be told without faces"
    assert '"verdict uncertain"' in (out / "report.html").read_text()
    (border,) = [p for p in numbers["probes"] if p["group"] == "border pixels"]
    assert border["auc"] > 0.6 and border["low"] > 0.5
    assert "fakes can be told from reals by border pixels alone: AUC" in (out / "report.html").read_text()
    assert (out / "plots" / "probes.png").exists()
    assert "border pixels shortcut" in capsys.readouterr().out
    assert leakcheck("--input", uri, "--output", out, "--leakcheck.fail_on", '["probe"]') == cli.FAILED


def test_the_same_crops_in_other_files_give_the_same_findings(tmp_path: Path) -> None:
    rows = [*clean(), crop("test/nearly.mp4", cv2.GaussianBlur(face(0), (0, 0), 1.0), 1, split="test")]
    write(tmp_path / "a" / "in", rows)
    write(tmp_path / "b" / "in", rows[5:] + rows[:5])
    for name in ("a", "b"):
        leakcheck("--input", tmp_path / name / "in", "--output", tmp_path / name / "out")
    first, second = ((tmp_path / name / "out" / "overlaps.csv").read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_dry_run_says_what_would_be_checked_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = write(tmp_path / "in", clean())
    assert leakcheck("--input", uri, "--output", tmp_path / "out", "--dry-run") == cli.DONE
    assert "train 2, val 2, test 2" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_bad_usage_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = write(tmp_path / "in", clean())
    for arguments, words in (
        (["--catalog.methods", '["Deepfakes"]'], "catalog.methods: the crops of jobs/preprocess.py carry"),
        (["--leakcheck.fail_on", '["identities"]'], "leakcheck.fail_on"),
        (["--leakcheck.conversion_dict", str(tmp_path / "none.json")], "none.json does not exist"),
        (["--report.pages", "1"], "unknown option --report.pages"),
    ):
        assert leakcheck("--input", uri, "--output", tmp_path / "out", *arguments) == cli.BAD_USAGE
        assert words in capsys.readouterr().err
    assert leakcheck("--input", uri, "--output", uri) == cli.BAD_USAGE


def test_crops_that_contradict_their_manifest_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = clean()
    videos = videos_of(rows)
    videos[0]["split"] = "val"
    uri = write(tmp_path / "in", rows, videos)
    assert leakcheck("--input", uri, "--output", tmp_path / "out", "--dry-run") == cli.BAD_USAGE
    assert "the crops of test/0.mp4 are of split test" in capsys.readouterr().err


def test_crops_that_are_there_twice_are_refused_before_any_is_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = write(tmp_path / "in", [*clean(), *clean()[:3]], videos_of(clean()))
    assert leakcheck("--input", uri, "--output", tmp_path / "out", "--dry-run") == cli.BAD_USAGE
    assert "3 faces are there twice" in capsys.readouterr().err


@pytest.mark.slow(8)
def test_files_that_are_no_pictures_are_counted_and_cost_the_error_budget(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / "in" / "real").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / "real" / f"{i}.png"), face(i))
    (tmp_path / "in" / "real" / "3.png").write_bytes(b"not a picture")
    out = tmp_path / "out"
    assert leakcheck("--input", tmp_path / "in", "--output", out) == cli.OVER_ERROR_BUDGET
    assert json.loads((out / "leakcheck.json").read_text())["unreadable"] == 1


@pytest.mark.slow(6)
def test_a_file_that_takes_too_long_is_one_that_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "in" / "real").mkdir(parents=True)
    write_clip(tmp_path / "in" / "real" / "a.mp4")
    out = tmp_path / "out"
    words = ("--input", tmp_path / "in", "--output", out, "--leakcheck.timeout_seconds", "1e-6")
    caplog.set_level("INFO")
    assert leakcheck(*words) == cli.OVER_ERROR_BUDGET
    assert "real/a.mp4: took longer than timeout_seconds, 1e-06" in caplog.text
    assert json.loads((out / "leakcheck.json").read_text())["unreadable"] == 1


@pytest.mark.data
@pytest.mark.slow
def test_the_copies_between_the_labelled_faces_train_and_val_are_found(tmp_path: Path, data: Path) -> None:
    by_content: dict[str, list[str]] = defaultdict(list)
    for path in sorted((data / "faces").rglob("*.jpg")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        by_content[digest].append(path.relative_to(data / "faces").as_posix())
    expected = {
        (a, b)
        for names in by_content.values()
        for a in names
        for b in names
        if a.startswith("train/") and b.startswith("val/")
    }
    out = tmp_path / "out"
    assert leakcheck("--input", data / "faces", "--output", out, "--leakcheck.pixels", "false") == cli.FAILED
    assert {(row["video_a"], row["video_b"]) for row in found(out)} == expected
    assert len(expected) == 2


@pytest.mark.data
@pytest.mark.slow
def test_subjects_in_two_splits_of_the_real_clips_are_found_and_so_are_their_near_copies(
    tmp_path: Path, data: Path
) -> None:
    listed = list(csv.DictReader((data / "videos" / "videos.csv").open()))
    split = {row["path"]: ("train", "val", "test")[i % 3] for i, row in enumerate(listed)}
    splits_of: dict[str, set[str]] = defaultdict(set)
    for row in listed:
        if row["subject"]:
            splits_of[row["subject"]].add(split[row["path"]])
    arguments = ["--catalog.assign_splits", json.dumps(split), "--leakcheck.fail_on", '["identity"]']
    out = tmp_path / "out"
    status = leakcheck("--input", data / "videos" / "videos.csv", "--output", out, *arguments)
    assert status == cli.FAILED
    rows = found(out)
    assert {row["key"] for row in rows if row["kind"] == "identity"} == {
        subject for subject, splits in splits_of.items() if len(splits) > 1
    }
    fakes_beside_their_originals = {("real/008_004.mp4", "fake/007_004_982.mp4")}
    near = {(row["video_a"], row["video_b"]) for row in rows if row["kind"] == "near_duplicate"}
    assert near >= fakes_beside_their_originals
