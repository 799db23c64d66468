"""Verdicts again: tracks, videos and pages of a finished output under another rule, from its face scores.

Nothing is decoded or scored. The rows are those of a score job with that rule, whose output this then is.
"""

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.config import (
    CatalogConfig,
    CropConfig,
    DetectorConfig,
    SamplingConfig,
    ScoreJobConfig,
    ScoringConfig,
    VerdictsJobConfig,
)
from deepfake.crops.extraction import ExtractConfig
from deepfake.errors import UsageError
from deepfake.execution import pools, runner
from deepfake.execution.attempts import Attempt
from deepfake.execution.output import Output
from deepfake.execution.unit_worker import attempt_unit, count_unit, make_answer, read_unit_id
from deepfake.execution.work_units import Unit
from deepfake.io import tables
from deepfake.io.parts import list_part_files, read_part_names
from deepfake.io.run_record import list_recorded_bundles, parse_section, read_score_record
from deepfake.io.storage import Storage
from deepfake.io.uri import join, make_absolute
from deepfake.model import inference
from deepfake.model.bundle import Bundle
from deepfake.outcome import Outcome
from deepfake.pipelines.score.pipeline import ScoreJob
from deepfake.pipelines.score.rows import Judgement, Row, judge_faces
from deepfake.pipelines.score.stored_crops import PLACES, KeptCrops, list_runs, plan_kept_units, read_runs
from deepfake.training.joint_validation import load_bundles

_READ = ("video_scores", "face_scores", "track_scores", "evidence")
_UNIT_FACES = 8192
_SECONDS_PER_FACE = 0.0005  # of one core


def run(config: VerdictsJobConfig) -> Outcome:
    """Do the whole job; raises ``UsageError`` where the input, the bundle or the rule is wrong."""
    storage = Storage(config.storage)
    source = make_absolute(config.input)
    record = read_score_record(source, storage)
    uris = config.bundle or list_recorded_bundles(record)
    bundle = load_bundles(uris, storage)
    require_same_network(bundle, record, source)
    scoring = merge_rule(config, _read(record, "scoring", ScoringConfig), source)
    report = config.report
    if not record.get("report", {}).get("faces", True):  # there is no picture to take over
        report = report.model_copy(update={"faces": False})
    job = ScoreJobConfig(
        input=record["input"],
        output=make_absolute(config.output),
        bundle=uris,
        compare_with=source,
        catalog=_read(record, "catalog", CatalogConfig),
        sampling=_read(record, "sampling", SamplingConfig),
        detector=_read(record, "detector", DetectorConfig),
        crop=_read(record, "crop", CropConfig),
        scoring=scoring,
        report=report,
        **config.model_dump(include={"limit", "dry_run", "max_failed"}),
        storage=config.storage,
        ray=config.ray,
    )
    return VerdictsJob(job, storage, bundle, find_stored_scores(source, job, storage)).run()


