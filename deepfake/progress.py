"""What a job shows of its progress: a bar, a line now and then, warnings. What libraries add is kept off."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from tqdm import tqdm

log = logging.getLogger(__name__)


class Progress:
    """Counts units of work; use as a context manager and call ``step`` as they finish."""

    def __init__(self, what: str, total: int, before: int = 0, every_seconds: float = 10.0) -> None:
        """``before``: units that were done before."""
        self.what, self.total, self.every_seconds = what, total, every_seconds
        self.done = self._before = before
        self._bar = (
            tqdm(total=total, initial=before, desc=what, unit="", smoothing=0.1)
            if sys.stderr.isatty() else None
        )  # fmt: skip
        self._started = self._last = time.monotonic()

    def step(self, units: int = 1, note: str = "") -> None:
        """``units`` more are done; ``note`` is shown beside the count."""
        self.done += units
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(units)
            return
        now = time.monotonic()
        if now - self._last >= self.every_seconds or self.done == self.total:
            self._last = now
            elapsed = now - self._started
            remaining = elapsed / max(self.done - self._before, 1) * (self.total - self.done)
            log.info(
                "%s %d/%d (%.0f %%), %.0f s left%s",
                self.what, self.done, self.total, 100 * self.done / max(self.total, 1), remaining,
                f", {note}" if note else "",
            )  # fmt: skip

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()


@contextmanager
def warn_if_slow(words: str, seconds: float) -> Iterator[None]:
    """Warn, from another thread, where the block takes longer than so many seconds, and again each time."""
    started = time.monotonic()
    with repeat(seconds, lambda: log.warning("for %.0f s: %s", time.monotonic() - started, words)):
        yield


@contextmanager
def repeat(seconds: float, action: Callable[[], Any], share: float = 1.0) -> Iterator[None]:
    """Do something every so many seconds, in another thread, while the block runs; not at its start.

    Where it takes more than this ``share`` of the time, it is done less often.
    """
    over = threading.Event()

    def watch() -> None:
        pause = seconds
        while not over.wait(pause):
            began = time.monotonic()
            action()
            pause = max(seconds, (time.monotonic() - began) * (1 / share - 1))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@contextmanager
def hide_lines(*words: bytes) -> Iterator[None]:
    """Keep lines with any of these words off the error output, whatever of this process writes them.

    Libraries' compiled parts write there too. All other lines of the block come at its end.
    """
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(screen, 2)
            os.close(screen)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not any(one in line for one in words)))
