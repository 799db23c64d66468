"""Every place that opens a video or picture is known, and none of them works in a job's own process."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.config import (
    CropConfig,
    DetectorConfig,
    EvaluationConfig,
    LeakcheckJobConfig,
    PreprocessJobConfig,
    SamplingConfig,
)
from deepfake.crops import sandbox
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.evaluate import recompression
from deepfake.pipelines.evaluate.inputs import LabelledFaces
from deepfake.pipelines.leakcheck import pipeline as leakcheck
from deepfake.pipelines.preprocess import pipeline as preprocess
from tests.clips import write_clip
from tests.pipelines.evaluate.faces import scored
from tests.rows import video_row
from tests.running import ROOT
from tests.security.test_other_files import PLAYLISTS
from tests.security.watching import WatchedFile, WatchedPort

# What opens media, by module and name, and every place that may, with its reason.
OPENERS = {
    ("av", "open"), ("av", "CodecContext"), ("cv2", "VideoCapture"), ("cv2", "imread"),
    ("cv2", "imreadmulti"), ("cv2", "imdecode"), ("cv2", "imdecodemulti"), ("Image", "open"),
    ("pi_heif", "open_heif"),
    ("pi_heif", "read_heif"), ("pi_heif", "HeifFile"), ("imageio", "imread"), ("v3", "imread"),
    ("pyplot", "imread"), ("plt", "imread"),
}  # fmt: skip
ALLOWED = {
    "deepfake/video/container.py av.open": "the one that reads: formats and protocols are listed; open_live, "
    "for what a person names on the command line of watch",
    "deepfake/video/image.py Image.open": "the one that reads pictures, as the decoder does",
    "deepfake/video/image.py cv2.imdecode": "the same",
    "deepfake/video/image.py pi_heif.open_heif": "the same",
    "deepfake/video/sample_clip.py av.open": "writes",
    "deepfake/video/transcoding.py av.open": "writes",
    "deepfake/video/writer.py av.open": "writes",
    "deepfake/report/images.py cv2.imdecode": "stored crops, by their header, and what was encoded here",
    "deepfake/pipelines/benchmark/baselines.py av.open": "what other people write",
    "deepfake/pipelines/benchmark/baselines.py cv2.VideoCapture": "the same",
    "deepfake/pipelines/demo/dataset.py av.open": "writes",
    "deepfake/pipelines/demo/people.py av.open": "a file of an installed package",
    "deepfake/pipelines/demo/people.py cv2.imread": "the same",
}
READERS = {
    "open_frames", "open_video", "open_listed", "open_local", "VideoFile", "FrameFolder", "ImageFile",
    "LivePlayer", "read_file", "read_stream", "open_live",
}  # fmt: skip


BENCHMARK = {
    f"deepfake/pipelines/benchmark/{name}.py" for name in ("baselines", "clips", "contestants", "stages")
}


def parsed() -> list[tuple[str, ast.AST]]:
    files = sorted(path for top in ("deepfake", "jobs", "cluster") for path in (ROOT / top).rglob("*.py"))
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())) for path in files]


def test_media_are_opened_in_these_places_and_nowhere_else() -> None:
    found = set()
    for name, tree in parsed():
        called = {  # "import av as a" and "import PIL.Image as I" open as well
            alias.asname: alias.name.rpartition(".")[2]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
            if alias.asname
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                path = ast.unparse(node.value).rpartition(".")[2]
                if ((opener := called.get(path, path)), node.attr) in OPENERS:
                    found.add(f"{name} {opener}.{node.attr}")
            elif isinstance(node, ast.ImportFrom) and node.module in ("av", "cv2", "PIL.Image", "pi_heif"):
                found |= {f"{name} from {node.module}" for alias in node.names if alias.name[:1].islower()}
    found -= {"deepfake/pipelines/benchmark/baselines.py from cv2"}
    assert found == set(ALLOWED)


def test_only_what_the_child_runs_reads_a_file_as_a_video() -> None:
    """The tasks of the sandbox and what they are made of; the benchmark measures decoding alone."""
    found = {
        name
        for name, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and READERS & {alias.name for alias in node.names}
    }
    assert {name for name in found if not name.startswith("deepfake/video/")} - BENCHMARK == {
        "deepfake/crops/chunks.py", "deepfake/crops/extraction.py", "deepfake/crops/pictures.py",
        "deepfake/crops/tasks.py", "deepfake/crops/watching.py",
    }  # fmt: skip
    callers = {
        name
        for name, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and {"extract", "survey_packets", "find_piece_faces", "show_frames", "watch_frame", "TASKS"}
        & {alias.name for alias in node.names}
    }
    assert callers - BENCHMARK == {
        "deepfake/crops/tasks.py", "deepfake/crops/sandbox.py", "deepfake/crops/sandbox_server.py",
    }  # fmt: skip


def test_a_stream_is_opened_for_what_the_job_watch_is_told_to_watch_and_for_nothing_else() -> None:
    askers = {
        name
        for name, tree in parsed()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("extractor", "watch"), ("container", "open_live")}
    }
    assert askers == {"deepfake/pipelines/watch/pipeline.py", "deepfake/video/live.py"}


class NoScorer:
    def score(self, crops: np.ndarray) -> np.ndarray:
        return np.zeros(len(crops))


def measured(attack: Path, made: dict[str, Any]) -> list[str]:
    """Have evaluate compress the videos that a manifest names; what it says of them."""
    uris = [str(attack), str(attack)]
    videos = [
        video_row(f"{label}.mp4", uri=uri, label=label, status="ok", duration_s=2.0)
        for label, uri in enumerate(uris)
    ]
    rows = [scored(f"{label}.mp4", 0, label, 0.5) for label in (0, 1)]
    faces = LabelledFaces(
        "crops", "crops", (), tables.from_rows("face_scores", rows), made,
        videos=tables.from_rows("videos", videos),
    )  # fmt: skip
    config = EvaluationConfig(bootstrap=0, robustness_videos=2)
    return recompression.measure_recompression(faces, faces.table, NoScorer(), Storage(), config)[1]


@pytest.mark.parametrize("isolate", [True, False])
def test_a_manifest_that_names_playlists_makes_evaluate_read_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, isolate: bool
) -> None:
    """The record beside the crops is as hostile, and asks for no isolation."""
    monkeypatch.setattr(recompression, "CRFS", (40,))
    target = write_clip(tmp_path / "secret.mp4", frames=3)
    made = {
        "sampling": SamplingConfig(isolate=isolate, timeout_seconds=1e9).model_dump(mode="json"),
        "detector": DetectorConfig(name="haar").model_dump(mode="json"),
        "crop": CropConfig().model_dump(mode="json"),
    }
    with WatchedPort() as port, WatchedFile(target) as watched:
        url = f"http://127.0.0.1:{port.port}/x.ts"
        for name, text in {
            "list.ffconcat": PLAYLISTS["ffconcat"].format(target=target),
            "attack.m3u8": PLAYLISTS["hls"].format(target=url),
            "attack.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
            f"m=video {port.port} RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        }.items():
            (tmp_path / name).write_text(text)
            (said,) = measured(tmp_path / name, made)
            assert said.startswith("At CRF 40, 2 of 2 videos could not be compressed (not a video")
        assert not watched.touched
        assert port.connections == 0


@pytest.fixture
def hostile_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every decoder of this process does what a file's name says."""
    program = (sys.executable, str(ROOT / "tests" / "hostile_child.py"))
    monkeypatch.setattr(sandbox.IsolatedExtractor.__init__, "__defaults__", (program, True))
    sandbox.keep_extractor.cache_clear()
    yield
    sandbox.keep_extractor.cache_clear()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    for name in ("crash.mp4", "good.mp4"):
        write_clip(folder / name, frames=3)
    return folder


@pytest.mark.usefixtures("hostile_decoder")
def test_a_file_that_kills_the_decoder_costs_the_leak_check_a_row(archive: Path, tmp_path: Path) -> None:
    config = {"input": str(archive), "output": str(tmp_path / "out"), "ray": {"start": "never"}}
    outcome = leakcheck.run(LeakcheckJobConfig.model_validate(config))
    assert (outcome.summary["pictures"], outcome.summary["unreadable"]) == (2, 1)


@pytest.mark.usefixtures("hostile_decoder")
def test_a_file_that_kills_the_decoder_does_not_end_a_dry_run(archive: Path, tmp_path: Path) -> None:
    config = {
        "input": str(archive), "output": str(tmp_path / "out"), "dry_run": True, "detector": {"name": "haar"},
    }  # fmt: skip
    outcome = preprocess.run(PreprocessJobConfig.model_validate(config))
    assert outcome.summary["videos_to_do"] == 2
