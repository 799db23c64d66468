"""How fast the score job is beside loops that people write; says rates and ratios, asserts nothing.

python -m tests.benchmarks.scoring_rates --input CLIPS [--copies 3] [--runs 1] [--yunet FILE]
    [--backbone WEIGHTS.h5] [--skip naive]

The loops go through the clips once right before and once right after each run of the job, which goes through
``--copies`` of them, so that a machine whose speed drifts does so for all alike:

- bare: one process, one thread, no Ray, no isolation, nothing written: the project's own decoding, detection
  and crops, and the network on the same runtime, video after video. The job is measured against it times the
  number of workers.
- plain: the same loop, but it decodes every frame, as PyAV does unasked.
- naive: OpenCV reads every frame, Haar at full size on each n-th, Keras ``predict`` on each face alone, as
  many processes as there are workers.
- job: ``jobs/score.py``'s work from the plan to the joined tables, on an embedded Ray that runs for it alone.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np

from deepfake.catalog.media import is_footage
from deepfake.config import CropConfig, DetectorConfig, ModelConfig, SamplingConfig, ScoreJobConfig
from deepfake.faces.cropping import cut_face
from deepfake.faces.detectors.base import detect_faces
from deepfake.faces.detectors.factory import make_detector, resolve_detector
from deepfake.io.storage import Storage
from deepfake.model import inference, keras_runtime
from deepfake.model.bundle import Bundle
from deepfake.model.network import INPUT_SIZE, build_network
from deepfake.pipelines.score import pipeline
from deepfake.video.decoder import VideoFile
from deepfake.video.errors import VideoError
from deepfake.video.frame import Frame
from tests.small_bundle import save_bundle

EVERY_N = 30
ALONE, PLAIN, NAIVE = "bare, 1 process", "plain, 1 process", "naive"


def say(line: str) -> None:
    """One line at once, so that a slow step is seen."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def planned(clip: str) -> Iterator[Frame]:
    """The sampled frames, as the project decodes them."""
    with open(clip, "rb") as file, VideoFile(file, SamplingConfig(every_n=EVERY_N)) as source:
        yield from source.sample()


def every_frame(clip: str) -> Iterator[Frame]:
    """The sampled frames of all that PyAV decodes."""
    with av.open(clip) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for index, picture in enumerate(container.decode(stream)):
            if index % EVERY_N == 0:
                yield Frame(index, float(picture.time or 0.0), picture)


def bare(
    clips: list[str],
    network: inference.Network,
    detector: DetectorConfig,
    frames_of: Callable[[str], Iterator[Frame]] = planned,
) -> tuple[float, int]:
    """``(seconds, frames looked at)`` of the shortest loop that gives the same scores, on one thread."""
    cv2.setNumThreads(1)
    scorer = network.start_scorer(threads=1)
    searcher = make_detector(detector, Storage())
    crop = CropConfig()
    started, frames = time.perf_counter(), 0
    for clip in clips:
        faces = []
        try:
            for frame in frames_of(clip):
                frames += 1
                found = detect_faces(frame, searcher)
                if found:
                    largest = max(found, key=lambda face: face.area * face.score)
                    faces.append(cut_face(frame, largest, crop).crop)
        except (VideoError, av.error.FFmpegError):
            continue
        if faces:
            scorer.score(np.stack(faces))
    return time.perf_counter() - started, frames


def together(loop: Callable[..., tuple[float, int]], shares: list[list[str]], *rest: Any) -> float:
    """Frames a second of a loop in a process for each share of the clips, all at once."""
    with ProcessPoolExecutor(len(shares), mp_context=get_context("spawn")) as pool:
        made = list(pool.map(loop, shares, *([value] * len(shares) for value in rest)))
    return rate(max(seconds for seconds, _ in made), sum(frames for _, frames in made))


def rate(seconds: float, frames: int) -> float:
    """Frames a second."""
    return frames / seconds


def naive(clips: list[str], uri: str) -> tuple[float, int]:
    """``(seconds, frames looked at)`` of the loop that people write, with its defaults but one thread."""
    keras_runtime.start_keras(threads=1)
    cv2.setNumThreads(1)
    network = Bundle.load(uri).network
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    network.predict(np.zeros((1, INPUT_SIZE, INPUT_SIZE, 3), np.uint8), verbose=0)  # compiles
    started, frames = time.perf_counter(), 0
    for clip in clips:
        capture = cv2.VideoCapture(clip)
        index = 0
        while True:
            there, frame = capture.read()
            if not there:
                break
            if index % EVERY_N == 0:
                frames += 1
                boxes = cascade.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), 1.1, 5)
                if len(boxes):
                    x, y, w, h = max(boxes, key=lambda box: box[2] * box[3])
                    face = cv2.resize(frame[y : y + h, x : x + w], (INPUT_SIZE, INPUT_SIZE))[..., ::-1]
                    network.predict(face[None], verbose=0)
            index += 1
        capture.release()
    return time.perf_counter() - started, frames


