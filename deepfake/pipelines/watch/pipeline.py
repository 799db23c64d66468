"""Watch a source as it plays: child -> newest frame and its faces -> scores -> a line, and a drawn frame.

A process of its own decodes and finds faces (``crops.watching``). While this one scores a frame, that one
already looks at the next. No frame waits in a queue: what comes too fast is dropped, and counted.
"""

import json
import logging
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig, ScoringConfig, WatchJobConfig
from deepfake.config.base import hide_secrets
from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.pictures import read_picture
from deepfake.crops.sandbox import IsolatedExtractor
from deepfake.errors import JobError, Stopped, UsageError
from deepfake.faces.detectors.factory import forget_absent_model, resolve_detector
from deepfake.io import lock
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.io.uri import make_absolute, split_uri
from deepfake.model import inference
from deepfake.model.bundle import Bundle
from deepfake.model.verdicts import choose_verdict_rule
from deepfake.outcome import Outcome
from deepfake.pipelines.watch.drawing import draw_faces
from deepfake.pipelines.watch.judging import FaceJudge, JudgedFace
from deepfake.training.joint_validation import load_bundles
from deepfake.video.live import is_live
from deepfake.video.writer import VideoWriter

log = logging.getLogger(__name__)

LINES, VIDEO = "frames.jsonl", "annotated.mp4"
TOLD_EVERY = 5.0  # seconds between two lines of the log

Rows = list[dict[str, Any]]


def run(config: WatchJobConfig) -> Outcome:
    """Do the whole job, to the source's end or Ctrl-C.

    Raises ``UsageError`` where the bundle or the output is wrong, ``JobError`` where nothing can be watched.
    """
    storage = Storage(config.storage)
    bundle = load_bundles(config.bundle, storage)
    rule = choose_verdict_rule(bundle, ScoringConfig.model_validate(config.scoring.model_dump()))
    source = config.input if is_live(config.input) else make_absolute(config.input)
    folder = find_folder(config.output)
    extraction = choose_extraction(bundle, config.detector, storage)
    plan = {
        "watched": hide_secrets(source),
        "bundle": bundle.uri,
        "bundle_sha256": bundle.sha256,
        "detector": extraction.detector.name,
        "output": str(folder),
    }
    if config.dry_run:
        return Outcome(plan)
    folder.mkdir(parents=True, exist_ok=True)
    if rule.unproven:
        log.warning("%s: no face gets a verdict: %s", bundle.uri, rule.unproven)
    network = inference.prepare_network(bundle, storage, config.scoring.runtime, flip=config.scoring.flip)
    scorer = network.start_scorer()
    scorer.score(np.zeros((1, bundle.crop_size, bundle.crop_size, 3), np.uint8))
    judge = FaceJudge(scorer, rule, config.scoring, config.watch.window_seconds)
    with lock.hold(str(folder), storage), ExitStack() as stack:
        lines = stack.enter_context(open(folder / LINES, "w", encoding="utf-8"))
        video = stack.enter_context(VideoWriter(folder / VIDEO)) if config.watch.video_side else None
        sitting = Sitting(judge, lines, video, "not proven" if rule.unproven else rule.name)
        extractor = IsolatedExtractor(extraction, storage)
        log.info("watching %s; Ctrl-C ends it", hide_secrets(source))
        try:
            with closing(play(source, extractor, config)) as frames:
                for rows in frames:
                    sitting.add(rows)
        except Stopped as stop:
            log.info("%s", stop)
    if not sitting.frames:
        raise JobError(f"{hide_secrets(source)}: not a frame came; nothing was watched")
    unproven = {"unproven": rule.unproven} if rule.unproven else {}
    look_at = [str(folder / name) for name in (LINES, *([VIDEO] if video else []))]
    return Outcome({**plan, **sitting.summarize(), **unproven}, look_at=look_at)


def find_folder(output: str) -> Path:
    """The local folder that is written; ``UsageError`` where it has the lines of another source."""
    scheme, path = split_uri(output)
    if scheme != "file":
        raise UsageError(f"--output {output}: a video is written as it plays, to a local folder")
    folder = Path(path)
    if (folder / LINES).exists() and (folder / LINES).stat().st_size:
        raise UsageError(f"--output {output}: has the lines of an earlier source; name another folder")
    return folder


