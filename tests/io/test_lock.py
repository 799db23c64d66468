"""Two jobs never write one output; a dead one keeps nobody out."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from deepfake.errors import JobError, UsageError
from deepfake.io import lock
from deepfake.io.storage import Storage
from tests.disks import forbid_writing, mount_disk

ATOMIC = ["local", pytest.param("seaweedfs", marks=pytest.mark.s3)]  # moto looks, then writes


@pytest.fixture(params=[*ATOMIC, pytest.param("moto", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URI of a lock file that is not there yet."""
    if request.param == "local":
        return str(tmp_path / lock.FILE)
    root = request.getfixturevalue("s3_root" if request.param == "seaweedfs" else "moto_root")
    return f"{root}/{lock.FILE}"


@pytest.fixture
def moto_root(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URI of an empty bucket of another S3 server, which knows what Amazon's knows."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    bucket = f"locks-{uuid.uuid4()}"
    Storage().locate(f"s3://{bucket}")[0].mkdir(bucket)
    yield f"s3://{bucket}/out"
    server.stop()


def leave_lock(folder: Path, **values: object) -> Path:
    path = folder / lock.FILE
    path.write_text(json.dumps({"owner": "other", "host": "elsewhere", "pid": 1, "beats": 3} | values))
    return path


def test_the_lock_is_there_while_it_is_held_and_gone_afterwards(tmp_path: Path) -> None:
    with lock.hold(str(tmp_path / "out"), Storage()):
        found = json.loads((tmp_path / "out" / lock.FILE).read_text())
        assert found["pid"] == os.getpid()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_failing_job_leaves_no_lock(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.hold(str(tmp_path), Storage()):
        raise ZeroDivisionError
    assert not (tmp_path / lock.FILE).exists()


def test_an_output_whose_lock_beats_is_refused(tmp_path: Path) -> None:
    path = leave_lock(tmp_path)

    def meanwhile(_: float) -> None:
        leave_lock(tmp_path, beats=4)

    with (
        pytest.raises(UsageError, match="another job is writing this output"),
        lock.hold(str(tmp_path), Storage(), pause=meanwhile),
    ):
        pass
    assert json.loads(path.read_text())["owner"] == "other"


def test_a_lock_that_beats_no_more_is_taken_over(tmp_path: Path) -> None:
    leave_lock(tmp_path)
    pauses: list[float] = []
    with lock.hold(str(tmp_path), Storage(), pause=pauses.append) as mine:
        assert json.loads((tmp_path / lock.FILE).read_text())["owner"] == mine.owner
    assert sum(pauses) >= lock.SILENCE_SECONDS > lock.BEAT_SECONDS


def _end_while_writing(uri: str) -> None:
    with lock.hold(uri, Storage()):
        os._exit(0)


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    gone = multiprocessing.get_context("spawn").Process(target=_end_while_writing, args=(str(tmp_path),))
    gone.start()
    gone.join()
    assert json.loads((tmp_path / lock.FILE).read_text())["pid"] == gone.pid
    with lock.hold(str(tmp_path), Storage(), pause=lambda _: pytest.fail("it waited")):
        pass


def test_a_process_of_this_machine_that_is_there_is_not_waited_for_but_its_number_alone_is_no_proof(
    tmp_path: Path,
) -> None:
    with lock.hold(str(tmp_path), Storage()):
        here = json.loads((tmp_path / lock.FILE).read_text()) | {"owner": "other"}
    leave_lock(tmp_path, **here)
    with (
        pytest.raises(UsageError, match="another job is writing"),
        lock.hold(str(tmp_path), Storage(), pause=lambda _: pytest.fail("it waited")),
    ):
        pass
    leave_lock(tmp_path, **here | {"started": 1})
    with lock.hold(str(tmp_path), Storage(), pause=lambda _: pytest.fail("it waited")):
        pass


@pytest.mark.parametrize("place", ATOMIC, indirect=True)
def test_of_many_that_start_at_once_one_gets_the_lock(place: str) -> None:
    assert sorted(at_once(place, before=None)) == ["held", *["refused"] * 7]


@pytest.mark.parametrize("place", ATOMIC, indirect=True)
def test_of_many_that_take_a_dead_lock_over_at_once_one_gets_it(place: str) -> None:
    assert at_once(place, before=None, count=1) == ["held"]
    dead = lock.locate_lock(place, Storage()).read()
    assert sorted(at_once(place, before=dead)) == ["held", *["refused"] * 7]
    assert at_once(place, before=dead) == ["refused"] * 8  # a late one, that has read it long ago


def at_once(uri: str, before: lock.LockContent | None, count: int = 8) -> list[str]:
    """What becomes of so many jobs that have read the same and write in the same moment."""
    barrier = threading.Barrier(count)

    def take(_: int) -> str:
        mine = lock.Lock(uri, lock.locate_lock(uri, Storage()), Storage())
        barrier.wait()
        try:
            mine.take(before)
        except UsageError:
            return "refused"
        return "held"

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(take, range(count)))


def test_a_lock_that_was_taken_over_is_neither_written_nor_removed_by_its_old_owner(place: str) -> None:
    old, new = (lock.Lock(place, lock.locate_lock(place, Storage()), Storage()) for _ in range(2))
    old.take(None)
    dead = old.place.read()
    old.beat()  # not so dead
    with pytest.raises(UsageError):
        new.take(dead)
    new.take(new.place.read())
    with pytest.raises(JobError, match="taken this output over"):
        old.beat()
    assert old.lost is not None
    old.release()
    found = new.place.read()
    assert found is not None and found.content["owner"] == new.owner
    new.beat()
    new.release()
    assert new.place.read() is None


def test_an_s3_server_without_conditions_is_named_and_looked_at_twice(
    s3_root: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Careless(Storage):
        def write_if(self, uri: str, data: bytes, etag: str | None) -> str:
            self.write_bytes(uri, data)
            return ""

    uri = f"{s3_root}/{lock.FILE}"
    second = lock.Lock(uri, lock.S3Object(uri, Careless(), pause=lambda _: None), Storage())
    first = lock.Lock(uri, lock.S3Object(uri, Careless(), pause=lambda _: second.take(None)), Storage())
    with pytest.raises(UsageError, match="another job is writing this output"):
        first.take(None)
    second.beat()
    assert caplog.text.count("heeds no conditions of a write") == 2
    second.release()
    assert second.place.read() is None


def test_a_refusal_says_who_holds_the_output_and_since_when(tmp_path: Path) -> None:
    path = leave_lock(tmp_path, job="train.py", since="2026-01-02 03:04:05 UTC", host="node-3 pid:[1]")

    def meanwhile(_: float) -> None:
        path.write_text(path.read_text().replace('"beats": 3', '"beats": 4'))

    with (
        pytest.raises(UsageError, match=r"train.py, process 1 on node-3, since 2026-01-02 03:04:05 UTC"),
        lock.hold(str(tmp_path), Storage(), pause=meanwhile),
    ):
        pass


def test_what_is_kept_is_released_at_the_end_of_all(tmp_path: Path) -> None:
    with lock.keep_locks("a job"):
        with lock.hold(str(tmp_path), Storage()):
            pass
        assert (tmp_path / lock.FILE).exists()
    assert not (tmp_path / lock.FILE).exists()


def test_a_held_lock_beats(tmp_path: Path) -> None:
    path = tmp_path / lock.FILE
    with lock.hold(str(tmp_path), Storage(), beat_seconds=0.01):
        give_up = time.monotonic() + 60
        while not json.loads(path.read_text() or "{}").get("beats"):
            assert time.monotonic() < give_up


def test_a_job_that_was_taken_for_dead_learns_it_and_leaves_the_others_lock(tmp_path: Path) -> None:
    with lock.hold(str(tmp_path), Storage()) as mine:
        leave_lock(tmp_path)
        with pytest.raises(JobError, match="taken this output over"):
            mine.check()
    assert json.loads((tmp_path / lock.FILE).read_text())["owner"] == "other"


def test_an_output_that_may_only_be_read_is_refused_and_one_that_becomes_so_ends_in_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Storage()
    with mount_disk(tmp_path / "disk", 4) as disk:
        (disk / "dead").mkdir()
        (disk / "dead" / lock.FILE).write_text('{"owner": "x", "host": "elsewhere", "pid": 1}')
        with lock.hold(str(disk / "out"), storage):
            forbid_writing(disk)
            with pytest.raises(JobError, match=r"out/a\.json: may not be written \(read-only"):
                storage.write_text(str(disk / "out" / "a.json"), "{}")
        assert f"{lock.FILE}: stays" in caplog.text
        for folder, words in (("other", "may not be made here"), ("dead", "may not be written")):
            with (
                pytest.raises(UsageError, match=words),
                lock.hold(str(disk / folder), storage, pause=lambda _: None),
            ):
                pass
