"""What is said of a source that plays is what a score job says of the same frames."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pandas as pd
import pytest

from deepfake.__main__ import run_job
from deepfake.config import CropConfig, DetectorConfig, ScoreJobConfig, WatchJobConfig
from deepfake.errors import JobError, UsageError
from deepfake.pipelines.score import pipeline as score_pipeline
from deepfake.pipelines.watch import pipeline
from tests.clips import write_clip
from tests.processes import descendants, wait_until
from tests.running import ROOT, command, environment
from tests.small_bundle import save_untrained
from tests.streaming import find_udp_port, send_when_awaited

pytestmark = pytest.mark.slow(60)
DETECTOR, CROP = DetectorConfig(name="haar"), CropConfig()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("bundle"))
    save_untrained(uri, unproven="", detector=DETECTOR, crop=CROP)
    return uri


@pytest.fixture(scope="module")
def clip(ffpp_small: Path) -> Path:
    return min(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))


@pytest.fixture(scope="module")
def scored(clip: Path, bundle: str, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The scores of every frame's faces, as an archive is scored."""
    output = tmp_path_factory.mktemp("scored") / "scores"
    values = {
        "input": str(clip.parent), "output": str(output), "bundle": bundle, "limit": 1,
        "sampling": {"every_n": 1}, "report": {"heat_maps": False, "frames": 0},
    }  # fmt: skip
    score_pipeline.run(ScoreJobConfig.model_validate(values))
    return pd.read_parquet(output / "face_scores")


def watch(source: object, bundle: str, output: Path, **values: Any) -> tuple[dict[str, Any], list[Any]]:
    """The job; its summary and the lines that it left."""
    config = {"input": str(source), "bundle": bundle, "output": str(output), **values}
    outcome = pipeline.run(WatchJobConfig.model_validate(config))
    return outcome.summary, read_lines(output)


def read_lines(output: Path) -> list[Any]:
    return [json.loads(line) for line in (output / pipeline.LINES).read_text().splitlines()]


def require_same_scores(lines: list[Any], scored: pd.DataFrame) -> None:
    """Each face that the score job kept has its score among the faces of that frame."""
    expected = dict(zip(scored["frame_index"], scored["score"], strict=True))
    told = {line["frame_index"]: [face["score"] for face in line["faces"]] for line in lines}
    compared = [
        min(abs(score - expected[frame]) for score in scores)
        for frame, scores in told.items()
        if frame in expected
    ]
    assert len(compared) > len(lines) / 2
    assert max(compared) < 1e-6


def test_every_frame_of_a_file_has_the_score_jobs_scores_and_is_drawn(
    clip: Path, bundle: str, scored: pd.DataFrame, tmp_path: Path
) -> None:
    summary, lines = watch(clip, bundle, tmp_path, watch={"every_frame": True, "video_side": 160})
    frames = scored["frame_index"].max() + 1
    assert [line["frame_index"] for line in lines] == list(range(len(lines)))
    assert len(lines) >= frames and summary["frames"] == len(lines) and summary["frames_dropped"] == 0
    require_same_scores(lines, scored)
    with av.open(str(tmp_path / pipeline.VIDEO)) as video:
        drawn = list(video.decode(video=0))
    assert len(drawn) == len(lines) and max(drawn[0].width, drawn[0].height) == 160
    assert drawn[-1].time == pytest.approx(lines[-1]["time_s"], abs=0.001)


def test_the_running_score_is_that_of_the_window_and_decides_the_verdict(
    clip: Path, bundle: str, tmp_path: Path
) -> None:
    _, lines = watch(
        clip, bundle, tmp_path, watch={"every_frame": True, "window_seconds": 0.5, "video_side": 0},
        scoring={"threshold": 0.0, "uncertain": 0.0, "min_faces": 3},
    )  # fmt: skip
    assert not (tmp_path / pipeline.VIDEO).exists()
    of_one = [(line["time_s"], face) for line in lines for face in line["faces"] if face["track_id"] == 0]
    for now, face in of_one:
        window = [other["score"] for time_s, other in of_one if now - 0.5 <= time_s <= now]
        assert face["running_score"] == pytest.approx(np.mean(window)) and face["faces"] == len(window)
        assert face["verdict"] == ("likely_fake" if len(window) >= 3 else None)


def test_a_file_plays_at_its_own_rate_and_what_comes_too_fast_is_dropped(
    clip: Path, bundle: str, scored: pd.DataFrame, tmp_path: Path
) -> None:
    summary, lines = watch(clip, bundle, tmp_path, watch={"video_side": 0})
    with av.open(str(clip)) as video:
        frames = sum(1 for _ in video.decode(video=0))
    assert summary["frames"] + summary["frames_dropped"] == frames
    assert all(line["latency_s"] > 0 for line in lines)
    assert summary["latency_ms"]["median"] <= summary["latency_ms"]["95_percent"]
    assert {line["frame_index"] for line in lines} <= set(range(frames))


@pytest.mark.skipif(sys.platform != "linux", reason="whether the port is awaited is read from /proc")
def test_a_stream_over_the_network_has_the_files_scores(
    clip: Path, bundle: str, scored: pd.DataFrame, tmp_path: Path
) -> None:
    with send_when_awaited(clip) as address:
        summary, lines = watch(address, bundle, tmp_path, watch={"patience_seconds": 4, "video_side": 0})
    assert summary["frames"] == len(lines) > 0
    require_same_scores(lines, scored)


