"""How a process of a job ends."""

from __future__ import annotations

import atexit
import gc


def skip_final_gc() -> None:
    """Spare this process its last garbage collection: 0.4 s where Ray is imported, for what ends anyway.

    For programs and workers that are the project's own. Some libraries call it a leak (nanobind's).
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)  # what is frozen is not looked at
