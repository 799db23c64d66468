"""The evaluate job from its command line: what it writes, and what it refuses."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as csv
import pytest

from deepfake import cli
from deepfake.config import CropConfig, DetectorConfig, EvaluateJobConfig
from deepfake.crops.reader import decode_crop
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.model.bundle import Bundle
from deepfake.pipelines.evaluate import pipeline
from tests import small_bundle
from tests.pipelines.evaluate.faces import crop, two_classes, write
from tests.small_bundle import save_untrained

STORAGE = Storage()
WRITTEN = ["face_scores/part-00000.parquet", "metrics.json", "per_group.csv", "per_group.parquet"]


def evaluate(*arguments: str) -> int:
    return cli.run(EvaluateJobConfig, pipeline.run, ["--evaluation.bootstrap", "50", *arguments])


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """The command line takes over Ctrl-C and SIGTERM; the test session gets them back."""
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


def files(folder: Path) -> dict[str, bytes]:
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != "_summary.json"]
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in found}


def test_a_labelled_score_table_is_measured_without_a_bundle(tmp_path: Path) -> None:
    uri = write(tmp_path / "in", "face_scores", two_classes())
    assert evaluate("--input", uri, "--output", str(tmp_path / "out")) == cli.DONE
    written = files(tmp_path / "out")
    plots = [
        f"plots/{name}.png" for name in ("confusion", "histogram", "precision_recall", "reliability", "roc")
    ]
    assert sorted(written) == sorted([*WRITTEN, *plots, "report.html"])
    numbers = json.loads(written["metrics.json"])
    assert (numbers["video"]["overall"]["n"], numbers["frame"]["overall"]["n"]) == (8, 24)
    groups = csv.read_csv(tmp_path / "out" / "per_group.csv").to_pylist()
    assert groups[0]["auc"] == numbers["video"]["overall"]["auc"]


def test_the_same_input_gives_the_same_files_however_it_is_cut(tmp_path: Path) -> None:
    rows = two_classes()
    whole = write(tmp_path / "x" / "in", "face_scores", rows)
    evaluate("--input", whole, "--output", str(tmp_path / "a"))
    for file in (tmp_path / "x" / "in").iterdir():
        file.unlink()
    write(tmp_path / "x" / "in", "face_scores", rows[13:], rows[:13])
    evaluate("--input", whole, "--output", str(tmp_path / "b"))
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_an_evaluation_into_the_same_folder_leaves_nothing_of_the_earlier_one(tmp_path: Path) -> None:
    uri, out = write(tmp_path / "in", "face_scores", two_classes()), tmp_path / "out"
    (out / "face_scores").mkdir(parents=True)
    (out / "face_scores" / "part-00009.parquet").write_bytes(b"old")
    evaluate("--input", uri, "--output", str(out))
    assert sorted(files(out / "face_scores")) == ["part-00000.parquet"]


def test_a_dry_run_says_what_would_be_measured_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = write(tmp_path / "in", "face_scores", two_classes())
    assert evaluate("--input", uri, "--output", str(tmp_path / "out"), "--dry-run") == cli.DONE
    assert "fake videos            4" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--evaluation.split", "nosuch"], "test: 4 real, 4 fake"),
        (["--evaluation.splits", "test"], "did you mean evaluation.split"),
        (["--evaluation.threshold", "1.5"], "evaluation.threshold"),
    ],
)
def test_bad_usage_exits_with_2_and_says_what_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    uri = write(tmp_path / "in", "face_scores", two_classes())
    assert evaluate("--input", uri, "--output", str(tmp_path / "out"), *arguments) == cli.BAD_USAGE
    assert words in capsys.readouterr().err


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """It names identity ``bob`` as trained on."""
    uri = str(tmp_path_factory.mktemp("bundle"))
    save_untrained(
        uri,
        threshold=0.25,
        training={"identities": {"train": ["bob"]}},
        crop=CropConfig(),
        detector=DetectorConfig(name="haar"),
    )
    return uri


def crops(identity: str = "cay") -> list[dict[str, Any]]:
    return [
        crop(f"{name}{i}.mp4", 30 * frame, label, target_id=identity)
        for label, name in ((0, "real"), (1, "fake"))
        for i in range(3)
        for frame in range(4)
    ]


@pytest.mark.slow
def test_crops_are_scored_by_ray_as_the_bundle_scores_them(
    tmp_path: Path, bundle: str, ray_session: None
) -> None:
    rows = crops()
    uri = write(tmp_path / "in", "crops", rows[5:], rows[:5])
    out = tmp_path / "out"
    assert evaluate("--input", uri, "--bundle", bundle, "--output", str(out)) == cli.DONE
    found = tables.read_table(
        STORAGE, str(out / "face_scores" / "part-00000.parquet"), "face_scores"
    ).to_pylist()
    loaded = Bundle.load(bundle, STORAGE)
    in_order = sorted(rows, key=lambda row: (row["video_id"], row["frame_index"]))
    expected = loaded.score(np.stack([decode_crop(row["crop"], 224) for row in in_order]))
    assert [row["score"] for row in found] == pytest.approx(expected.tolist(), abs=1e-6)
    assert [(row["video_id"], row["frame_index"]) for row in found] == [
        (row["video_id"], row["frame_index"]) for row in in_order
    ]
    assert {row["bundle_sha256"] for row in found} == {loaded.sha256}
    numbers = json.loads((out / "metrics.json").read_text())
    assert numbers["threshold"]["value"] == 0.25
    why = "nothing is recorded of its validation"
    assert json.loads((out / "_summary.json").read_text())["unproven"] == why
    assert numbers["warnings"][0] == f"The bundle gives scores and no verdicts: {why}."
    assert (
        f"No precision is promised, for the bundle gives no verdicts: {why}."
        in (out / "report.html").read_text()
    )

    again = tmp_path / "again"
    assert evaluate("--input", str(out), "--bundle", bundle, "--output", str(again)) == cli.DONE
    assert json.loads((again / "metrics.json").read_text())["frame"] == numbers["frame"]


@pytest.mark.slow
def test_worse_crops_are_scored_and_other_data_sets_stand_beside(tmp_path: Path) -> None:
    bundle = str(tmp_path / "bundle")
    small_bundle.red_is_fake(bundle, crop=CropConfig())
    uri = write(tmp_path / "in", "crops", crops())
    other = write(tmp_path / "elsewhere" / "in", "crops", crops("dan"))
    out = tmp_path / "out"
    arguments = ["--bundle", bundle, "--output", str(out), "--also", other, "--evaluation.robustness", "true"]
    assert evaluate("--input", uri, *arguments) == cli.DONE
    numbers = json.loads((out / "metrics.json").read_text())
    rows = {(row["kind"], row["amount"]): row for row in numbers["robustness"]}
    assert rows["none", 0.0]["frame_auc"] == numbers["frame"]["overall"]["auc"]  # the same crops again
    assert ("JPEG quality", 30) in rows and ("frames a video", 4) in rows
    assert any("no source video" in note for note in numbers["robustness_notes"])
    assert numbers["also"]["in-2"]["split"] == "all"
    assert numbers["also"]["in-2"]["frame"]["overall"]["n"] == 24
    assert (out / "also" / "in-2" / "per_group.csv").exists()
    assert (out / "plots" / "robustness.png").exists()
    assert "Data set <bdi>in-2</bdi>" in (out / "report.html").read_text()


def test_another_data_set_that_shares_people_with_training_stops_the_job(
    tmp_path: Path, bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = write(tmp_path / "in", "crops", crops())
    other = write(tmp_path / "other", "crops", crops("bob"))
    arguments = ["--input", uri, "--also", other, "--bundle", bundle, "--output", str(tmp_path / "out")]
    assert evaluate(*arguments) == cli.BAD_USAGE
    assert "by the bundle: bob" in capsys.readouterr().err


def test_training_identities_stop_the_job_before_anything_is_scored(
    tmp_path: Path, bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = write(tmp_path / "in", "crops", crops("bob"))
    assert evaluate("--input", uri, "--bundle", bundle, "--output", str(tmp_path / "out")) == cli.BAD_USAGE
    assert "by the bundle: bob" in capsys.readouterr().err


def test_a_crop_that_is_no_image_is_named(
    tmp_path: Path, bundle: str, ray_session: None, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = crops()
    rows[7]["crop"] = b"not an image"
    uri = write(tmp_path / "in", "crops", rows)
    assert evaluate("--input", uri, "--bundle", bundle, "--output", str(tmp_path / "out")) == cli.BAD_USAGE
    assert (
        "part-00000.parquet, row group 1, row 2: the stored crop is not an image" in capsys.readouterr().err
    )


@pytest.mark.slow
def test_beside_every_auc_stands_what_is_reached_without_looking(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = str(tmp_path / "red")
    small_bundle.red_is_fake(bundle, crop=CropConfig())
    rows = crops() + [{**row, "video_id": f"t{row['video_id']}", "split": "train"} for row in crops("eve")]
    for row in rows:
        row["sharpness"] += row["label"]
    uri, out = write(tmp_path / "in", "crops", rows), tmp_path / "out"
    caplog.set_level("INFO")
    assert evaluate("--input", uri, "--output", str(out), "--bundle", bundle) == cli.DONE
    numbers = json.loads((out / "metrics.json").read_text())
    found = numbers["video"]["overall"]["without_looking"]
    assert (found["auc"], found["interval"]) == (1.0, [1.0, 1.0])  # sharpness tells
    assert "Learnt on 24 crops of 6 videos of split train" in numbers["without_looking"]["how"]
    groups = csv.read_csv(out / "per_group.csv").to_pylist()
    assert {row["blind_auc"] for row in groups if row["auc"] is not None} == {1.0}
    assert {row["blind_auc"] for row in numbers["aggregations"]} == {1.0}
    assert json.loads((out / "_summary.json").read_text())["video_auc_without_looking"] == 1.0
    assert "Without looking: 1.000 (1.000 to 1.000)" in caplog.text
    assert "without looking 1.000 (1.000 to 1.000)" in (out / "report.html").read_text()


@pytest.mark.slow
def test_another_bundle_is_measured_on_the_same_faces(tmp_path: Path, bundle: str) -> None:
    other, same = str(tmp_path / "red"), str(tmp_path / "again")
    small_bundle.red_is_fake(other, crop=CropConfig())
    small_bundle.red_is_fake(same, crop=CropConfig())
    uri, out = write(tmp_path / "in", "crops", crops()), tmp_path / "out"
    arguments = ["--input", uri, "--output", str(out), "--bundle", same, "--against"]
    assert evaluate(*arguments, other) == cli.DONE
    numbers = json.loads((out / "metrics.json").read_text())
    found = numbers["frame"]["overall"]["against"]
    assert (found["difference"], found["difference_interval"]) == (0.0, [0.0, 0.0])
    assert found["auc"] == numbers["frame"]["overall"]["auc"]
    assert numbers["against"] == other
    assert "Beside another bundle" in (out / "report.html").read_text()
    assert json.loads((out / "_summary.json").read_text())["difference"].endswith("which may be luck")
    assert evaluate(*arguments, other, bundle) == cli.DONE  # several, as one
    numbers = json.loads((out / "metrics.json").read_text())
    assert numbers["against"] == f"{other}, {bundle}"
    assert numbers["frame"]["overall"]["against"]["auc"] != found["auc"]


def test_another_bundle_is_refused_for_scores_and_where_it_knows_the_people(
    tmp_path: Path, bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, out = write(tmp_path / "scores", "face_scores", two_classes()), str(tmp_path / "out")
    assert evaluate("--input", scores, "--against", bundle, "--output", out) == cli.BAD_USAGE
    assert "--against needs crops" in capsys.readouterr().err
    other = str(tmp_path / "red")
    small_bundle.red_is_fake(other, crop=CropConfig())
    uri = write(tmp_path / "in", "crops", crops("bob"))
    arguments = ["--input", uri, "--output", out, "--bundle", other, "--against", bundle]
    assert evaluate(*arguments) == cli.BAD_USAGE
    assert f"{bundle}: split 'test' shares identities with training" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--scoring.threshold", "--scoring.runtime", "--report.pages"])
def test_a_key_that_would_do_nothing_is_refused(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = write(tmp_path / "scores", "face_scores", two_classes())
    assert evaluate("--input", uri, "--output", str(tmp_path / "out"), option, "1") == cli.BAD_USAGE
    assert f"unknown option {option}" in capsys.readouterr().err