def job(folder: str, uri: str, detector: DetectorConfig, workers: int) -> dict[str, Any]:
    """The job's summary. Its Ray is its own, so that none stands beside the other loops."""
    with tempfile.TemporaryDirectory() as output:
        config = ScoreJobConfig.model_validate(
            {
                "input": folder,
                "output": output,
                "bundle": uri,
                "detector": detector,
                "catalog": {"dedupe": False},
                "sampling": {"every_n": EVERY_N},
                "crop": {},
                "report": {"pages": 0},  # they come after what is timed
                "ray": {"workers": workers, "num_cpus": workers},
            }
        )
        return pipeline.run(config).summary


def make_bundle(folder: Path, backbone: str | None) -> str:
    """A bundle whose head is random; rates do not depend on what a network has learnt."""
    keras_runtime.start_keras(seed=0)
    network = build_network(ModelConfig(weights=backbone or "none"))
    save_bundle(str(folder), Storage(), network, threshold=0.5, threshold_rule="none")
    return str(folder)


def lay_out(clips: str, archive: Path, copies: int) -> list[str]:
    """The paths of so many copies of a folder's clips, each copy in a folder of its own."""
    for number in range(copies):
        for clip in sorted(path for path in Path(clips).rglob("*") if is_footage(path.name)):
            target = archive / str(number) / clip.relative_to(clips)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, target)
    return [str(path) for path in sorted(archive.rglob("*")) if path.is_file()]


def main() -> None:
    """Lay the clips out as often as asked for, and measure everything in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", required=True)
    parser.add_argument("--copies", type=int, default=3)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--yunet", default=None)
    parser.add_argument("--backbone", default=None)
    parser.add_argument("--skip", nargs="*", default=[], choices=["naive", "bare", "plain"])
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    workers = os.cpu_count() or 1
    named = DetectorConfig(name="yunet" if options.yunet else "haar", yunet_model=options.yunet)
    detector = resolve_detector(named, Storage())
    with tempfile.TemporaryDirectory() as made:
        archive = Path(made, "archive")
        clips = lay_out(options.input, archive, options.copies)
        uri = make_bundle(Path(made, "bundle"), options.backbone)
        network = inference.prepare_network(Bundle.load(uri), Storage())
        rates: dict[str, list[float]] = {}
        job(str(archive / "0"), uri, detector, workers)  # workers' first imports come from a cold disk
        few = [clip for clip in clips if Path(clip).is_relative_to(archive / "0")]
        at_once = f"bare, {workers} processes"

        def beside() -> Iterator[tuple[str, float]]:
            """The loops that the job is measured against, by name, and their frames a second."""
            if "bare" not in options.skip:
                yield ALONE, rate(*bare(few, network, detector))
                yield at_once, together(bare, [few] * workers, network, detector)
            if "plain" not in options.skip:
                yield PLAIN, rate(*bare(few, network, detector, every_frame))
            if "naive" not in options.skip:
                yield NAIVE, together(naive, [few] * workers, uri)

        for _ in range(options.runs):
            before = dict(beside())
            summary = job(str(archive), uri, detector, workers)
            rates.setdefault("job", []).append(summary["frames_per_second"])
            for name, after in beside():
                rates.setdefault(name, []).append((before[name] + after) / 2)
            say(f"job: {summary['videos_per_hour']} videos/h, {summary['by_status']}")
            say("; ".join(f"{name} {values[-1]:.2f}" for name, values in rates.items()) + " frames/s")
    say(f"{len(clips)} clips, {workers} workers, {network.made_with}, {detector.name}")
    for name, values in rates.items():
        say(f"{name:<20} {statistics.median(values):7.2f} frames/s   {[round(value, 2) for value in values]}")
    for name, base, times in (
        (f"job / (bare x {workers})", ALONE, workers),
        ("job / bare at once", at_once, 1),
        (f"job / (plain x {workers})", PLAIN, workers),
        ("job / naive", NAIVE, 1),
    ):
        if base in rates:
            say(compared(name, rates["job"], rates[base], times))


def compared(name: str, rates: list[float], base: list[float], times: int) -> str:
    """Rates as multiples of ``times`` those of a base: of the medians, and run by run.

    A machine whose speed drifts changes what is measured within a run alike, but each median by itself.
    """
    overall = statistics.median(rates) / statistics.median(base) / times
    each = [rate / other / times for rate, other in zip(rates, base, strict=True)]
    in_runs = ", ".join(f"{ratio:.2f}" for ratio in each)
    typical = statistics.median(each)
    return f"{name:<20} {overall:7.2f} of medians; {in_runs} in each run, median {typical:.2f}"


if __name__ == "__main__":
    main()
