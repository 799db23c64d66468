"""What is soon thrown away goes, even where the process that made it was killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from deepfake.errors import JobError
from deepfake.io import lock
from deepfake.io.storage import Storage
from deepfake.io.temporary import make_temporary_folder, remove_leftovers, share_temporary_folder
from tests.running import ROOT

MAKE = """
import sys
from deepfake.io.temporary import make_temporary_folder
with make_temporary_folder() as folder:
    (folder / "half").write_bytes(b"a network")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files of the test's own."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    (folder / "networks").mkdir(parents=True)
    monkeypatch.setenv("DEEPFAKE_CACHE", str(folder))
    return folder


def test_a_folder_is_there_while_its_process_lives_and_goes_after_it_was_killed(
    temporary: Path, cache: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", MAKE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.parent == temporary
        assert remove_leftovers(cache) == 0
        process.send_signal(signal.SIGKILL)
    assert (folder / "half").exists()
    others = temporary / "deepfake-archive"
    others.mkdir()
    with lock.hold(str(tmp_path / "out"), Storage()), make_temporary_folder() as mine:
        assert not folder.exists()
        assert remove_leftovers(cache) == 0 and mine.exists() and others.exists()
    assert not mine.exists()


def test_a_shared_folder_goes_with_the_last_that_shares_it_and_where_all_were_killed(
    temporary: Path, cache: Path
) -> None:
    with share_temporary_folder(cache, "abcdefgh") as mine:
        with share_temporary_folder(cache, "abcdefgh") as same:
            assert same == mine and mine.stat().st_mode & 0o777 == 0o700
        assert mine.exists() and remove_leftovers(cache) == 0
    assert not mine.exists()
    mine.mkdir()  # as a killed job leaves it
    assert remove_leftovers(cache) == 1 and not mine.exists()


def test_what_a_killed_job_was_writing_into_the_cache_goes_after_a_day(temporary: Path, cache: Path) -> None:
    old, new = (cache / "networks" / f".{digit * 16}.tmp" for digit in "01")
    for path in (old, new):
        path.write_bytes(b"half a network")
    os.utime(old, (0, 0))
    assert remove_leftovers(cache) == 1
    assert new.exists() and not old.exists()


def test_a_full_disk_for_temporary_files_is_said_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(JobError, match=f"{tmp_path}: no space is left there for temporary files"),
        make_temporary_folder() as folder,
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "a"))
    assert not list(tmp_path.iterdir())
