"""The evaluate job: faces in, scores by Ray, numbers, page. Chains the other modules and writes."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.csv

from deepfake import engine, tables
from deepfake.bundle import Bundle
from deepfake.config import EvaluateJobConfig, config_sha256
from deepfake.errors import UsageError
from deepfake.evaluation import faces as ray_faces
from deepfake.evaluation import heat as heat_maps
from deepfake.evaluation import inputs, overlap, results
from deepfake.report import evaluation as page
from deepfake.storage import Storage, absolute, join

log = logging.getLogger(__name__)

ROWS_A_FILE = 1_000_000


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first crop is scored."""

    faces: inputs.LabelledFaces
    bundle: Bundle | None
    threshold: float
    threshold_from: str
    warnings: list[str]
    missed: int | None  # labelled videos without a face; None: not known


def run(config: EvaluateJobConfig) -> tuple[dict[str, Any], list[str]]:
    """Do the job; the numbers for its summary, and what to look at."""
    storage = Storage(config.storage)
    config = config.model_copy(
        update={
            "input": absolute(config.input),
            "output": absolute(config.output),
            "bundle": absolute(config.bundle) if config.bundle else None,
        }
    )
    planned = plan(config, storage)
    if config.dry_run:
        return describe(planned), []
    scored = _scored(planned, config, storage)
    measured = results.measure(scored, config.evaluation, planned.threshold)
    warnings = [*results.warnings(measured), *planned.warnings]
    heat = _heat(planned, scored, config, storage)
    looked_at = _write(scored, measured, warnings, heat, planned, config, storage)
    return {
        **describe(planned),
        **measured.counts(),
        "video_auc": measured.video.overall["auc"],
        "video_accuracy": measured.video.overall["accuracy"],
        "frame_auc": measured.frame.overall["auc"],
        "frame_accuracy": measured.frame.overall["accuracy"],
        "warnings": len(warnings),
    }, looked_at


def plan(config: EvaluateJobConfig, storage: Storage) -> Plan:
    """Find the faces and check all that can be checked; raises ``UsageError``."""
    _require_own_output(config)
    loaded = inputs.load(config.input, storage)
    split = config.evaluation.split
    selected = inputs.select(loaded, split, config.limit)
    bundle = Bundle.load(config.bundle, storage) if config.bundle else None
    if loaded.kind == "crops" and bundle is None:
        raise UsageError(f"{config.input}: these are crops, so --bundle is required to score them")
    if loaded.kind == "face_scores":
        _require_one_bundle(selected, bundle)
        if config.evaluation.heat_maps:
            raise UsageError(f"{config.input}: --evaluation.heat_maps needs crops, these are scores")
    info = bundle.info if bundle else None
    allowed = config.evaluation.allow_overlap
    warnings = overlap.require_unseen(selected.table, info, loaded.table, split, allowed)
    warnings += overlap.require_no_copies(loaded.videos, info, loaded.table, split, allowed)
    if info is not None and loaded.kind == "crops":
        warnings += overlap.crop_differences(info, loaded.config)
    if selected.unlabelled:
        warnings.append(f"{selected.unlabelled} faces without a label were left out.")
    for warning in warnings:
        log.warning(warning)
    if config.evaluation.threshold is not None:
        threshold, source = config.evaluation.threshold, "given by hand"
    elif bundle is not None:
        threshold, source = bundle.threshold, f"the bundle's ({bundle.info.threshold_rule or 'rule unknown'})"
    else:
        threshold, source = 0.5, "by default, for no bundle was given"
    missed = inputs.without_faces(loaded, split) if config.limit is None else None
    return Plan(selected, bundle, threshold, source, warnings, missed)


def describe(planned: Plan) -> dict[str, Any]:
    """What will be evaluated, for the plan and the summary."""
    table = planned.faces.table
    videos = table.select(["video_id", "label"]).group_by(["video_id", "label"]).aggregate([])
    fakes = sum(label == 1 for label in videos["label"].to_pylist())
    return {
        "input": planned.faces.uri,
        "bundle": planned.bundle.uri if planned.bundle else "none, the input holds scores",
        "videos": videos.num_rows,
        "real_videos": videos.num_rows - fakes,
        "fake_videos": fakes,
        "faces": table.num_rows,
        "threshold": planned.threshold,
    }


def _require_own_output(config: EvaluateJobConfig) -> None:
    """The output holds ``plots/`` and ``face_scores/`` of its own; they must not replace what is read."""
    for name, uri in (("input", config.input), ("bundle", config.bundle)):
        if uri is not None and f"{absolute(uri)}/".startswith(f"{absolute(config.output)}/"):
            raise UsageError(
                f"--output {config.output} would write over --{name} {uri}; give another folder, such as "
                f"{join(config.output, 'evaluation')}"
            )


def _require_one_bundle(faces: inputs.LabelledFaces, bundle: Bundle | None) -> None:
    found = sorted(set(faces.table["bundle_sha256"].to_pylist()))
    if len(found) > 1:
        raise UsageError(f"{faces.uri}: scores of {len(found)} bundles are mixed: {', '.join(found)}")
    if bundle is not None and found[0] != bundle.sha256:
        raise UsageError(
            f"{faces.uri}: these scores are of bundle {found[0]}, and {bundle.uri} is {bundle.sha256}; "
            "leave --bundle out, or give the one that made them"
        )


