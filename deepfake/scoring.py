"""Score a whole archive with Ray Data: catalog -> units of work -> crops -> scores -> tables and page.

This page only chains the stages. On CPUs each worker cuts a unit's faces and scores them in turn; with
GPUs, CPU tasks cut and GPU actors score, streaming into each other.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.csv
import ray.data

from deepfake import engine, keras_runtime, tables, todo, units
from deepfake.bundle import Bundle
from deepfake.config import (
    CropConfig,
    DetectorConfig,
    ScoreJobConfig,
    ScoringConfig,
    config_sha256,
    sha256_of,
)
from deepfake.extract import ExtractConfig
from deepfake.faces.detector import resolve
from deepfake.report import scores as page
from deepfake.score_rows import score_tables
from deepfake.staging import Output
from deepfake.storage import Storage, absolute, join
from deepfake.work import Unit

log = logging.getLogger(__name__)

FOLDERS = {
    "videos": "",
    "video_scores": "video_scores",
    "track_scores": "track_scores",
    "face_scores": "face_scores",
    "evidence": "evidence",
}


def run(config: ScoreJobConfig) -> tuple[dict[str, Any], list[str]]:
    """Do the whole job; the numbers for its summary, and what to look at.

    Raises ``UsageError`` where the input, the bundle or the output folder is wrong.
    """
    started = time.monotonic()
    storage = Storage(config.storage)
    bundle = Bundle.load(absolute(config.bundle), storage)
    config = resolved(config, bundle, storage)
    output = Output(config.output, storage, config_sha256(config), FOLDERS)
    identity = sha256_of([output.config_sha256, bundle.sha256])
    listed = todo.listed(config, output)
    if config.dry_run:
        return todo.planned(listed, config, output, identity), []
    sections = config.model_dump(mode="json", include=set(config.row_sections))
    output.claim({"input": config.input, "bundle": config.bundle, "bundle_sha256": bundle.sha256, **sections})
    with engine.session(config.ray):
        working = time.monotonic()
        work = todo.choose(listed, config, output, identity)
        make_scores(work.units, config, output)
        finish(work, output, bundle)
        seconds = time.monotonic() - working
    videos = output.read_all("video_scores")
    look_at = write_for_people(videos, config, output, bundle)
    return summary(videos, config, bundle, seconds, time.monotonic() - started), look_at


def resolved(config: ScoreJobConfig, bundle: Bundle, storage: Storage) -> ScoreJobConfig:
    """The configuration with the bundle's detector and crops in force, and absolute URIs."""
    detector = config.detector or bundle.detector or DetectorConfig()
    crop = config.crop or bundle.crop or CropConfig()
    detector = resolve(detector.model_copy(update={"boxes": "own"}), storage)
    for name, mine, trained in (("detector", detector, bundle.detector), ("crop", crop, bundle.crop)):
        kept = {"yunet_model", "boxes"}
        if trained is not None and mine.model_dump(exclude=kept) != trained.model_dump(exclude=kept):
            log.warning(
                "the %s section differs from the one that the bundle was trained with; "
                "its threshold may not hold",
                name,
            )
    return config.model_copy(
        update={
            "input": absolute(config.input),
            "output": absolute(config.output),
            "bundle": absolute(config.bundle),
            "detector": detector,
            "crop": crop,
        }
    )


def make_scores(plan: list[Unit], config: ScoreJobConfig, output: Output) -> None:
    """Work through the units that are not complete yet; each leaves its tables in the output."""
    waiting = units.waiting(plan, output)
    if not waiting:
        return
    total = sum(unit.rows.num_rows for unit in waiting)
    log.info("%d videos to do in %d units", total, len(waiting))
    workers = min(engine.workers(config.ray), len(waiting))
    assert config.detector is not None and config.crop is not None  # resolved
    stages = {
        "config": ExtractConfig(config.sampling, config.detector, config.crop),
        "storage": output.storage,
        "config_sha256": output.config_sha256,
    }
    blocks = units.blocks(waiting)
    common: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow"}
    scorer = {"job": config, "output": output}
    if config.scoring.use_gpu:
        gpus = max(1, int(engine.total("GPU")))
        results = blocks.map_batches(
            cut_unit, fn_kwargs=stages, num_cpus=1,
            compute=ray.data.TaskPoolStrategy(size=workers), **common,
        ).map_batches(
            ScoreUnits, fn_constructor_kwargs=scorer, num_gpus=1,
            compute=ray.data.ActorPoolStrategy(size=gpus), **common,
        )  # fmt: skip
    else:
        results = blocks.map_batches(
            CutAndScoreUnit, fn_constructor_kwargs={"stages": stages, "scorer": scorer}, num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=workers), **common,
        )  # fmt: skip
    units.follow(results, total)


