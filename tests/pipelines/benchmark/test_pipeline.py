"""The benchmark job: everything measured on the same clips, and numbers that can be compared. No timings."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from deepfake.catalog.load import load_catalog
from deepfake.config import (
    BenchmarkJobConfig,
    CatalogConfig,
    DetectorConfig,
    PreprocessJobConfig,
    SamplingConfig,
)
from deepfake.errors import JobError, UsageError
from deepfake.io.storage import Storage
from deepfake.pipelines.benchmark import baselines, clips, results
from deepfake.pipelines.benchmark.contestants import Contestant, call_each
from deepfake.pipelines.benchmark.pipeline import choose_detectors, list_doubts, select_contestants
from deepfake.pipelines.benchmark.results import Measurement, Tally
from tests import running
from tests.running import ROOT

YUNET = "models/face_detection_yunet_2023mar.onnx"


def run(*argv: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        running.command("benchmark", *argv),
        capture_output=True,
        text=True,
        env=running.environment({"DEEPFAKE_CACHE": str(cache)}),
        timeout=running.HANGS_SECONDS,
    )


@pytest.fixture(scope="module")
def measured(ffpp_small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """``(benchmark.json, what was printed)`` of one run on four small clips."""
    folder = tmp_path_factory.mktemp("benchmark")
    config = folder / "benchmark.yaml"
    config.write_text("benchmark: {runs: 1, copies: 1}\nsampling: {every_n: 10}\nray: {num_cpus: 2}\n")
    done = run(
        "--config", str(config), "--input", str(ffpp_small), "--output", str(folder / "out"), "--limit", "4",
        cache=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "out/benchmark.json").read_text()), done.stdout


@pytest.mark.slow
def test_each_thing_is_measured_in_each_run(measured: tuple[dict[str, Any], str]) -> None:
    entries = {entry["name"]: entry for entry in measured[0]["measured"]}
    assert list(entries) == [
        "naive", "naive_unthreaded", "floor", "floor_one_process", "decode", "detect_haar", "crop_haar",
        "job_haar", "job_haar_one_worker",
    ]  # fmt: skip
    for entry in entries.values():
        assert entry["median_seconds"] == entry["seconds"][0] > 0
        assert len(entry["seconds"]) == measured[0]["runs"] == 1


def test_everything_looks_at_the_same_frames_and_finds_the_same_faces(
    measured: tuple[dict[str, Any], str],
) -> None:
    entries = {entry["name"]: entry for entry in measured[0]["measured"]}
    assert {entry["frames"] for entry in entries.values()} == {4 * 6}
    assert (
        entries["job_haar"]["crops"]
        == entries["job_haar_one_worker"]["crops"]
        == entries["crop_haar"]["crops"]
    )
    assert entries["naive"]["crops"] == entries["naive_unthreaded"]["crops"]
    assert 0 < entries["naive"]["crops"] <= entries["job_haar"]["crops"] + 4
    assert entries["job_haar"]["crops"] <= entries["naive"]["crops"] + 4


def test_ratios_are_rates_of_the_medians(measured: tuple[dict[str, Any], str]) -> None:
    report = measured[0]
    median = {entry["name"]: entry["median_seconds"] for entry in report["measured"]}
    assert report["detector"] == "haar"
    assert report["ratios"]["job_over_naive"] == pytest.approx(median["naive"] / median["job_haar"], abs=2e-3)
    assert report["ratios"]["job_over_naive_unthreaded"] == pytest.approx(
        median["naive_unthreaded"] / median["job_haar"], abs=2e-3
    )
    assert report["ratios"]["job_over_floor"] == pytest.approx(median["floor"] / median["job_haar"], abs=2e-3)
    assert report["ratios"]["two_workers_over_one"] == pytest.approx(
        median["job_haar_one_worker"] / median["job_haar"], abs=2e-3
    )
    assert report["ratios"]["floor_over_one_process"] == pytest.approx(
        median["floor_one_process"] / median["floor"], abs=2e-3
    )


def test_the_report_says_on_what_machine_and_clips(measured: tuple[dict[str, Any], str]) -> None:
    report, printed = measured
    assert report["machine"]["cores"] == os.cpu_count()
    assert report["machine"]["versions"].keys() >= {"ray", "av", "opencv", "python"}
    assert [clip["frames_total"] for clip in report["clips"]] == [60] * 4
    assert all(clip["size_bytes"] > 0 for clip in report["clips"])
    assert "over naive" in printed
    assert "job_haar_one_worker" in printed


def test_only_what_is_named_is_measured_and_a_name_of_nothing_is_refused() -> None:
    lined = [
        Contestant(tuple(Measurement(name, "", 1, True) for name in names), lambda clips: ())
        for names in (("naive",), ("floor",), ("detect_haar", "crop_haar"))
    ]
    assert select_contestants(lined, []) == lined
    assert select_contestants(lined, ["crop_haar", "floor"]) == lined[1:]
    with pytest.raises(UsageError, match="nothing is called flour; there are naive, floor, detect_haar"):
        select_contestants(lined, ["flour"])


@pytest.mark.slow
def test_a_benchmark_without_the_naive_loop_compares_the_rest(ffpp_small: Path, tmp_path: Path) -> None:
    done = run(
        "--input", str(ffpp_small), "--output", str(tmp_path / "out"), "--limit", "2", "--ray.num_cpus", "1",
        "--benchmark.runs", "1", "--benchmark.copies", "1", "--benchmark.only", "floor", "decode",
        cache=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out/benchmark.json").read_text())
    assert [entry["name"] for entry in report["measured"]] == ["floor", "decode"]
    assert report["ratios"]["job_over_naive"] is report["ratios"]["job_over_naive_unthreaded"] is None


@pytest.mark.data
def test_both_detectors_are_measured_where_the_model_is_at_hand(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path))
    model = str(data / YUNET)
    for name, found in {"auto": ["yunet", "haar"], "haar": ["haar", "yunet"]}.items():
        chosen = choose_detectors(DetectorConfig(name=name, yunet_model=model), Storage())
        assert [detector.name for detector in chosen] == found
    assert [d.name for d in choose_detectors(DetectorConfig(), Storage())] == ["haar"]


def test_copies_are_videos_and_files_of_their_own(ffpp_small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    listed = load_catalog(str(ffpp_small), CatalogConfig(), Storage()).slice(0, 3)
    staged, left_out = clips.copy_clips(listed, folder, SamplingConfig(), Storage())
    assert not left_out
    taken = clips.sort_longest_first(clips.repeat_clips(staged, 3))
    manifest = clips.write_manifest(taken, tmp_path / "clips.csv")
    table = load_catalog(manifest, CatalogConfig(), Storage())
    assert table.num_rows == 9
    assert len(set(table["uri"].to_pylist())) == 9
    assert {Path(uri).read_bytes() for uri in table["uri"].to_pylist()} == {
        Path(clip.path).read_bytes() for clip in staged
    }
    assert sorted(table["method"].to_pylist()) == sorted(listed["method"].to_pylist() * 3)
    assert sorted(table["split"].to_pylist()) == sorted(listed["split"].to_pylist() * 3)


def test_what_is_no_video_is_left_out_and_named(ffpp_small: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "broken.mp4").write_bytes(b"no video at all")
    (source / "good.mp4").write_bytes(next(ffpp_small.rglob("*.mp4")).read_bytes())
    listed = load_catalog(str(source), CatalogConfig(), Storage())
    folder = tmp_path / "clips"
    folder.mkdir()
    staged, left_out = clips.copy_clips(listed, folder, SamplingConfig(), Storage())
    assert [clip.video_id for clip in staged] == ["good.mp4"]
    assert list(left_out) == ["broken.mp4"]


@pytest.mark.parametrize("threads", [True, False])
def test_the_naive_loop_saves_a_crop_of_the_largest_face_of_each_nth_frame(
    ffpp_small: Path, tmp_path: Path, threads: bool
) -> None:
    import cv2

    clip = next((ffpp_small / "original_sequences").rglob("*.mp4"))
    config = PreprocessJobConfig(input="in", output="out", sampling=SamplingConfig(every_n=20))
    tally = baselines.run_naive_loop(str(clip), str(tmp_path), config, threads)
    written = sorted(tmp_path.glob("*.png"))
    assert tally == Tally(3, len(written))
    assert written
    assert cv2.imread(str(written[0])).shape == (224, 224, 3)


def test_the_floor_stands_for_the_frames_that_sampling_keeps(ffpp_small: Path) -> None:
    clip = next(ffpp_small.rglob("*.mp4"))
    assert baselines.decode_reference_frames(str(clip), 20) == Tally(3)
    assert baselines.decode_reference_frames(str(clip), 25) == Tally(3)


def test_calls_are_answered_in_their_order_and_a_process_that_ends_early_is_an_error() -> None:
    calls = [(n, 3) for n in range(7)]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        for alone in (False, True):
            assert call_each(processes, divmod, calls, alone) == [divmod(*call) for call in calls]
        with pytest.raises(JobError, match="a process ended in _exit"):
            call_each(processes, os._exit, [(7,)])


def test_one_core_has_no_ratio_of_two_workers_and_four_have() -> None:
    def measured(**seconds: float) -> dict[str, Measurement]:
        return {name: Measurement(name, "", 1, True, [value]) for name, value in seconds.items()}

    one = measured(naive=60, floor=6, job_haar=10)
    ratios = results.compute_ratios(one, "haar", ["haar"], 1)
    assert ratios["two_workers_over_one"] is ratios["floor_over_one_process"] is None
    four = measured(naive=60, floor=6, job_haar=3, job_haar_two_workers=5, job_haar_one_worker=10)
    found = results.compute_ratios(four, "haar", ["haar"], 4)
    assert found["two_workers_over_one"] == found["two_workers_over_one_haar"] == 2
    assert found["job_over_naive"] == found["job_haar_over_naive"] == 20
    assert found["job_over_floor"] == 2


def test_a_busy_machine_and_unequal_frames_are_warned_of() -> None:
    same = {"naive": Measurement("naive", "", 2, True, [1.0], Tally(10))}
    assert not list_doubts(0.1, same)
    assert "something else was running" in list_doubts(3.2, same)[0]
    assert (
        "naive 10, floor 9"
        in list_doubts(None, same | {"floor": Measurement("floor", "", 2, True, [1.0], Tally(9))})[0]
    )


def test_only_each_nth_frame_can_be_compared(tmp_path: Path) -> None:
    done = run("--input", "in", "--output", str(tmp_path), "--sampling.policy", "count", cache=tmp_path)
    assert done.returncode == 2
    assert "sampling.policy" in done.stderr


def test_the_packaged_configuration_is_the_default() -> None:
    from deepfake.config.parse import load_config

    io = ["--input", "a", "--output", "b"]
    packaged = load_config(BenchmarkJobConfig, [*io, "--config", str(ROOT / "configs/benchmark.yaml")])
    assert packaged == load_config(BenchmarkJobConfig, io)