def _scored(planned: Plan, config: EvaluateJobConfig, storage: Storage) -> pa.Table:
    """The table ``face_scores``, complete, sorted by video, frame and face."""
    selected = planned.faces
    columns = tables.schema("face_scores", config_sha256(config))
    if selected.kind == "face_scores":
        return selected.table.select(columns.names).cast(columns)
    assert planned.bundle is not None
    with engine.session(config.ray):
        scores = ray_faces.score(selected, planned.bundle.uri, storage, config)
    count = selected.table.num_rows
    added = {
        "score": pa.array(scores),
        "bundle_sha256": pa.array([planned.bundle.sha256] * count),
        "config_sha256": pa.array([config_sha256(config)] * count),
    }
    return pa.table(
        [added[name] if name in added else selected.table[name] for name in columns.names], schema=columns
    )


def _heat(
    planned: Plan, scored: pa.Table, config: EvaluateJobConfig, storage: Storage
) -> heat_maps.Heat | None:
    selected, count = planned.faces, config.evaluation.heat_maps
    if not count:
        return None
    assert planned.bundle is not None  # plan() saw to it
    scores = scored["score"].to_numpy()
    return heat_maps.look(
        selected.table,
        selected.files,
        scores,
        planned.threshold,
        planned.bundle,
        storage,
        count,
        selected.config,
    )


def _write(
    scored: pa.Table,
    measured: results.Results,
    warnings: list[str],
    heat: heat_maps.Heat | None,
    planned: Plan,
    config: EvaluateJobConfig,
    storage: Storage,
) -> list[str]:
    for old in ("metrics.json", page.PAGE, "face_scores", page.PLOTS, heat_maps.SHEET):
        storage.remove(join(config.output, old))
    for part, start in enumerate(range(0, scored.num_rows, ROWS_A_FILE)):
        uri = join(config.output, "face_scores", f"part-{part:05d}.parquet")
        storage.write_table(uri, scored.slice(start, ROWS_A_FILE))
    groups = tables.from_rows(
        "group_metrics", [*measured.video.groups, *measured.frame.groups], config_sha256(config)
    )
    storage.write_table(join(config.output, "per_group.parquet"), groups)
    sink = io.BytesIO()
    pyarrow.csv.write_csv(groups, sink)
    storage.write_bytes(join(config.output, "per_group.csv"), sink.getvalue())
    report = page.write(
        config.output,
        storage,
        measured,
        warnings,
        config.report,
        _facts(planned, config),
        planned.missed,
        heat,
    )
    if heat is not None and heat.sheet is not None:
        storage.write_bytes(join(config.output, heat_maps.SHEET), heat.sheet)
    metrics_uri = join(config.output, "metrics.json")
    storage.write_text(
        metrics_uri, json.dumps(_as_json(measured, warnings, heat, planned, config), indent=2) + "\n"
    )
    return [report, metrics_uri]


def _as_json(
    measured: results.Results,
    warnings: list[str],
    heat: heat_maps.Heat | None,
    planned: Plan,
    config: EvaluateJobConfig,
) -> dict[str, Any]:
    return {
        "split": config.evaluation.split,
        "input": planned.faces.uri,
        "bundle": planned.bundle.uri if planned.bundle else None,
        "bundle_sha256": planned.bundle.sha256 if planned.bundle else None,
        "config": config.evaluation.model_dump(mode="json"),
        "config_sha256": config_sha256(config),
        "threshold": {"value": planned.threshold, "from": planned.threshold_from},
        "videos_without_face": planned.missed,
        "warnings": warnings,
        "heat_maps": heat.as_json() if heat else None,
        **{
            name: {"overall": level.overall, "groups": level.groups}
            for name, level in (("video", measured.video), ("frame", measured.frame))
        },
    }


def _facts(planned: Plan, config: EvaluateJobConfig) -> dict[str, object]:
    """What the page says of data and model."""
    evaluation, bundle = config.evaluation, planned.bundle
    top = f" ({evaluation.top_k})" if evaluation.aggregation == "top_k" else ""
    facts: dict[str, object] = {
        "Data": planned.faces.uri,
        "Split": evaluation.split,
        "Video score": f"{evaluation.aggregation}{top} of its faces' scores",
        "Threshold": f"{planned.threshold:.4f}, {planned.threshold_from}",
    }
    if evaluation.bootstrap:
        facts["Intervals"] = (
            f"95 %, from {evaluation.bootstrap:,} resamples of {evaluation.bootstrap_over}, "
            f"seed {evaluation.seed}"
        )
    if bundle is not None:
        facts |= {"Model bundle": bundle.uri, "Bundle hash": bundle.sha256}
        facts["Trained with"] = ", ".join(f"{name} {v}" for name, v in bundle.info.versions.items()) or None
    else:
        facts["Bundle hash"] = planned.faces.table["bundle_sha256"][0].as_py()
    return facts
