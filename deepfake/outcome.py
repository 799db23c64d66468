"""What every job returns."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


class StageSeconds:
    """How long each stage of a job takes, one after the other, for its summary."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}  # ``<stage>_seconds``
        self._began = time.monotonic()

    def end(self, stage: str) -> None:
        """A stage is over, and the next begins."""
        now = time.monotonic()
        self.found[f"{stage}_seconds"] = round(now - self._began, 2)
        self._began = now


@dataclass(frozen=True)
class Outcome:
    """What a job did, for its last lines and ``_summary.json``."""

    summary: dict[str, Any] = field(default_factory=dict)
    failed_share: float = 0.0
    look_at: Sequence[str] = ()  # URIs worth opening
    problem: str | None = None  # why the exit status is 1 although the job did its work
    table: str = ""  # shown above the summary
