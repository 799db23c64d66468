"""A budget is the driver's time, whatever the clock of the machine that asks."""

from __future__ import annotations

import time

import pytest
import ray

from deepfake.execution.deadline import Deadline

pytestmark = pytest.mark.usefixtures("ray_session")


@ray.remote(num_cpus=0)
class Elsewhere:
    """A process of a machine whose clocks are ahead."""

    def __init__(self, seconds: float) -> None:
        for name in ("time", "monotonic"):
            here = getattr(time, name)
            setattr(time, name, lambda here=here: here() + seconds)

    def asks(self, deadline: Deadline) -> bool:
        return deadline.has_passed()


@pytest.mark.parametrize("ahead", [7200.0, -7200.0])
def test_a_machine_whose_clock_is_hours_off_stops_when_the_driver_does(ahead: float) -> None:
    elsewhere = Elsewhere.remote(ahead)
    asked = [elsewhere.asks.remote(Deadline(seconds)) for seconds in (3600.0, 0.0)]
    assert ray.get(asked) == [False, True]
