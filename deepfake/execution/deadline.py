"""When a job begins no more work: by the driver's clock, whichever machine asks."""

import time
from typing import Any

import ray

from deepfake.execution.nodes import stay_here


class Deadline:
    """The time so many seconds from now. Workers are given this object, and ask the driver's node.

    Clocks of two machines are hours apart where nobody has set them.
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._clock: Any = None  # there are no workers, and no other machine
        if ray.is_initialized():
            clock = ray.remote(_Clock).options(
                num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=stay_here()
            )
            self._clock = clock.remote()

    def has_passed(self) -> bool:
        """Whether it is too late to begin anything; a question of a millisecond."""
        now = time.monotonic() if self._clock is None else ray.get(self._clock.read.remote())
        return bool(now > self._until)


class _Clock:
    """Runs in a process of the driver's machine, where ``time.monotonic`` is the driver's."""

    def read(self) -> float:
        return time.monotonic()
