"""Two jobs never write one output; a dead one keeps nobody out."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from deepfake.errors import JobError, UsageError
from deepfake.io import lock
from deepfake.io.storage import Storage


def leave_lock(folder: Path, **values: object) -> Path:
    path = folder / lock.FILE
    path.write_text(json.dumps({"owner": "other", "host": "elsewhere", "pid": 1, "beats": 3} | values))
    return path


def test_the_lock_is_there_while_it_is_held_and_gone_afterwards(tmp_path: Path) -> None:
    with lock.held(str(tmp_path / "out"), Storage()):
        found = json.loads((tmp_path / "out" / lock.FILE).read_text())
        assert found["pid"] == os.getpid()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failing_job_leaves_no_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.held(str(tmp_path), Storage()):
        raise ZeroDivisionError
    assert not (tmp_path / lock.FILE).exists()


def test_an_output_whose_lock_beats_is_refused(tmp_path: Path) -> None:
    path = leave_lock(tmp_path)

    def meanwhile(_: float) -> None:
        leave_lock(tmp_path, beats=4)

    with (
        pytest.raises(UsageError, match="another job is writing this output"),
        lock.held(str(tmp_path), Storage(), pause=meanwhile),
    ):
        pass
    assert json.loads(path.read_text())["owner"] == "other"


def test_a_lock_that_beats_no_more_is_taken_over(tmp_path: Path) -> None:
    leave_lock(tmp_path)
    pauses: list[float] = []
    with lock.held(str(tmp_path), Storage(), pause=pauses.append) as mine:
        assert json.loads((tmp_path / lock.FILE).read_text())["owner"] == mine.owner
    assert sum(pauses) >= lock.SILENCE_SECONDS > lock.BEAT_SECONDS


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    gone = multiprocessing.get_context("spawn").Process()
    gone.start()
    gone.join()
    leave_lock(tmp_path, host=lock._host(), pid=gone.pid)
    with lock.held(str(tmp_path), Storage(), pause=lambda _: pytest.fail("it waited")):
        pass


def test_of_two_that_start_at_once_one_is_refused(tmp_path: Path) -> None:
    barrier, outcomes = threading.Barrier(2), []

    def start() -> None:
        barrier.wait()
        mine = lock.Lock(str(tmp_path / lock.FILE), Storage())
        try:
            mine.create()
            outcomes.append("held")
        except UsageError:
            outcomes.append("refused")

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["held", "refused"]


def test_a_held_lock_beats(tmp_path: Path) -> None:
    beaten = threading.Event()

    class Watched(Storage):
        def write_text(self, uri: str, text: str) -> None:
            super().write_text(uri, text)
            beaten.set()

    with lock.held(str(tmp_path), Watched(), beat_seconds=0.01):
        assert beaten.wait(30)
        assert json.loads((tmp_path / lock.FILE).read_text())["beats"] >= 1


def test_a_job_that_was_taken_for_dead_learns_it_and_leaves_the_others_lock(tmp_path: Path) -> None:
    with lock.held(str(tmp_path), Storage()) as mine:
        leave_lock(tmp_path)
        with pytest.raises(JobError, match="taken this output over"):
            mine.check()
    assert json.loads((tmp_path / lock.FILE).read_text())["owner"] == "other"
