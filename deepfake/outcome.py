"""What every job returns."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a job did, for its last lines and ``_summary.json``."""

    summary: dict[str, Any] = field(default_factory=dict)
    failed_share: float = 0.0
    look_at: Sequence[str] = ()  # URIs worth opening
    problem: str | None = None  # why the exit status is 1 although the job did its work
    table: str = ""  # shown above the summary
