"""Videos that crash, hang or swell cost themselves and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops import sandbox
from deepfake.crops.extraction import ExtractConfig, extract
from deepfake.crops.sandbox import IsolatedExtractor
from deepfake.crops.sandbox_messages import Channel
from deepfake.errors import JobError, NodeFault
from deepfake.faces.detectors.factory import make_detector
from deepfake.faces.encoding import decode_image
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.outcome import start_clock
from tests.processes import descendants, wait_until
from tests.running import ROOT

CHILD = (sys.executable, str(ROOT / "tests" / "hostile_child.py"))
CONFIG = ExtractConfig(
    SamplingConfig(timeout_seconds=60, max_memory_mb=1024), DetectorConfig(name="haar"), CropConfig()
)
HASTY = replace(CONFIG, sampling=CONFIG.sampling.model_copy(update={"timeout_seconds": 1}))

# A server whose forks read nothing.
DEAF = """
import socket, os, struct, time
from deepfake.crops.sandbox_messages import ENDED, Channel
control = socket.socket(fileno=os.dup(0))
channel = Channel(control)
channel.receive()
channel.send(b"ready")
kept = []
while (asked := socket.recv_fds(control, 1, 1))[0]:
    kept.append(asked[1])
    if asked[0] == b"e":
        control.sendall(ENDED.pack(0))
"""


@pytest.fixture(scope="module")
def hostile(monkeypatch_module: pytest.MonkeyPatch) -> Iterator[IsolatedExtractor]:
    monkeypatch_module.setattr(sandbox, "GRACE_SECONDS", 1.0)
    extractor = IsolatedExtractor(CONFIG, Storage(), CHILD)
    yield extractor
    extractor.close()


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture
def long_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each video is one of so much work that a fork is for it alone."""
    monkeypatch.setattr(sandbox, "SHARE", float("inf"))


@pytest.fixture
def named(ffpp_small: Path, tmp_path: Path) -> Any:
    """A good clip under any name, as a catalog row."""
    clip = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))[0]

    def entry(name: str) -> dict[str, Any]:
        shutil.copy(clip, tmp_path / name)
        return {"video_id": name, "uri": str(tmp_path / name), "label": 0}

    return entry


def _without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if not key.endswith("_seconds")}


def test_a_good_video_comes_out_as_without_isolation(hostile: IsolatedExtractor, named: Any) -> None:
    entry = named("good.mp4")
    isolated = hostile.extract(entry)
    plain = extract(entry, CONFIG, make_detector(CONFIG.detector, Storage()), Storage())
    assert isolated.video["status"] == "ok"
    assert _without_times(isolated.video).items() >= _without_times(plain.video).items()
    assert [row["crop"] for row in isolated.rows] == [row["crop"] for row in plain.rows]