def choose_extraction(bundle: Bundle, wanted: DetectorConfig | None, storage: Storage) -> ExtractConfig:
    """Faces as the bundle was trained with, unless told; three of a frame where the largest is kept."""
    trained = bundle.info
    detector = wanted or forget_absent_model(trained.detector or DetectorConfig(), storage)
    detector = resolve_detector(detector.model_copy(update={"boxes": "own"}), storage, trained.detector)
    crop = trained.crop or CropConfig(size=bundle.crop_size)
    return ExtractConfig(SamplingConfig(), detector, crop, crops_kept=False)


def play(source: str, extractor: IsolatedExtractor, config: WatchJobConfig) -> Generator[Rows, None, None]:
    """The rows of each frame that is looked at; the next is on its way while the caller works on one."""
    watch = config.watch
    entry: Mapping[str, Any] = {"video_id": "watched", "uri": source}
    asked = {"paced": not watch.every_frame, "patience": watch.patience_seconds, "side": watch.video_side}
    began = time.monotonic()
    with ThreadPoolExecutor(1) as beside, ExitStack() as stack:
        stack.callback(extractor.stop)  # before the thread is waited for
        coming = beside.submit(extractor.watch, entry, asked)
        while True:
            found = coming.result()
            if found.video["status"] != Status.OK:
                raise JobError(f"{hide_secrets(source)}: {found.video['status_detail']}")
            rows = found.rows
            if not rows or (watch.max_seconds and time.monotonic() - began > watch.max_seconds):
                return
            coming = beside.submit(extractor.watch, entry, asked)
            yield rows


class Sitting:
    """What is written of a source, and counted."""

    def __init__(self, judge: FaceJudge, lines: TextIO, video: VideoWriter | None, rule: str) -> None:
        self._judge, self._lines, self._video = judge, lines, video
        self._waits: list[float] = []  # seconds from when a frame was due to its line
        self._dropped = self._with_face = 0
        self._began = self._told = self._last = 0.0  # of the monotonic clock
        self.rule = rule

    @property
    def frames(self) -> int:
        """How many were looked at."""
        return len(self._waits)

    def add(self, rows: Rows) -> None:
        """Judge a frame, and write its line and its picture."""
        first = rows[0]
        if not self._waits:
            self._began = self._told = first["due"]
        faces = self._judge.judge(rows)
        self._dropped = first["dropped"]
        self._with_face += bool(faces)
        self._last = time.monotonic()
        wait = self._last - first["due"]
        self._waits.append(wait)
        self._lines.write(json.dumps(make_line(first, faces, wait)) + "\n")
        self._lines.flush()
        if self._video is not None and first["rgb"] is not None:
            footer = f"{first['time_s']:.1f} s  {self._dropped} dropped"
            picture = draw_faces(read_picture(first), faces, first["frame_width"], footer)
            self._video.write(picture, first["time_s"])
        if self._last - self._told >= TOLD_EVERY:
            self._told = self._last
            log.info("%s", self._describe(first["time_s"], faces))

    def _describe(self, time_s: float, faces: list[JudgedFace]) -> str:
        people = [f"face {face.track} {face.running:.2f} {face.verdict or ''}".strip() for face in faces]
        return (
            f"{time_s:.0f} s: {', '.join(people) or 'no face'}; {self._rate:.1f} frames a second, "
            f"{self._dropped} dropped, {1000 * self._waits[-1]:.0f} ms behind"
        )

    @property
    def _rate(self) -> float:
        """Frames a second, up to the last line."""
        return self.frames / (self._last - self._began)

    def summarize(self) -> dict[str, Any]:
        """Numbers of the whole sitting."""
        middle, most = np.percentile(self._waits, [50, 95])
        return {
            "frames": self.frames,
            "frames_with_face": self._with_face,
            "frames_dropped": self._dropped,
            "frames_a_second": round(self._rate, 1),
            "latency_ms": {"median": round(1000 * middle), "95_percent": round(1000 * most)},
            "operating_point": self.rule,
        }


def make_line(first: Mapping[str, Any], faces: list[JudgedFace], wait: float) -> dict[str, Any]:
    """A frame's line: its number and time, how far behind it is, and its faces."""
    return {
        "frame_index": first["frame_index"],
        "time_s": first["time_s"],
        "latency_s": round(wait, 4),
        "dropped": first["dropped"],
        "faces": [
            {
                "track_id": face.track,
                "box": [round(value, 1) for value in face.box],
                "score": face.score,
                "running_score": face.running,
                "faces": face.faces,
                "verdict": face.verdict,
            }
            for face in faces
        ],
    }
