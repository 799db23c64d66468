"""When a job begins no more work: by the driver's clock, whichever machine asks."""

import time
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class Deadline:
    """So many seconds from now. Workers are given this object, and ask the driver's node.

    Clocks of two machines are hours apart where nobody has set them.
    """

    def __init__(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self._clock: Any = None
        if not ray.is_initialized():  # no workers, no other machine
            self._own = _Clock(until)
            return
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        clock = ray.remote(_Clock).options(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here
        )
        self._clock = clock.remote(until)

    def has_passed(self) -> bool:
        """Whether it is too late to begin anything; a question of a millisecond."""
        if self._clock is None:
            return self._own.has_passed()
        return bool(ray.get(self._clock.has_passed.remote()))


class _Clock:
    """Runs in a process of the driver's machine, where ``time.monotonic`` is the driver's."""

    def __init__(self, until: float) -> None:
        self._until = until

    def has_passed(self) -> bool:
        return time.monotonic() > self._until