def _read(record: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    return parse_section(record, name, kind) or kind()


def require_same_network(bundle: Bundle, record: Mapping[str, Any], source: str) -> None:
    """Refuse a bundle whose network is not the one that gave the scores."""
    if bundle.sha256 == record["bundle_sha256"] or bundle.info.model_sha256 == record.get("model_sha256"):
        return
    if "model_sha256" in record:
        raise UsageError(
            f"{bundle.uri}: another network than the one that scored {source}; score again with it"
        )
    raise UsageError(
        f"{bundle.uri}: bundle {bundle.sha256[:12]}, {source} was made with {record['bundle_sha256'][:12]} "
        "by a version that did not record the network's hash; name that bundle with --bundle"
    )


def merge_rule(config: VerdictsJobConfig, recorded: ScoringConfig, source: str) -> ScoringConfig:
    """The recorded section with what the command was told; ``UsageError`` where that cannot be remade."""
    told = config.scoring.model_dump(exclude_unset=True)
    if "operating_point" in told:
        told.setdefault("threshold", None)
    if recorded.first_pass:
        raise UsageError(
            f"{source}: made with scoring.first_pass, so which videos were looked at whole depends on the "
            "threshold; score again"
        )
    if told.get("min_faces", recorded.min_faces) < recorded.min_faces:
        raise UsageError(
            f"scoring.min_faces {told['min_faces']}: {source} was made with {recorded.min_faces}, and has no "
            "picture of videos with fewer faces; score again"
        )
    return ScoringConfig.model_validate(
        {**recorded.model_dump(), **told, "keep_crops": False, "use_gpu": False}
    )


def find_stored_scores(source: str, job: ScoreJobConfig, storage: Storage) -> KeptCrops:
    """The videos of a finished output, in its tables' order, and where their rows lie in each table.

    Raises ``UsageError`` where it is not finished.
    """
    if not read_part_names(source, storage):
        raise UsageError(f"{source}: the job that writes it has not finished; run it again to go on")
    places: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for name in _READ:
        for part in list_part_files(source, storage, name):
            for video, *run in list_runs(part, name, storage):
                places[video][name].append([part, *run])
    videos = tables.read_table(storage, join(source, "_manifest.parquet"), "videos")
    order = pa.array(list(places), pa.string())  # that of video_scores, which has every video
    videos = videos.take(pc.index_in(order, videos["video_id"].combine_chunks()))
    column = pa.array([json.dumps(places[name]) for name in order.to_pylist()], pa.string())
    assert job.detector is not None and job.crop is not None
    return KeptCrops(videos.append_column(PLACES, column), job.sampling, job.detector, job.crop)


class VerdictsJob(ScoreJob):
    """One run: a score job whose faces have their scores already."""

    def estimate_core_seconds(self, listed: pa.Table) -> float:
        return _SECONDS_PER_FACE * sum(listed["faces"].to_pylist())

    def plan_kept_units(self, rest: pa.Table) -> list[Unit]:
        return plan_kept_units(rest, self.identity, _UNIT_FACES, _SECONDS_PER_FACE)

    def prepare(self) -> None:
        """The network is wanted for heat maps only."""
        report = self.config.report
        heated = report.heat_maps and report.pictured_frames > 0 and self.bundle.has_heat_maps
        self.network = inference.prepare_network(self.bundle, self.storage) if heated else None
        self.judgement = Judgement(
            self.config.scoring, self.point, self.bundle.sha256, self.output.config_sha256,
            pictures=report.faces,
        )  # fmt: skip

    def make_units(self, units: list[Unit], extraction: ExtractConfig | None) -> runner.Answers:
        blocks = [runner.make_block(unit) for unit in units]
        workers = pools.await_workers(self.config.ray, len(units))
        arguments = {"output": self.output, "judgement": self.judgement}
        return runner.run_on_workers(blocks, JudgeUnit, arguments, workers)


@dataclass(frozen=True)
class JudgeUnit:
    """One unit's stored scores to its tables, written to the output; answers its ``videos`` rows."""

    output: Output
    judgement: Judgement

    def __call__(self, block: pa.Table) -> pa.Table:
        began = time.monotonic()

        def judge(_attempt: Attempt) -> pa.Table:
            videos = tables.stamp(
                "videos", block.select(tables.list_columns("videos")), self.output.config_sha256
            )
            made = remake_tables(videos, self._read(block), self.judgement)
            self.output.write_unit(read_unit_id(block), {"videos": videos, **made})
            count_unit(videos)
            return make_answer(videos, began)

        return attempt_unit(read_unit_id(block), judge)

    def _read(self, block: pa.Table) -> dict[str, pa.Table]:
        places = [json.loads(text) for text in block[PLACES].to_pylist()]
        return {
            name: read_runs(
                [run for of_video in places for run in of_video.get(name, [])],
                name,
                block["video_id"],
                self.output.storage,
            )
            for name in _READ
        }


def remake_tables(
    videos: pa.Table, stored: Mapping[str, pa.Table], judgement: Judgement
) -> dict[str, pa.Table]:
    """The tables of some videos under a rule, from the stored ones of the same videos.

    What needs a crop is taken over: sharpness and pictures, which no rule changes.
    """
    sharpness = {
        (row["video_id"], row["track_id"]): row["sharpness"] for row in stored["track_scores"].to_pylist()
    }
    faces: dict[str, list[Row]] = defaultdict(list)
    for face in stored["face_scores"].to_pylist():
        key = (face["video_id"], face["track_id"])
        faces[face["video_id"]].append({**face, "sharpness": sharpness.get(key)})
    pictures = {row["video_id"]: row for row in stored["evidence"].to_pylist()}
    made = judge_faces(videos, faces, judgement, lambda face: pictures[face["video_id"]])
    before = stored["video_scores"]
    place = pc.index_in(made["video_scores"]["video_id"], before["video_id"].combine_chunks())
    for name in ("sharpness", "made_with"):
        was = before[name].take(place)
        if name == "sharpness":
            was = pc.if_else(pc.is_valid(made["video_scores"]["score"]), was, pa.scalar(None, was.type))
        at = made["video_scores"].column_names.index(name)
        made["video_scores"] = made["video_scores"].set_column(at, made["video_scores"].field(at), was)
    return made
