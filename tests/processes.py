"""Processes of this machine, and waiting for what they do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

HANGS_SECONDS = 900  # several times what the longest job takes on a machine that is busy with others
PAUSE_SECONDS = 0.02


def wait_until(condition: Callable[[], object], seconds: float = HANGS_SECONDS) -> None:
    """Return as soon as the condition holds; ``TimeoutError`` where it does not in so many seconds."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {seconds:g} seconds for {condition.__qualname__}")
        time.sleep(PAUSE_SECONDS)


def descendants(pid: int) -> list[int]:
    """Ids of the processes that a process started, and those of theirs."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, frontier = [], {pid}
    while frontier := {child for child, parent in parents.items() if parent in frontier}:
        found += sorted(frontier)
    return found