def test_crops_that_are_not_kept_have_the_same_pixels(hostile: IsolatedExtractor, named: Any) -> None:
    entry = named("good.mp4")
    in_passing = IsolatedExtractor(replace(CONFIG, crops_kept=False), Storage())
    found, kept = in_passing.extract(entry).rows, hostile.extract(entry).rows
    in_passing.close()
    assert found and len(found) == len(kept)
    for mine, theirs in zip(found, kept, strict=True):
        assert mine["crop"].startswith(b"BM") and theirs["crop"].startswith(b"\x89PNG")
        np.testing.assert_array_equal(decode_image(mine["crop"]), decode_image(theirs["crop"]))
        assert mine["surround"] is None and theirs["surround"].startswith(b"\x89PNG")
        without = dict.fromkeys(("crop", "surround"))
        assert {**mine, **without} == {**theirs, **without}


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("crash.mp4", Status.DECODE_ERROR, "SIGSEGV"),
        ("memory.mp4", Status.DECODE_ERROR, "exit status 1"),
        ("other.mp4", Status.DECODE_ERROR, "no sensible answer (table crops: the columns are others)"),
        ("wild.mp4", Status.DECODE_ERROR, "no sensible answer (table crops: "),
        ("huge.mp4", Status.DECODE_ERROR, "no sensible answer (a message of 1125899906842624 bytes)"),
        ("packed.mp4", Status.DECODE_ERROR, "no sensible answer (a table that is packed)"),
        ("short.mp4", Status.DECODE_ERROR, "no sensible answer (Expected to be able to read"),
        ("stop.mp4", Status.UNREADABLE, "cannot reach the file (the whole archive is to be given up)"),
        ("id.mp4", Status.DECODE_ERROR, "no sensible answer (video_id is 'another.mp4')"),
        ("uri.mp4", Status.DECODE_ERROR, "no sensible answer (uri is '/another.mp4')"),
        ("label.mp4", Status.DECODE_ERROR, "no sensible answer (label is '1')"),
        ("split.mp4", Status.DECODE_ERROR, "no sensible answer (split is 'train')"),
        ("copy.mp4", Status.DECODE_ERROR, "no sensible answer (duplicate_of is 'another.mp4')"),
        ("status.mp4", Status.DECODE_ERROR, "no sensible answer (status 'skipped_duplicate')"),
        ("count.mp4", Status.DECODE_ERROR, "no sensible answer (1000 faces, "),
        ("detail.mp4", Status.DECODE_ERROR, "no sensible answer (status_detail is too long)"),
        ("duration.mp4", Status.DECODE_ERROR, "no sensible answer (duration_s is nan)"),
        ("crop_id.mp4", Status.DECODE_ERROR, "no sensible answer (video_id of a crop is another)"),
        ("crop_label.mp4", Status.DECODE_ERROR, "no sensible answer (label of a crop is another)"),
        ("crop_again.mp4", Status.DECODE_ERROR, "no sensible answer (1 frames with a face)"),
        ("crop_size.mp4", Status.DECODE_ERROR, "no sensible answer (a crop of (64, 64) pixels)"),
    ],
)
def test_a_video_that_takes_the_decoder_down_gets_a_status_and_the_next_one_is_fine(
    hostile: IsolatedExtractor, named: Any, name: str, status: Status, words: str
) -> None:
    failed = hostile.extract(named(name))
    assert failed.video["status"] == status
    assert words in failed.video["status_detail"]
    assert not failed.rows
    assert hostile.extract(named("good.mp4")).video["status"] == "ok"


