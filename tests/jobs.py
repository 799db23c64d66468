"""A job that is read line by line while it runs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests import running


class Job:
    """A running job whose lines can be waited for."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.process = subprocess.Popen(
            words, env=running.environment(), cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self.process.stdout is not None
        self._lines: Iterator[str] = iter(self.process.stdout)
        self.printed = ""

    def wait_for(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """The next line that matches."""
        for line in self._lines:
            self.printed += line
            if found := pattern.search(line):
                return found
        raise AssertionError(f"{pattern.pattern} never came:\n{self.printed}")

    def pause(self, seconds: float) -> None:
        """Let it run on for a while."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=seconds)

    def finish(self) -> int:
        """The exit status, after reading what is left."""
        for line in self._lines:
            self.printed += line
        return self.process.wait(timeout=running.HANGS_SECONDS)
