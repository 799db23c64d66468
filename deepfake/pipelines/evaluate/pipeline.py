"""The evaluate job: faces in, scores by Ray, numbers, page. Chains the other modules and writes."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from deepfake.config import EvaluateJobConfig, config_sha256
from deepfake.crops.corruptions import Change
from deepfake.errors import UsageError
from deepfake.execution import session
from deepfake.io import lock, tables
from deepfake.io.storage import Storage
from deepfake.io.uri import absolute, join
from deepfake.model import inference, thresholds
from deepfake.model.bundle import Bundle
from deepfake.outcome import Outcome
from deepfake.pipelines.evaluate import (
    heat_maps,
    inputs,
    page,
    recompression,
    results,
    robustness,
    training_overlap,
)
from deepfake.pipelines.evaluate import scoring as ray_faces
from deepfake.pipelines.evaluate.operating_points import Decided

log = logging.getLogger(__name__)

ROWS_A_FILE = 1_000_000
OTHERS = "also"  # folder of the other data sets' tables


@dataclass(frozen=True)
class DataSet:
    """Labelled faces to be measured."""

    name: str
    faces: inputs.LabelledFaces
    split: str
    warnings: list[str]
    missed: int | None  # labelled videos without a face; None: not known


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before the first crop is scored."""

    bundle: Bundle | None
    threshold: float
    threshold_from: str
    first: DataSet
    others: list[DataSet] = field(default_factory=list)


@dataclass(frozen=True)
class Extras:
    """What is looked at of the first data set only, where it is asked for."""

    sweep: list[dict[str, Any]]  # rows of robustness
    sweep_notes: list[str]
    heat: heat_maps.Heat | None


def run(config: EvaluateJobConfig) -> Outcome:
    """Do the whole job; raises ``UsageError`` where the input or the bundle is wrong."""
    storage = Storage(config.storage)
    config = config.model_copy(
        update={
            "input": absolute(config.input),
            "also": [absolute(uri) for uri in config.also],
            "output": absolute(config.output),
            "bundle": absolute(config.bundle) if config.bundle else None,
        }
    )
    planned = plan(config, storage)
    if config.dry_run:
        return Outcome(describe(planned))
    with lock.held(config.output, storage):
        return _evaluate(planned, config, storage)


def _evaluate(planned: Plan, config: EvaluateJobConfig, storage: Storage) -> Outcome:
    sets = [planned.first, *planned.others]
    with session.session(config.ray) if _needs_ray(sets) else nullcontext():
        scored = [_scored(one, planned.bundle, config, storage) for one in sets]
        sweep, notes = _robustness(planned, scored[0], config, storage)
    decided = _decided(planned.bundle, config)
    measured = [results.measure(table, config.evaluation, planned.threshold, decided) for table in scored]
    heat = _heat(planned, scored[0], config, storage)
    looked_at = _write(scored, measured, Extras(sweep, notes, heat), planned, config, storage)
    first = measured[0]
    summary = {
        **describe(planned),
        **first.counts(),
        "video_auc": first.video.overall["auc"],
        "video_accuracy": first.video.overall["accuracy"],
        "frame_auc": first.frame.overall["auc"],
        "frame_accuracy": first.frame.overall["accuracy"],
        **{
            f"video_auc_{one.name}": other.video.overall["auc"]
            for one, other in zip(planned.others, measured[1:], strict=True)
        },
        "warnings": len(_warnings(planned.first, first)),
    }
    return Outcome(summary, look_at=looked_at)


def plan(config: EvaluateJobConfig, storage: Storage) -> Plan:
    """Find the faces and check all that can be checked; raises ``UsageError``."""
    _require_own_output(config)
    bundle = Bundle.load(config.bundle, storage, config.scoring.crops_at_once) if config.bundle else None
    evaluation = config.evaluation
    names = _names([config.input, *config.also])
    first = _data_set(names[0], config.input, evaluation.split, bundle, config, storage)
    others = [
        _data_set(name, uri, evaluation.also_split, bundle, config, storage)
        for name, uri in zip(names[1:], config.also, strict=True)
    ]
    hashes = {one.faces.table["bundle_sha256"][0].as_py() for one in [first, *others] if _is_scored(one)}
    if len(hashes) > 1:
        raise UsageError(f"scores of {len(hashes)} bundles are mixed: {', '.join(sorted(hashes))}")
    if evaluation.threshold is not None:
        threshold, source = evaluation.threshold, "given by hand"
    elif bundle is not None:
        decided = _decided(bundle, config)
        threshold = decided.points[0].threshold if decided and decided.points else bundle.threshold
        source = f"the bundle's ({bundle.info.threshold_rule or 'rule unknown'})"
    else:
        threshold, source = 0.5, "by default, for no bundle was given"
    return Plan(bundle, threshold, source, first, others)