@pytest.mark.slow(2)
def test_a_video_on_which_the_decoder_hangs_is_given_up(
    hostile: IsolatedExtractor, named: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(hostile, "_config", HASTY)
        failed = hostile.extract(named("hang.mp4")).video
    assert (failed["status"], failed["retry"]) == (Status.TIMEOUT, True)
    assert "timeout_seconds, 1;" in failed["status_detail"]
    assert hostile.extract(named("good.mp4")).video["status"] == "ok"


def test_a_piece_that_takes_the_decoder_down_gets_a_status(hostile: IsolatedExtractor, named: Any) -> None:
    survey = hostile.survey(named("good.mp4"), 0.5)
    assert survey.video["status"] == "ok"
    good = hostile.look(named("good.mp4"), (0, 1), survey.table)
    assert (good.video["status"], good.video["frames_sampled"]) == ("ok", 1)
    crashed = hostile.look(named("crash.mp4"), (0, 1), survey.table)
    assert (crashed.video["status"], crashed.table.num_rows) == ("decode_error", 0)
    assert "SIGSEGV" in crashed.video["status_detail"]


@pytest.mark.usefixtures("long_videos")
def test_an_exception_of_our_own_is_a_fault_of_this_program_and_its_traceback_comes_once(
    hostile: IsolatedExtractor, named: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert hostile.extract(named("good.mp4")).video["status"] == "ok"
    children = descendants(os.getpid())
    found = [hostile.extract(named(f"bug{i}.mp4")) for i in range(2)]
    for video in (one.video for one in found):
        assert video["status"] == Status.DECODE_ERROR
        assert re.fullmatch(
            r"a fault of this program: TypeError: a keyword that nobody knows: <Container> "
            r"\(deepfake/crops/sandbox_server\.py:\d+\)",
            video["status_detail"],
        )
    assert tables.count_program_faults(one.video["status_detail"] for one in found) == 2
    assert caplog.text.count("Traceback (most recent call last)") == 1
    assert "hostile_child.py" in caplog.text and "misbehave" in caplog.text
    assert hostile.extract(named("good.mp4")).video["status"] == "ok"
    assert descendants(os.getpid()) == children, "something died"


def test_a_child_that_a_video_took_over_does_not_see_the_next_one(
    hostile: IsolatedExtractor, named: Any
) -> None:
    assert hostile.extract(named("taken.mp4")).video["status"] == "ok"
    assert hostile.extract(named("good.mp4")).video["status"] == "ok"


@pytest.mark.parametrize(
    ("share", "then", "falsified"),
    [
        (float("inf"), "good.mp4", 0),  # long videos: a fork for each
        (1e-9, "good.mp4", sandbox.VIDEOS_A_FORK - 1),  # short ones: so many
        (1e-9, "id.mp4", 0),  # what does not fit ends it
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="a server forks on Linux only")
def test_a_child_that_a_video_took_over_falsifies_no_more_than_the_rule_leaves_it(
    named: Any, monkeypatch: pytest.MonkeyPatch, share: float, then: str, falsified: int
) -> None:
    monkeypatch.setattr(sandbox, "SHARE", share)
    extractor = IsolatedExtractor(CONFIG, Storage(), CHILD)
    try:
        assert extractor.extract(named("silent.mp4")).video["status"] == "ok"
        extractor.extract(named(then)) if then != "good.mp4" else None
        found = [extractor.extract(named("good.mp4")).video["status"] for _ in range(sandbox.VIDEOS_A_FORK)]
    finally:
        extractor.close()
    assert found == ["no_face"] * falsified + ["ok"] * (sandbox.VIDEOS_A_FORK - falsified)


def test_a_fork_serves_until_it_costs_a_small_share_of_its_work_or_for_so_many_files() -> None:
    local, remote = "/archive/a.mp4", "s3://bucket/a.mp4"
    second, ten = sandbox.FORK_SECONDS / sandbox.SHARE, 10.0
    assert sandbox.has_served(local, 1, second) and not sandbox.has_served(local, 1, second - 0.01)
    assert sandbox.has_served(remote, 1, ten) and not sandbox.has_served(remote, 1, ten - 1)
    several = (local, remote, "/archive/a.png")
    assert [sandbox.has_served(uri, 8, 0) for uri in several] == [True, False, False]
    assert all(sandbox.has_served(uri, 32, 0) for uri in several)


@pytest.mark.usefixtures("long_videos")
@pytest.mark.skipif(sys.platform != "linux", reason="a server forks on Linux only")
def test_what_a_video_leaves_running_ends_with_it(hostile: IsolatedExtractor, named: Any) -> None:
    hostile.extract(named("good.mp4"))
    before = descendants(os.getpid())
    assert hostile.extract(named("resident.mp4")).video["status"] == "ok"
    assert descendants(os.getpid()) == before


LEAVES_ONE_RUNNING = """
import json, os, sys
from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops import sandbox
from deepfake.crops.extraction import ExtractConfig
from deepfake.io.storage import Storage
from tests.processes import descendants
sandbox.FORK_SECONDS = float("inf")  # so that the fork is there at the end
config = ExtractConfig(SamplingConfig(), DetectorConfig(name="haar"), CropConfig())
extractor = sandbox.IsolatedExtractor(config, Storage(), (sys.executable, sys.argv[1]))
assert extractor.extract({"video_id": "a", "uri": sys.argv[2]}).video["status"] == "ok"
print(json.dumps(descendants(os.getpid())), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("ends", ["well", "killed"])
@pytest.mark.skipif(sys.platform != "linux", reason="a server forks on Linux only")
def test_what_a_video_leaves_running_ends_with_the_worker_however_that_ends(named: Any, ends: str) -> None:
    uri = named("resident.mp4")["uri"]
    words = [sys.executable, "-c", LEAVES_ONE_RUNNING, CHILD[1], uri]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdin is not None
        started = json.loads(worker.stdout.readline())
        assert len(started) == 3  # the server, its fork, and what that left running
        worker.stdin.close() if ends == "well" else worker.kill()
    try:
        wait_until(lambda: not any(map(lives, started)), 30)
    finally:
        for pid in filter(lives, started):
            os.kill(pid, signal.SIGKILL)


def lives(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@pytest.mark.slow(3)
def test_a_child_that_stops_reading_is_given_up_like_one_that_stops_answering(
    hostile: IsolatedExtractor, named: Any
) -> None:
    survey = hostile.survey(named("good.mp4"), 0.5)
    many = pa.concat_tables([survey.table] * 100_000)  # more than a socket holds
    entry = named("good.mp4")
    program = (sys.executable, "-c", DEAF)
    deaf = IsolatedExtractor(HASTY, Storage(), program)
    try:
        found = deaf.look(entry, (0, 1), many.combine_chunks()).video
    finally:
        deaf.close()
    assert found["status"] == Status.TIMEOUT


def test_a_child_that_cannot_start_is_a_fault_of_this_machine(named: Any) -> None:
    extractor = IsolatedExtractor(CONFIG, Storage(), (sys.executable, "-c", "raise SystemExit(7)"))
    with pytest.raises(NodeFault, match=r"did not start \(exit status 7\)"):
        extractor.extract(named("good.mp4"))


def test_what_is_wrong_with_the_settings_stops_the_job_in_words(named: Any) -> None:
    detector = DetectorConfig(name="yunet", yunet_model="/nowhere/yunet.onnx")
    extractor = IsolatedExtractor(replace(CONFIG, detector=detector), Storage())
    extractor.start()
    with pytest.raises(JobError, match=r"cannot start on this machine: .*/nowhere/yunet\.onnx"):
        extractor.extract(named("good.mp4"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_is_told_to_keep_its_heap_unless_its_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def told() -> set[str]:
        before = descendants(os.getpid())
        extractor = IsolatedExtractor(CONFIG, Storage())
        try:
            extractor.start()
            (child,) = set(descendants(os.getpid())) - set(before)
            return set(Path(f"/proc/{child}/environ").read_text().split("\0"))
        finally:
            extractor.close()

    kept = f"MALLOC_TRIM_THRESHOLD_={sandbox.KEPT_BYTES}"
    assert {kept, "GLIBC_TUNABLES=glibc.malloc.hugetlb=1"} <= told()
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    found = told()
    assert "MALLOC_TRIM_THRESHOLD_=131072" in found and kept not in found


def test_a_crash_that_does_not_happen_again_costs_nothing(hostile: IsolatedExtractor, named: Any) -> None:
    assert hostile.extract(named("once.mp4")).video["status"] == "ok"


def test_what_a_library_prints_does_not_mix_with_the_answers(hostile: IsolatedExtractor, named: Any) -> None:
    assert hostile.extract(named("chatty.mp4")).video["status"] == "ok"


def test_the_child_ends_when_its_parent_is_killed(named: Any) -> None:
    entry = named("good.mp4")
    script = (
        "import os, signal, sys\n"
        "from tests.crops.test_sandbox import CONFIG\n"
        "from deepfake.crops.sandbox import IsolatedExtractor\n"
        "from deepfake.io.storage import Storage\n"
        "extractor = IsolatedExtractor(CONFIG, Storage())\n"
        f"extractor.extract({entry!r})\n"
        "print('extracted', flush=True)\n"
        "sys.stdin.read()\n"
    )

    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == "extracted\n"
    # File descriptors of the processes tell when they have ended, whoever's children they were.
    watched = [os.pidfd_open(child) for child in descendants(parent.pid)]
    parent.kill()
    parent.wait()
    ended = [select.select([one], [], [], 30)[0] for one in watched]
    for one in watched:
        os.close(one)
    assert watched and all(ended), "a child outlived its parent"


def test_the_child_runs_the_code_of_its_parent_whatever_lies_in_the_working_directory(
    named: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = named("good.mp4")
    other = tmp_path / "another_checkout" / "deepfake"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("raise RuntimeError('another version of the code')\n")
    monkeypatch.chdir(other.parent)
    extractor = IsolatedExtractor(CONFIG, Storage())
    try:
        assert extractor.extract(entry).video["status"] == Status.OK
    finally:
        extractor.close()


def test_a_child_that_boasts_takes_no_more_time_than_it_was_waited_for(
    hostile: IsolatedExtractor, named: Any
) -> None:
    began, clock = time.monotonic(), start_clock()
    assert hostile.extract(named("boast.mp4")).video["status"] == "ok"
    spent, counts = clock.take()
    assert sum(spent.values()) == pytest.approx(time.monotonic() - began, rel=0.03)
    assert spent["decode"] > 0 and spent["isolate"] >= 0 and counts["bytes_read"] >= 1e12


def test_a_server_whose_job_was_killed_while_it_started_ends_without_a_word() -> None:
    settings = json.dumps(IsolatedExtractor(CONFIG, Storage())._settings).encode()
    mine, theirs = socket.socketpair()
    with theirs:
        server = subprocess.Popen(sandbox.PROGRAM, stdin=theirs, stderr=subprocess.PIPE, cwd=ROOT)
    with mine:
        Channel(mine).send(settings)
    assert server.communicate(timeout=60)[1] == b""
