"""The benchmark job: everything on the same clips, in turn, several times; then medians and ratios.

In turn, because a machine is not equally fast all day: what is compared was measured side by side.
"""

import logging
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pyarrow as pa
import ray

from deepfake.catalog.load import load_catalog
from deepfake.config import BenchmarkJobConfig, DetectorConfig
from deepfake.errors import UsageError
from deepfake.execution import nodes, session
from deepfake.faces.detectors.factory import resolve_detector
from deepfake.io import lock
from deepfake.io.storage import Storage
from deepfake.io.temporary import make_temporary_folder
from deepfake.io.uri import join, make_absolute
from deepfake.outcome import Outcome
from deepfake.pipelines.benchmark import results
from deepfake.pipelines.benchmark.clips import LocalClip, copy_clips, repeat_clips, sort_longest_first
from deepfake.pipelines.benchmark.contestants import Bench, Contestant, list_contestants, warm_up
from deepfake.pipelines.benchmark.results import Measurement

log = logging.getLogger(__name__)


def run(config: BenchmarkJobConfig) -> Outcome:
    """Measure, and write ``benchmark.json``; raises ``UsageError`` where the input cannot be measured."""
    storage = Storage(config.storage)
    if config.sampling.policy != "every_n":
        raise UsageError("the naive loop takes each n-th frame, so sampling.policy must be every_n")
    detectors = choose_detectors(config.detector, storage)
    config = config.model_copy(update={"output": make_absolute(config.output), "detector": detectors[0]})
    listed = load_catalog(make_absolute(config.input), config.catalog, storage).slice(0, config.limit)
    if config.dry_run:
        return Outcome(_describe_plan(listed, config, detectors))
    with lock.hold(config.output, storage):
        return _run_benchmark(config, storage, listed, detectors)


def _run_benchmark(
    config: BenchmarkJobConfig, storage: Storage, listed: pa.Table, detectors: Sequence[DetectorConfig]
) -> Outcome:
    machine = results.describe_machine()
    with make_temporary_folder() as folder:
        clips, left_out = copy_clips(listed, folder, config.sampling, storage)
        if not clips:
            raise UsageError(
                f"{config.input}: none of its {listed.num_rows} files is a video to measure with"
            )
        with session.open_session(config.ray):
            require_one_machine()
            workers = config.ray.workers or max(1, int(nodes.sum_resource("CPU")))
            # Not forked: a copy of a process in which Ray's and FFmpeg's threads run may hang.
            with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as processes:
                bench = Bench(config, processes, workers, folder)
                contestants = select_contestants(list_contestants(bench, detectors), config.benchmark.only)
                warm_up(bench, sort_longest_first(clips))
                measured = measure_contestants(contestants, clips, config)
    names = [detector.name for detector in detectors]
    ratios = results.compute_ratios(measured, names[0], names, workers)
    doubts = list_doubts(machine["load_average"], measured)
    for doubt in doubts:
        log.warning("%s", doubt)
    setting = {
        "workers": workers,
        "runs": config.benchmark.runs,
        "copies": config.benchmark.copies,
        "detector": names[0],
    }
    report = {
        "machine": machine,
        **setting,
        "sampling": config.sampling.model_dump(mode="json"),
        "crop": config.crop.model_dump(mode="json"),
        "clips": [clip.describe() for clip in clips],
        "left_out": left_out,
        "measured": [one.describe() for one in measured.values()],
        "ratios": ratios,
        "warnings": doubts,
    }
    uri = join(config.output, "benchmark.json")
    storage.write_json(uri, report)
    summary = {
        "clips": len(clips),
        "left_out": len(left_out),
        **setting,
        "cores": machine["cores"],
        "cpu": machine["cpu"],
        "frames": next(iter(measured.values())).tally.frames,
        "ratios": {key: value for key, value in ratios.items() if value is not None},
        "warnings": "; ".join(doubts) or "none",
    }
    return Outcome(
        summary, len(left_out) / listed.num_rows, look_at=(uri,), table=results.format_table(measured)
    )


def require_one_machine() -> None:
    """Processes of this machine cannot be compared with the workers of several."""
    alive = sum(bool(node["Alive"]) for node in ray.nodes())
    if alive > 1:
        raise UsageError(f"the benchmark measures one machine; this Ray cluster has {alive} nodes")


def choose_detectors(config: DetectorConfig, storage: Storage) -> list[DetectorConfig]:
    """The configured detector; then Haar, and YuNet where its model is at hand, where they are others."""
    config = config.model_copy(update={"boxes": "own"})  # single clips have no originals beside them
    candidates = [resolve_detector(config, storage), config.model_copy(update={"name": "haar"})]
    if config.name == "haar":
        candidates.append(resolve_detector(config.model_copy(update={"name": "auto"}), storage))
    chosen: dict[str, DetectorConfig] = {}
    for candidate in candidates:
        chosen.setdefault(candidate.name, candidate)
    return list(chosen.values())


def select_contestants(contestants: Sequence[Contestant], only: Sequence[str]) -> list[Contestant]:
    """Those that measure something named in ``only``, or all; ``UsageError`` for a name of nothing."""
    names = [one.name for contestant in contestants for one in contestant.measured]
    if unknown := [name for name in only if name not in names]:
        raise UsageError(
            f"benchmark.only: nothing is called {', '.join(unknown)}; there are {', '.join(names)}"
        )
    return [one for one in contestants if not only or any(each.name in only for each in one.measured)]


def measure_contestants(
    contestants: Sequence[Contestant], clips: Sequence[LocalClip], config: BenchmarkJobConfig
) -> dict[str, Measurement]:
    """All contestants in turn, on the copies of the clips, run after run."""
    taken = sort_longest_first(repeat_clips(clips, config.benchmark.copies))
    for number in range(config.benchmark.runs):
        for contestant in contestants:
            for one, (seconds, tally) in zip(contestant.measured, contestant.run(taken), strict=True):
                one.seconds.append(seconds)
                one.tally = tally
                log.info("run %d of %d: %s %.2f s", number + 1, config.benchmark.runs, one.name, seconds)
    return {one.name: one for contestant in contestants for one in contestant.measured}


def list_doubts(load: float | None, measured: dict[str, Measurement]) -> list[str]:
    """What makes the numbers doubtful."""
    found = []
    if load is not None and load > results.QUIET_LOAD:
        found.append(f"the load average was {load} at the start: something else was running on this machine")
    frames = {one.tally.frames for one in measured.values()}
    if len(frames) > 1:
        each = ", ".join(f"{one.name} {one.tally.frames}" for one in measured.values())
        found.append(f"not everything looked at the same number of frames: {each}")
    return found


def _describe_plan(
    listed: pa.Table, config: BenchmarkJobConfig, detectors: Sequence[DetectorConfig]
) -> dict[str, Any]:
    """What a run would do, for ``--dry-run``."""
    return {
        "clips": listed.num_rows,
        "bytes": sum(size or 0 for size in listed["size_bytes"].to_pylist()),
        "copies": config.benchmark.copies,
        "runs": config.benchmark.runs,
        "detectors": ", ".join(detector.name for detector in detectors),
        "output": config.output,
    }