def describe(planned: Plan) -> dict[str, Any]:
    """What will be evaluated, for the plan and the summary."""
    table = planned.first.faces.table
    videos = table.select(["video_id", "label"]).group_by(["video_id", "label"]).aggregate([])
    fakes = sum(label == 1 for label in videos["label"].to_pylist())
    also = {one.name: f"{one.faces.uri}, {one.faces.table.num_rows:,} faces" for one in planned.others}
    return {
        "input": planned.first.faces.uri,
        **({"also": also} if also else {}),
        "bundle": planned.bundle.uri if planned.bundle else "none, the input holds scores",
        "videos": videos.num_rows,
        "real_videos": videos.num_rows - fakes,
        "fake_videos": fakes,
        "faces": table.num_rows,
        "threshold": planned.threshold,
    }


def _data_set(
    name: str, uri: str, split: str, bundle: Bundle | None, config: EvaluateJobConfig, storage: Storage
) -> DataSet:
    loaded = inputs.load(uri, storage)
    selected = inputs.select(loaded, split, config.limit)
    if loaded.kind == "crops" and bundle is None:
        raise UsageError(f"{uri}: these are crops, so --bundle is required to score them")
    if loaded.kind == "face_scores":
        _require_one_bundle(selected, bundle)
        if config.evaluation.heat_maps and uri == config.input:
            raise UsageError(f"{uri}: --evaluation.heat_maps needs crops, these are scores")
    info = bundle.info if bundle else None
    allowed = config.evaluation.allow_overlap
    warnings = training_overlap.require_unseen(selected.table, info, loaded.table, split, allowed)
    warnings += training_overlap.require_no_copies(loaded.videos, info, loaded.table, split, allowed)
    if info is not None and loaded.kind == "crops":
        warnings += training_overlap.crop_differences(info, loaded.config)
    if selected.unlabelled:
        warnings.append(f"{selected.unlabelled} faces without a label were left out.")
    for warning in warnings:
        log.warning("%s: %s", name, warning)
    missed = inputs.without_faces(loaded, split) if config.limit is None else None
    return DataSet(name, selected, split, warnings, missed)


def _names(uris: Sequence[str]) -> list[str]:
    """A short name for each data set: the folder's, with a number where two have the same."""
    taken: list[str] = []
    for uri in uris:
        name = base = PurePosixPath(uri).name or "input"
        number = 1
        while name in taken:
            number += 1
            name = f"{base}-{number}"
        taken.append(name)
    return taken


def _is_scored(one: DataSet) -> bool:
    return one.faces.kind == "face_scores"


def _needs_ray(sets: Sequence[DataSet]) -> bool:
    return not all(_is_scored(one) for one in sets)


def _require_own_output(config: EvaluateJobConfig) -> None:
    """The output holds ``plots/`` and ``face_scores/`` of its own; they must not replace what is read."""
    read = [("input", config.input), ("bundle", config.bundle), *(("also", uri) for uri in config.also)]
    for name, uri in read:
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


def _decided(bundle: Bundle | None, config: EvaluateJobConfig) -> Decided | None:
    """What validation chose for the aggregation in force; nothing for another number of highest faces."""
    policy = config.evaluation.aggregation
    if bundle is None or (policy == "top_k" and config.evaluation.top_k != thresholds.TOP_K):
        return None
    calibration = (bundle.info.calibration or {}).get(policy)
    return Decided(bundle.operating_points(policy), bundle.uncertain_band(policy), calibration)


def _scored(one: DataSet, bundle: Bundle | None, config: EvaluateJobConfig, storage: Storage) -> pa.Table:
    """The table ``face_scores``, complete, sorted by video, frame and face."""
    selected = one.faces
    columns = tables.schema("face_scores", config_sha256(config))
    if selected.kind == "face_scores":
        return selected.table.select(columns.names).cast(columns)
    assert bundle is not None
    (scores,) = ray_faces.score(selected, _network(bundle, config, storage), storage, config)
    count = selected.table.num_rows
    added = {
        "score": pa.array(scores),
        "bundle_sha256": pa.array([bundle.sha256] * count),
        "config_sha256": pa.array([config_sha256(config)] * count),
    }
    return pa.table(
        [added[name] if name in added else selected.table[name] for name in columns.names], schema=columns
    )


def _network(bundle: Bundle, config: EvaluateJobConfig, storage: Storage) -> inference.Network:
    """The network on the runtime that it was trained and validated with, whatever scores archives fastest."""
    return inference.prepare(bundle, storage, "tensorflow", config.scoring.use_gpu)


