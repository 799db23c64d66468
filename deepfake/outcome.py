"""What every job returns, and on what a thread of work spends its time."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

IDLE = "idle"
ACCOUNTING = "accounting"  # key of a job's summary


class StageClock:
    """Seconds of one thread of work by stage, which together are all since it began; and what it counted.

    It is in one stage at a time, ``idle`` at first.
    """

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)  # but for the stage at hand
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._stage, self._since = IDLE, time.monotonic()

    def enter(self, stage: str) -> str:
        """Be in another stage from now on; the one that this ends."""
        now = time.monotonic()
        self._seconds[self._stage] += now - self._since
        before, self._stage, self._since = self._stage, stage, now
        return before

    @contextmanager
    def on(self, stage: str) -> Iterator[None]:
        """Be in a stage while the block runs, then in the one before again."""
        before = self.enter(stage)
        try:
            yield
        finally:
            self.enter(before)

    def divide(self, parts: Mapping[str, float], most: float) -> None:
        """Take what another process spent, by stage, from the stage at hand, in which it was waited for.

        No more than ``most`` seconds, those of the wait: what the other process says may be false.
        """
        share = min(1.0, most / max(sum(parts.values()), 1e-9))
        for stage, seconds in parts.items():
            self._seconds[stage] += seconds * share
            self._seconds[self._stage] -= seconds * share

    def count(self, **amounts: float) -> None:
        """Count what was done, such as ``videos``, ``crops`` and ``bytes_read``."""
        for name, amount in amounts.items():
            self._counts[name] += amount

    def read(self, *stages: str) -> float:
        """Seconds of some stages so far."""
        found = self.copy_seconds()
        return sum(found.get(stage, 0.0) for stage in stages)

    def copy_seconds(self) -> dict[str, float]:
        """Seconds by stage so far."""
        self.enter(self._stage)
        return dict(self._seconds)

    def take(self) -> tuple[dict[str, float], dict[str, float]]:
        """Seconds by stage, and counts, since this was asked last; the stage at hand goes on."""
        taken = self.copy_seconds(), dict(self._counts)
        self._seconds.clear()
        self._counts.clear()
        return taken


_thread = threading.local()


def get_clock() -> StageClock:
    """The clock of this thread."""
    clock: StageClock | None = getattr(_thread, "clock", None)
    return start_clock() if clock is None else clock


def start_clock(clock: StageClock | None = None) -> StageClock:
    """Give this thread another clock; by default a new one."""
    _thread.clock = clock = clock or StageClock()
    return clock


@contextmanager
def use_clock(clock: StageClock) -> Iterator[None]:
    """Give this thread another clock while the block runs. The one before goes on meanwhile."""
    before = get_clock()
    start_clock(clock)
    try:
        yield
    finally:
        start_clock(before)


@dataclass(frozen=True)
class Outcome:
    """What a job did, for its last lines and ``_summary.json``."""

    summary: dict[str, Any] = field(default_factory=dict)
    failed_share: float = 0.0
    look_at: Sequence[str] = ()  # URIs worth opening
    problem: str | None = None  # why the exit status is 1 although the job did its work
    table: str = ""  # shown above the summary


def describe_accounting(accounting: Mapping[str, Any], most: int = 6) -> dict[str, str]:
    """The lines of a job's summary that say what its time went into; few, in words."""
    lines = {}
    for who in ("job", "worker", "loader"):
        seconds = accounting.get(f"{who}_seconds", {})
        total = sum(seconds.values())
        shares = [(stage, spent / total) for stage, spent in seconds.items() if spent > total / 200]
        if shares:
            lines[f"{who}'s time"] = ", ".join(f"{stage} {share:.0%}" for stage, share in shares[:most])
    for name in ("videos", "crops"):
        if (rate := accounting.get(f"{name}_per_core_hour")) is not None:
            lines[f"{name} a core-hour"] = f"{rate:,}"
    for name in ("cost", "cost_of_1000_hours_of_video"):
        if name in accounting:
            lines[name.replace("_", " ")] = f"{accounting[name]:,.4g}"
    return lines
