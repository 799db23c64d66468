"""What forks cost the cutting of crops: processor time with a fork for each video, and with fewer.

``python -m tests.benchmarks.fork_cost FOLDER [ROUNDS] [VIDEOS_A_FORK ...]`` cuts the crops of each video in a
folder by each number in turn (``rule``: as jobs do), so that whatever else disturbs the machine disturbs all
alike, and compares each with the last number. Counted is the time of the sandbox's processes. OPTIONS of
``preprocess`` go in the environment's ``PREPROCESS``. The rule goes by a clock on the wall: on a machine with
other work to do it forks more often.
"""

from __future__ import annotations

import os
import shlex
import statistics
import sys

from deepfake.catalog.load import load_catalog
from deepfake.config import PreprocessJobConfig
from deepfake.config.parse import load_config
from deepfake.crops import sandbox
from deepfake.crops.extraction import ExtractConfig
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from tests.processes import descendants

NUMBERS = ("1", "rule", "100000")
TICKS = os.sysconf("SC_CLK_TCK")
keep_rule = sandbox.has_served


class Forking(sandbox.IsolatedExtractor):
    """Counts what its processes take."""

    number: str

    def measure(self) -> float:
        """Seconds of processor time of the server, of the forks that have ended, and of the one there is."""
        assert self._server is not None
        return sum(map(read_seconds, (self._server.pid, *descendants(self._server.pid))))


def read_seconds(pid: int) -> float:
    """Of a process, and of its children that have ended."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return sum(map(int, file.read().rpartition(b")")[2].split()[11:15])) / TICKS


def main(folder: str, rounds: int, numbers: tuple[str, ...]) -> None:
    """A round has each video once by each number, in an order that turns."""
    words = ["--input", folder, "--output", "unused", *shlex.split(os.environ.get("PREPROCESS", ""))]
    config = load_config(PreprocessJobConfig, words)
    storage = Storage(config.storage)
    catalog = load_catalog(folder, config.catalog, storage).to_pylist()
    extractors = []
    for number in numbers:
        one = Forking(ExtractConfig(config.sampling, config.detector, config.crop), storage)
        one.number = number
        one.start()
        extractors.append(one)
    shares: dict[str, list[float]] = {number: [] for number in numbers}
    for _ in range(rounds):
        before = [one.measure() for one in extractors]
        for turn, entry in enumerate(catalog):
            at = turn % len(extractors)
            for one in (*extractors[at:], *extractors[:at]):
                most = 0 if one.number == "rule" else int(one.number)
                sandbox.has_served = (lambda uri, files, seconds: files >= most) if most else keep_rule  # noqa: B023
                assert one.extract(entry).video["status"] == Status.OK, entry["video_id"]
        used = [one.measure() - start for one, start in zip(extractors, before, strict=True)]
        for number, seconds in zip(numbers, used, strict=True):
            shares[number].append(100 * (seconds / used[-1] - 1))
        print(", ".join(f"{n}: {s:.2f} s" for n, s in zip(numbers, used, strict=True)), flush=True)
    for number, found in list(shares.items())[:-1]:
        print(f"{number} a fork: {statistics.median(found):+.1f} % ({min(found):.1f} to {max(found):.1f})")


if __name__ == "__main__":
    main(sys.argv[1], int((*sys.argv[2:], 7)[0]), tuple(sys.argv[3:]) or NUMBERS)
