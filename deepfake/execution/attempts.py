"""Which video of a unit was under way whenever a worker died of it.

A worker that is killed, by the kernel or by Ray's memory monitor, leaves no word, and Ray gives its unit to
another: for ever, where a video is the reason. So each worker tells Ray's head what it begins, and whoever
takes the unit over reads there what its predecessors died of.
"""

from __future__ import annotations

import json
from collections import Counter

import ray

from deepfake.execution import ray_compat

MOST_DEATHS = 3  # of workers, at one unit, before the video that they died at is left out
_UNIT = ""  # what the first worker tells that it is at: to tell of each video costs a millisecond

LEFT_OUT = (
    f"{MOST_DEATHS} workers died at this video (killed, as a system does that runs out of memory); "
    "it was left out"
)


class Attempt:
    """One worker's attempt at a unit; use as a context manager. Without Ray there is nobody to tell."""

    def __init__(self, unit_id: str) -> None:
        self._key = f"attempt/{unit_id}"
        self._told = ray.is_initialized()
        self._deaths: Counter[str] = Counter()

    def __enter__(self) -> Attempt:
        data = ray_compat.get_value(self._key) if self._told else None
        if data is not None:
            before = json.loads(data)
            self._deaths.update(before["deaths"])
            # A machine that went with the worker, such as a spot machine, says nothing about the video.
            if any(node["NodeID"] == before["node"] and node["Alive"] for node in ray.nodes()):
                self._deaths[before["at"]] += 1
        self._tell(_UNIT)
        return self

    def __exit__(self, *_: object) -> None:
        if self._told:
            ray_compat.delete_value(self._key)

    def begin(self, video_id: str) -> bool:
        """Tell that a video begins; False where workers died of it: then it is to be left out."""
        if not self._deaths:
            return True
        # The first death was not told of which video. Where all are at what comes after the videos, such as
        # their scores, which of them is to blame is not known.
        if self._deaths[video_id] >= MOST_DEATHS - 1 or self._deaths[_UNIT] > MOST_DEATHS:
            return False
        self._tell(video_id)
        return True

    def rest(self) -> None:
        """Tell that all videos are done, and what is left concerns the unit."""
        if self._deaths:
            self._tell(_UNIT)

    def _tell(self, at: str) -> None:
        if self._told:
            here = ray.get_runtime_context().get_node_id()
            state = {"at": at, "deaths": self._deaths, "node": here}
            ray_compat.put_value(self._key, json.dumps(state).encode())
