"""How much a job may do before it stops of its own accord."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|d|videos?)?\s*")


@dataclass(frozen=True)
class Budget:
    """Hours or videos; what is None is not bounded."""

    seconds: float | None = None
    videos: int | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``2h``, ``90m``, ``1.5 h``, ``500 videos``; raises ``ValueError`` for anything else."""
        match = _FORM.fullmatch(text)
        unit = match[2] if match else None
        if match is None or unit is None or float(match[1]) <= 0:
            raise ValueError(f"expected hours or videos, as in 2h, 90m or '500 videos' (got {text!r})")
        if unit in _SECONDS:
            return cls(seconds=float(match[1]) * _SECONDS[unit])
        if not match[1].isdecimal():
            raise ValueError(f"expected a whole number of videos (got {text!r})")
        return cls(videos=int(match[1]))
