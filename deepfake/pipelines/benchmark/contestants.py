"""Everything that is measured: what it is called, and one pass of it over some clips."""

import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, TypeVar

from deepfake.config import (
    BenchmarkJobConfig,
    CatalogConfig,
    CropJobConfig,
    DetectorConfig,
    PreprocessJobConfig,
)
from deepfake.crops.extraction import ExtractConfig
from deepfake.errors import JobError
from deepfake.execution import nodes
from deepfake.io.tables import FAILURES, Status
from deepfake.pipelines.benchmark import baselines, results
from deepfake.pipelines.benchmark.baselines import Tally
from deepfake.pipelines.benchmark.clips import LocalClip, write_manifest
from deepfake.pipelines.benchmark.results import Measurement
from deepfake.pipelines.benchmark.stages import decode_clip, extract_clip
from deepfake.pipelines.preprocess import pipeline

Result = TypeVar("Result")
Sample = tuple[float, Tally]  # seconds, and what came out


@dataclass(frozen=True)
class Contestant:
    """Something to measure; one pass over the clips may give the time of several stages."""

    measured: tuple[Measurement, ...]
    run: Callable[[Sequence[LocalClip]], tuple[Sample, ...]]


@dataclass(frozen=True)
class Bench:
    """What every measurement needs."""

    config: BenchmarkJobConfig
    processes: ProcessPoolExecutor
    workers: int
    folder: Path


def list_contestants(bench: Bench, detectors: Sequence[DetectorConfig]) -> list[Contestant]:
    """Everything that is measured, in the order of each run."""
    workers, result = bench.workers, []

    def add(run: Callable[..., Any], *measured: Measurement, **options: Any) -> None:
        result.append(Contestant(measured, functools.partial(run, bench, **options)))

    naive = "OpenCV reads every frame, Haar at full size, PNG files"
    add(_measure_naive, Measurement("naive", naive, workers, True), threads=True)
    unthreaded = Measurement(results.UNTHREADED, "the same with OpenCV's own threads off", workers, True)
    add(_measure_naive, unthreaded, threads=False)
    add(_measure_floor, Measurement("floor", "the reference frames decoded, nothing else", workers, True))
    if workers > 1:  # what more processes bring on this machine
        alone = Measurement(results.FLOOR_ALONE, "the same, one clip after another", 1, True)
        add(_measure_floor, alone, alone=True)
    add(_measure_decode, Measurement("decode", "the sampled frames decoded, not converted", 1, False))
    for detector in detectors:
        detect = Measurement(f"detect_{detector.name}", "sampled frames searched", 1, False)
        crop = Measurement(f"crop_{detector.name}", "faces cut, resized, encoded", 1, False)
        add(_measure_stages, detect, crop, detector=detector)
    cpus = int(nodes.sum_resource("CPU"))
    for detector in detectors:
        for count in sorted({workers, *(n for n in (1, 2) if n <= cpus)}, reverse=True):
            name = results.name_job(detector.name, count, workers)
            job = Measurement(name, "the whole preprocess job, Parquet written", count, True)
            add(_measure_job, job, detector=detector, workers=count)
    return result


def warm_up(bench: Bench, clips: Sequence[LocalClip]) -> None:
    """Have files and processes warm; a pool starts a process for each call that finds none idle."""
    _measure_floor(bench, list(islice(cycle(clips), max(len(clips), bench.workers))))


def _measure_naive(bench: Bench, clips: Sequence[LocalClip], threads: bool) -> tuple[Sample, ...]:
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        calls = [(clip.path, folder, bench.config, threads) for clip in clips]
        return _measure_calls(bench, baselines.run_naive_loop, calls)


def _measure_floor(bench: Bench, clips: Sequence[LocalClip], alone: bool = False) -> tuple[Sample, ...]:
    calls = [(clip.path, bench.config.sampling.every_n) for clip in clips]
    return _measure_calls(bench, baselines.decode_reference_frames, calls, alone)


def _measure_decode(bench: Bench, clips: Sequence[LocalClip]) -> tuple[Sample, ...]:
    calls = [(clip.path, bench.config.sampling) for clip in clips]
    return _measure_calls(bench, decode_clip, calls, alone=True)


def _measure_stages(bench: Bench, clips: Sequence[LocalClip], detector: DetectorConfig) -> tuple[Sample, ...]:
    extract = ExtractConfig(bench.config.sampling, detector, bench.config.crop)
    calls = [(clip.path, extract, bench.config.storage) for clip in clips]
    tallies, detect, crop = zip(*call_each(bench.processes, extract_clip, calls, alone=True), strict=True)
    tally = sum(tallies, Tally())
    return (sum(detect), tally), (sum(crop), tally)


def call_each(
    processes: ProcessPoolExecutor,
    function: Callable[..., Result],
    calls: Sequence[tuple[Any, ...]],
    alone: bool = False,
) -> list[Result]:
    """``function(*call)`` of every call, in their order, in the processes; ``alone``: one after another."""
    try:
        if alone:
            return [processes.submit(function, *call).result() for call in calls]
        return list(processes.map(function, *zip(*calls, strict=True)))
    except BrokenProcessPool:
        raise JobError(f"a process ended in {function.__name__}; its own words are above") from None


def _measure_calls(
    bench: Bench, function: Callable[..., Tally], calls: Sequence[tuple[Any, ...]], alone: bool = False
) -> tuple[Sample, ...]:
    started = time.perf_counter()
    tallies = call_each(bench.processes, function, calls, alone)
    return ((time.perf_counter() - started, sum(tallies, Tally())),)


def _measure_job(
    bench: Bench, clips: Sequence[LocalClip], detector: DetectorConfig, workers: int
) -> tuple[Sample, ...]:
    """From a manifest to finished Parquet files, contact sheets included; Ray and its workers are running."""
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        own = {name: getattr(bench.config, name) for name in CropJobConfig.model_fields}
        config = PreprocessJobConfig(
            **own
            | {
                "input": write_manifest(clips, Path(folder) / "clips.csv"),
                "output": f"{folder}/crops",
                "limit": None,
                "catalog": CatalogConfig(layout="manifest", dedupe=False),
                "detector": detector,
                "ray": bench.config.ray.model_copy(update={"workers": workers}),
            }
        )
        started = time.perf_counter()
        summary = pipeline.run(config).summary
        seconds = time.perf_counter() - started - summary["starting_seconds"]
    statuses = summary["by_status"]
    if wrong := {name: statuses[name] for name in (*FAILURES, Status.SKIPPED_DUPLICATE) if name in statuses}:
        raise JobError(f"the preprocess job left out some of the clips, so nothing can be compared: {wrong}")
    return ((seconds, Tally(summary["frames_sampled"], summary["faces"])),)