def _robustness(
    planned: Plan, scored: pa.Table, config: EvaluateJobConfig, storage: Storage
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of the sweep on the first data set, and what the page must say of it."""
    if not config.evaluation.robustness:
        return [], []
    first, bundle, notes = planned.first, planned.bundle, []
    rows: list[dict[str, Any]] = []
    if _is_scored(first) or bundle is None:
        notes.append("The input holds scores and no crops, so only the number of frames could be varied.")
    else:
        network = _network(bundle, config, storage)

        def score(faces: inputs.LabelledFaces, changes: Sequence[Change]) -> np.ndarray:
            return ray_faces.score(faces, network, storage, config, changes)

        rows = robustness.sweep(first.faces, score, config.evaluation)
        scorer = network.scorer()
        again, said = recompression.sweep(first.faces, scored, scorer, storage, config.evaluation)
        rows += again
        notes += said
    return rows + robustness.fewer_frames(scored, config.evaluation), notes


def _heat(
    planned: Plan, scored: pa.Table, config: EvaluateJobConfig, storage: Storage
) -> heat_maps.Heat | None:
    selected, count = planned.first.faces, config.evaluation.heat_maps
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
    scored: Sequence[pa.Table],
    measured: Sequence[results.Results],
    extras: Extras,
    planned: Plan,
    config: EvaluateJobConfig,
    storage: Storage,
) -> list[str]:
    for old in ("metrics.json", page.PAGE, "face_scores", page.PLOTS, OTHERS, heat_maps.SHEET):
        storage.remove(join(config.output, old))
    sets = [planned.first, *planned.others]
    for table, one, found in zip(scored, sets, measured, strict=True):
        folder = config.output if one is planned.first else join(config.output, OTHERS, one.name)
        _write_tables(table, found, folder, config, storage)
    shown = [
        page.Measured(one.name, one.faces.uri, one.split, found, _warnings(one, found), one.missed)
        for one, found in zip(sets, measured, strict=True)
    ]
    report = page.write(
        config.output,
        storage,
        shown[0],
        shown[1:],
        config=config.report,
        facts=_facts(planned, config),
        sweep=extras.sweep,
        sweep_notes=extras.sweep_notes,
        heat=extras.heat,
    )
    if extras.heat is not None and extras.heat.sheet is not None:
        storage.write_bytes(join(config.output, heat_maps.SHEET), extras.heat.sheet)
    metrics_uri = join(config.output, "metrics.json")
    whole = _as_json(measured, planned, config) | {
        "robustness": extras.sweep,
        "robustness_notes": extras.sweep_notes,
        "heat_maps": extras.heat.as_json() if extras.heat else None,
    }
    storage.write_text(metrics_uri, json.dumps(whole, indent=2) + "\n")
    return [report, metrics_uri]


def _write_tables(
    scored: pa.Table, measured: results.Results, folder: str, config: EvaluateJobConfig, storage: Storage
) -> None:
    for part, start in enumerate(range(0, scored.num_rows, ROWS_A_FILE)):
        uri = join(folder, "face_scores", f"part-{part:05d}.parquet")
        storage.write_table(uri, scored.slice(start, ROWS_A_FILE))
    rows = [*measured.video.groups, *measured.track.groups, *measured.frame.groups]
    groups = tables.from_rows("group_metrics", rows, config_sha256(config))
    storage.write_table(join(folder, "per_group.parquet"), groups)
    storage.write_csv(join(folder, "per_group.csv"), groups)


def _warnings(one: DataSet, measured: results.Results) -> list[str]:
    return [*results.warnings(measured), *one.warnings]


def _as_json(measured: Sequence[results.Results], planned: Plan, config: EvaluateJobConfig) -> dict[str, Any]:
    def numbers(one: DataSet, found: results.Results) -> dict[str, Any]:
        return {
            "split": one.split,
            "input": one.faces.uri,
            "videos_without_face": one.missed,
            "warnings": _warnings(one, found),
            **results.as_json(found),
        }

    return {
        **numbers(planned.first, measured[0]),
        "bundle": planned.bundle.uri if planned.bundle else None,
        "bundle_sha256": planned.bundle.sha256 if planned.bundle else None,
        "config": config.evaluation.model_dump(mode="json"),
        "config_sha256": config_sha256(config),
        "threshold": {"value": planned.threshold, "from": planned.threshold_from},
        "also": {
            one.name: numbers(one, found) for one, found in zip(planned.others, measured[1:], strict=True)
        },
    }


def _facts(planned: Plan, config: EvaluateJobConfig) -> dict[str, object]:
    """What the page says of data and model."""
    evaluation, bundle = config.evaluation, planned.bundle
    top = f" ({evaluation.top_k})" if evaluation.aggregation == "top_k" else ""
    facts: dict[str, object] = {
        "Data": planned.first.faces.uri,
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
        facts["Bundle hash"] = planned.first.faces.table["bundle_sha256"][0].as_py()
    return facts
