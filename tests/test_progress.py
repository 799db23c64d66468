"""What a log says of long work, and of work that stands still."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from deepfake.progress import Progress, hide_lines, warn_if_slow


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)


def test_a_log_has_a_line_now_and_then_and_one_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("videos", 4, every_seconds=3600) as progress:
        for _ in range(4):
            progress.step(note="9 frames")
    assert [record.getMessage() for record in caplog.records] == ["videos 4/4 (100 %), 0 s left, 9 frames"]


def test_every_step_has_its_line_where_none_is_to_be_spared(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), Progress("crops", 3, every_seconds=0) as progress:
        progress.step()
        progress.step(2)
    assert [record.getMessage()[:9] for record in caplog.records] == ["crops 1/3", "crops 3/3"]


def test_work_that_stands_still_says_so_again_and_again(caplog: pytest.LogCaptureFixture) -> None:
    said = threading.Semaphore(0)

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.release()

    logger, handler = logging.getLogger("deepfake.progress"), Counting()
    logger.addHandler(handler)
    try:
        with warn_if_slow("waiting for a friend", 0.01):
            assert said.acquire(timeout=60) and said.acquire(timeout=60)
    finally:
        logger.removeHandler(handler)
    assert "s: waiting for a friend" in caplog.text


def test_work_that_goes_on_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    before = threading.active_count()
    with warn_if_slow("waiting", 3600):
        pass
    assert not caplog.records and threading.active_count() == before


def test_what_a_library_says_of_itself_is_kept_off_the_error_output_and_all_else_is_not(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with hide_lines(b"on by default", b"greetings"):
        os.write(2, b"a library's greetings\nan error\nan option is on by default\na warning\n")
    assert capfd.readouterr().err == "an error\na warning\n"