def cut_unit(block: pa.Table, **stages: Any) -> pa.Table:
    """One unit's catalog rows to its videos and crops, packed into one row."""
    return units.pack(units.extract_unit(block, **stages))


class ScoreUnits:
    """Packed units to scores, written to the output; answers their ``videos`` rows. One bundle a process."""

    def __init__(self, job: ScoreJobConfig, output: Output) -> None:
        keras_runtime.start(threads=None if job.scoring.use_gpu else 1)
        self._job, self._output = job, output
        self._bundle = Bundle.load(job.bundle, output.storage, job.scoring.batch_size)

    def __call__(self, block: pa.Table) -> pa.Table:
        return pa.concat_tables([self.score(unit) for unit in units.unpack(block)])

    def score(self, unit: dict[str, Any]) -> pa.Table:
        """Score one unit and write its tables."""
        made = score_tables(
            unit["videos"], unit["crops"], self._bundle, self._job.scoring, self._output.config_sha256
        )
        self._output.write_unit(unit[units.UNIT_ID], {"videos": unit["videos"], **made})
        return unit["videos"]


class CutAndScoreUnit:
    """Both stages in one process, for machines without GPUs, so that no core waits for the other stage."""

    def __init__(self, stages: dict[str, Any], scorer: dict[str, Any]) -> None:
        self._stages = stages
        self._scorer = ScoreUnits(**scorer)

    def __call__(self, block: pa.Table) -> pa.Table:
        return self._scorer.score(units.extract_unit(block, **self._stages))


def finish(work: todo.Todo, output: Output, bundle: Bundle) -> None:
    """Join the units' files and write the manifest. A copy has a row that names what stands for it."""
    if work.nothing_new:
        output.discard_staged()
        return
    videos = tables.from_rows("videos", work.copies, output.config_sha256)
    crops = tables.from_rows("crops", [], output.config_sha256)
    made = score_tables(videos, crops, bundle, ScoringConfig(), output.config_sha256)
    units.finish(work, output, {"videos": videos, **made})


def write_for_people(videos: pa.Table, config: ScoreJobConfig, output: Output, bundle: Bundle) -> list[str]:
    """The CSV of the videos and the page; their URIs."""
    csv = join(config.output, "video_scores.csv")
    with output.storage.writing(csv) as path:
        pa.csv.write_csv(page.most_suspicious_first(videos), path)
    evidence = output.read_all("evidence", ["video_id", "score", "image"]).sort_by([("score", "descending")])
    shown = evidence.slice(0, config.report.max_thumbnails)
    thumbnails = dict(zip(shown["video_id"].to_pylist(), shown["image"].to_pylist(), strict=True))
    facts = {
        "Archive": config.input,
        "Model bundle": f"{config.bundle} ({bundle.sha256[:12]})",
        "Detector": config.detector.name if config.detector else None,
        "Frames": _sampling_words(config),
        "Threshold": f"{bundle.threshold:.3f} ({bundle.info.threshold_rule})",
    }
    return [page.write(config.output, output.storage, videos, thumbnails, config.report, facts), csv]


def _sampling_words(config: ScoreJobConfig) -> str:
    sampling = config.sampling
    return {
        "every_n": f"every {sampling.every_n}th frame",
        "per_second": f"{sampling.per_second:g} a second",
        "count": f"{sampling.count} a video, evenly spread",
        "keyframes": "key frames only",
    }[sampling.policy]


def summary(
    videos: pa.Table, config: ScoreJobConfig, bundle: Bundle, seconds: float, all_seconds: float
) -> dict[str, Any]:
    """The numbers of the finished output."""
    frames = sum(videos["frames_sampled"].to_pylist())
    statuses = Counter(videos["status"].to_pylist())
    scored = statuses.get(tables.Status.OK, 0)
    return {
        "input": config.input,
        "output": config.output,
        "bundle": config.bundle,
        "bundle_sha256": bundle.sha256,
        "detector": config.detector.name if config.detector else None,
        "videos": videos.num_rows,
        "by_status": dict(sorted(statuses.items())),
        "by_verdict": dict(sorted(Counter(v for v in videos["verdict"].to_pylist() if v).items())),
        "coverage": round(scored / max(1, videos.num_rows), 4),
        "failed": sum(count for status, count in statuses.items() if status in tables.FAILURES),
        "frames_sampled": frames,
        "faces": sum(videos["faces"].to_pylist()),
        "working_seconds": round(seconds, 2),
        "frames_per_second": round(frames / seconds, 2) if seconds else None,
        "videos_per_hour": round(videos.num_rows / seconds * 3600) if seconds else None,
        "other_seconds": round(all_seconds - seconds, 2),
    }