def test_without_a_face_or_a_proof_there_is_no_verdict(clip: Path, tmp_path: Path) -> None:
    bundle = str(tmp_path / "unproven")
    save_untrained(bundle, detector=DETECTOR, crop=CROP)
    quick = {"every_frame": True, "video_side": 0}
    summary, lines = watch(clip, bundle, tmp_path / "face", watch=quick)
    assert summary["unproven"] == "nothing is recorded of its validation"
    assert {face["verdict"] for line in lines for face in line["faces"]} == {None}
    nobody = write_clip(tmp_path / "nobody.mp4", frames=5)
    summary, lines = watch(nobody, bundle, tmp_path / "nobody", watch=quick)
    assert summary["frames_with_face"] == 0 and [line["faces"] for line in lines] == [[]] * 5


def test_what_cannot_be_watched_is_said(clip: Path, bundle: str, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"/absent.mp4: No such file"):
        watch("/absent.mp4", bundle, tmp_path / "a")
    text = tmp_path / "text.mp4"
    text.write_text("not a video")
    with pytest.raises(JobError, match=r"text.mp4: not a video that can be read"):
        watch(text, bundle, tmp_path / "b")
    with pytest.raises(JobError, match=r"127.0.0.1:\d+: cannot be watched: nothing came within 0.5 s"):
        watch(f"udp://127.0.0.1:{find_udp_port()}", bundle, tmp_path / "c", watch={"patience_seconds": 0.5})
    with pytest.raises(JobError, match=r"/dev/null: cannot be watched"):
        watch("/dev/null", bundle, tmp_path / "d")
    with pytest.raises(UsageError, match=r"scheme 'gopher' is not supported"):
        watch("gopher://127.0.0.1/a", bundle, tmp_path / "e")
    with pytest.raises(UsageError, match=r"to a local folder"):
        watch(clip, bundle, "s3://bucket/watched")  # type: ignore[arg-type]
    (tmp_path / pipeline.LINES).write_text("{}\n")
    with pytest.raises(UsageError, match=r"has the lines of an earlier source"):
        watch(clip, bundle, tmp_path)


def test_a_password_in_an_address_is_shown_nowhere(
    bundle: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    address = f"udp://me:secret@127.0.0.1:{find_udp_port()}"
    with pytest.raises(JobError) as error:
        watch(address, bundle, tmp_path, watch={"patience_seconds": 0.5})
    words = [address, "--bundle", bundle, "--output", str(tmp_path), "--dry-run"]
    assert run_job("watch", "deepfake watch", words) == 0
    assert "secret" not in f"{error.value}{caplog.text}{capsys.readouterr()}"


def test_an_archive_leads_to_no_stream(bundle: str, tmp_path: Path) -> None:
    """What a person may name on this command line, no manifest may name."""
    port = find_udp_port()
    manifest = tmp_path / "videos.csv"
    manifest.write_text(f"uri\nudp://127.0.0.1:{port}\n/dev/null\n")
    values = {"input": str(manifest), "output": str(tmp_path / "out"), "bundle": bundle, "max_failed": 1.0}
    try:
        score_pipeline.run(ScoreJobConfig.model_validate(values))
    except UsageError as error:
        assert "udp" in str(error)
        return
    rows = pd.read_parquet(tmp_path / "out" / "video_scores")
    assert set(rows["status"]) <= {"unreadable", "unsupported"}
    assert "cannot be watched" not in " ".join(rows["status_detail"])


@pytest.mark.skipif(sys.platform != "linux", reason="whether the port is awaited is read from /proc")
def test_ctrl_c_ends_a_sitting_as_its_end_does(clip: Path, bundle: str, tmp_path: Path) -> None:
    output = tmp_path / "watched"
    long = tmp_path / "long.mp4"
    with av.open(str(long), "w") as joined, av.open(str(clip)) as source:
        stream = source.streams.video[0]
        copied = joined.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.dts is not None]
        length = len(packets) * packets[0].duration
        for turn in range(200):
            source.seek(0)
            for packet in source.demux(stream):
                if packet.dts is not None:
                    packet.pts, packet.dts = packet.pts + turn * length, packet.dts + turn * length
                    packet.stream = copied
                    joined.mux(packet)
    words = [*command("watch", "--input", long, "--bundle", bundle, "--output", output)]
    with subprocess.Popen(words, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True) as job:
        lines = output / pipeline.LINES
        wait_until(lambda: lines.exists() and lines.read_text().count("\n") > 5)
        children = descendants(job.pid)
        os.kill(job.pid, signal.SIGINT)
        said = job.communicate(timeout=60)[1]
    assert job.returncode == 0 and "crashed" not in said, said
    assert json.loads((output / "_summary.json").read_text())["frames"] == len(read_lines(output))
    with av.open(str(output / pipeline.VIDEO)) as video:
        assert len(read_lines(output)) - sum(1 for _ in video.decode(video=0)) in (0, 1)
    assert children
    wait_until(lambda: not any(is_alive(pid) for pid in children))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended may wait for whoever is to take note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
