"""The evaluate job: faces in, scores by Ray, numbers, page. Chains the other modules and writes."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from deepfake.config import EvaluateJobConfig, hash_config
from deepfake.crops.corruptions import Corruption
from deepfake.crops.facts import FACTS
from deepfake.execution import accounting, session
from deepfake.io import lock, tables
from deepfake.io.storage import Storage
from deepfake.io.uri import join, make_absolute
from deepfake.model import inference
from deepfake.model.bundle import Bundle
from deepfake.model.thresholds import Decisions
from deepfake.outcome import ACCOUNTING, Outcome
from deepfake.pipelines.evaluate import (
    heat_maps,
    inputs,
    page,
    results,
    robustness,
    without_looking,
)
from deepfake.pipelines.evaluate.evaluation_plan import (
    DataSet,
    EvaluationPlan,
    describe_evaluation,
    look_up_decisions,
    plan_evaluation,
)
from deepfake.pipelines.evaluate.page import Extras, PageSection
from deepfake.pipelines.evaluate.recompression import measure_recompression
from deepfake.pipelines.evaluate.scoring import estimate_core_seconds, score_faces

log = logging.getLogger(__name__)

ROWS_A_FILE = 1_000_000
OTHERS = "also"  # folder of the other data sets' tables


def run(config: EvaluateJobConfig) -> Outcome:
    """Do the whole job; raises ``UsageError`` where the input or the bundle is wrong."""
    ledger = accounting.open_ledger()
    ledger.job.enter("plan")
    storage = Storage(config.storage)
    config = config.model_copy(
        update={
            "input": make_absolute(config.input),
            "also": [make_absolute(uri) for uri in config.also],
            "output": make_absolute(config.output),
            "bundle": [make_absolute(uri) for uri in config.bundle],
            "against": [make_absolute(uri) for uri in config.against],
            "labels": make_absolute(config.labels) if config.labels else None,
        }
    )
    planned = plan_evaluation(config, storage)
    if config.dry_run:
        return Outcome(describe_evaluation(planned))
    with lock.hold(config.output, storage):
        ledger.job.enter("start")
        return _evaluate(planned, ledger)


def _evaluate(planned: EvaluationPlan, ledger: accounting.Ledger) -> Outcome:
    config = planned.config
    sets = [planned.first, *planned.others]
    crops = sum(one.faces.table.num_rows for one in sets if not one.is_scored)
    seconds = estimate_core_seconds(crops, config) * (2 if planned.against else 1)
    if (lesson := planned.first.lesson.crops) is not None:
        seconds += without_looking.SECONDS_PER_CROP * (crops + lesson.table.num_rows)
    with session.open_session(config.ray, seconds):
        ledger.job.enter("work")
        scored = [_score_data_set(one, planned) for one in sets]
        rivals = _score_rivals(sets, planned)
        sweep, notes = _measure_robustness(planned, scored[0])
        ledger.job.enter("measure")
    decisions = look_up_decisions(planned.bundle, config)
    sections = [
        _measure_data_set(one, table, planned, decisions, others)
        for one, table, others in zip(sets, scored, rivals, strict=True)
    ]
    ledger.job.enter("report")
    heat = _make_heat_maps(planned, scored[0])
    look_at = _write_all(planned, sections, scored, Extras(sweep, notes, heat))
    first, *others = sections
    video, frame = first.results.video.overall, first.results.frame.overall
    summary = {
        **describe_evaluation(planned),
        **first.results.count_items(),
        **({"unproven": first.results.decisions.unproven} if first.results.decisions.unproven else {}),
        "video_auc": video["auc"],
        "video_auc_without_looking": (video[results.WITHOUT_LOOKING] or {"auc": None})["auc"],
        "accuracy_at": f"threshold {planned.threshold:.4g}, {planned.threshold_from}",
        "video_accuracy": video["accuracy"],
        "frame_auc": frame["auc"],
        "frame_accuracy": frame["accuracy"],
        **{f"video_auc_{one.name}": one.results.video.overall["auc"] for one in others},
        **({"difference": page.put_difference_in_words(video[results.AGAINST])} if planned.against else {}),
        "warnings": list(first.warnings),
        ACCOUNTING: ledger.summarize(),
    }
    return Outcome(summary, look_at=look_at)


def _measure_data_set(
    one: DataSet,
    scored: pa.Table,
    planned: EvaluationPlan,
    decisions: Decisions | None,
    rivals: Mapping[str, np.ndarray],
) -> PageSection:
    """A data set with its numbers, and what a reader must know of them."""
    found = results.measure_faces(
        scored, planned.config.evaluation, planned.threshold, decisions, rivals, one.faceless
    )
    warnings = [*results.list_warnings(found), *one.warnings]
    if decisions is not None and decisions.unproven:
        warnings.insert(0, f"The bundle gives scores and no verdicts: {decisions.unproven}.")
    lesson = planned.first.lesson.put_in_words()
    section = PageSection(one.name, one.faces.uri, one.split, found, warnings, one.missed, lesson)
    log.info("%s: AUC of videos %s. Without looking: %s", one.name, *page.list_aucs(section))
    return section


def _score_data_set(one: DataSet, planned: EvaluationPlan) -> pa.Table:
    """The table ``face_scores``, complete, sorted by video, frame and face."""
    selected, bundle, config = one.faces, planned.bundle, planned.config
    columns = tables.make_schema("face_scores", hash_config(config))
    if selected.kind == "face_scores":
        return selected.table.select(columns.names).cast(columns)
    assert bundle is not None
    (scores,) = score_faces(selected, _prepare_network(bundle, planned), planned.storage, config)
    count = selected.table.num_rows
    table = selected.table.append_column("score", pa.array(bundle.mixer(scores)))
    own = scores.tolist() if bundle.members else [None] * count
    table = table.append_column("bundle_scores", pa.array(own, pa.list_(pa.float64())))
    for name, value in (("bundle_sha256", bundle.sha256), ("config_sha256", hash_config(config))):
        table = table.append_column(name, pa.array([value] * count))
    return table.select(columns.names).cast(columns)


def _score_rivals(sets: Sequence[DataSet], planned: EvaluationPlan) -> list[dict[str, np.ndarray]]:
    """For each data set, scores ``(n,)`` of its faces by ``results.RIVALS``; none of score tables."""
    found: list[dict[str, np.ndarray]] = [{} for _ in sets]
    crops = [(one.faces, rivals) for one, rivals in zip(sets, found, strict=True) if not one.is_scored]
    if planned.against is not None:
        network = _prepare_network(planned.against, planned)
        for faces, rivals in crops:
            (scores,) = score_faces(faces, network, planned.storage, planned.config)
            rivals[results.AGAINST] = planned.against.mixer(scores)
    if (lesson := planned.first.lesson.crops) is not None:
        asked = [faces for faces, _ in crops]
        blind = without_looking.score_without_looking(lesson, asked, planned.storage, planned.config)
        for (_, rivals), scores in zip(crops, blind, strict=True):
            rivals[results.WITHOUT_LOOKING] = scores
    return found


def _prepare_network(bundle: Bundle, planned: EvaluationPlan) -> inference.AnyNetwork:
    """The network on the runtime that it was trained and validated with, whatever scores archives fastest."""
    scoring = planned.config.scoring
    runtime = "auto" if any(one.is_graph for one in bundle.members or (bundle,)) else "tensorflow"
    return inference.prepare_network(bundle, planned.storage, runtime, scoring.use_gpu, scoring.flip)


def _measure_robustness(planned: EvaluationPlan, scored: pa.Table) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of the sweep on the first data set, and what the page must say of it."""
    config, storage = planned.config, planned.storage
    if not config.evaluation.robustness:
        return [], []
    first, bundle, notes = planned.first, planned.bundle, []
    rows: list[dict[str, Any]] = []
    if first.is_scored or bundle is None:
        notes.append("The input holds scores and no crops, so only the number of frames could be varied.")
    else:
        network = _prepare_network(bundle, planned)

        def score(faces: inputs.LabelledFaces, changes: Sequence[Corruption]) -> np.ndarray:
            found = score_faces(faces, network, storage, config, changes)
            return np.stack([bundle.mixer(scores) for scores in found])

        rows = robustness.measure_robustness(first.faces, score, config.evaluation)
        again, said = measure_recompression(
            first.faces, scored, network.start_scorer(), storage, config.evaluation
        )
        rows += again
        notes += said
    return rows + robustness.measure_fewer_frames(scored, config.evaluation), notes


def _make_heat_maps(planned: EvaluationPlan, scored: pa.Table) -> heat_maps.HeatFindings | None:
    selected, count = planned.first.faces, planned.config.evaluation.heat_maps
    if not count:
        return None
    assert planned.bundle is not None  # _load_data_set() saw to it
    scores = scored["score"].to_numpy()
    known = (planned.threshold, planned.bundle, planned.storage)
    return heat_maps.make_heat_maps(selected, scores, *known, count)


def _write_all(
    planned: EvaluationPlan, sections: Sequence[PageSection], scored: Sequence[pa.Table], extras: Extras
) -> list[str]:
    config, storage = planned.config, planned.storage
    for old in ("metrics.json", page.PAGE, "face_scores", page.PLOTS, OTHERS, heat_maps.SHEET):
        storage.remove(join(config.output, old))
    first, *others = sections
    folders = [config.output, *(join(config.output, OTHERS, one.name) for one in others)]
    for one, table, folder in zip(sections, scored, folders, strict=True):
        _write_tables(one.results, table, folder, config, storage)
    facts = _list_facts(planned, first.results.video.overall["resampled"]["unit"])
    report = page.write_evaluation_page(config.output, storage, first, others, config.report, facts, extras)
    if extras.heat is not None and extras.heat.sheet is not None:
        storage.write_bytes(join(config.output, heat_maps.SHEET), extras.heat.sheet)
    metrics_uri = join(config.output, "metrics.json")
    whole = _as_json(planned, sections) | {
        "robustness": extras.sweep,
        "robustness_notes": extras.sweep_notes,
        "heat_maps": extras.heat.as_json() if extras.heat else None,
    }
    storage.write_json(metrics_uri, whole)
    return [report, metrics_uri]


def _write_tables(
    found: results.Results, scored: pa.Table, folder: str, config: EvaluateJobConfig, storage: Storage
) -> None:
    for part, start in enumerate(range(0, scored.num_rows, ROWS_A_FILE)):
        uri = join(folder, "face_scores", f"part-{part:05d}.parquet")
        tables.write_table(storage, uri, scored.slice(start, ROWS_A_FILE))
    rows = [*found.video.groups, *found.track.groups, *found.frame.groups]
    groups = tables.from_rows("group_metrics", rows, hash_config(config))
    tables.write_table(storage, join(folder, "per_group.parquet"), groups)
    tables.write_csv(storage, join(folder, "per_group.csv"), groups)


def _as_json(planned: EvaluationPlan, sections: Sequence[PageSection]) -> dict[str, Any]:
    def list_numbers(one: PageSection) -> dict[str, Any]:
        return {
            "split": one.split,
            "input": one.uri,
            "videos_without_face": one.missed,
            "warnings": one.warnings,
            "without_looking": {"facts": FACTS, "how": one.lesson},
            **results.results_as_json(one.results),
        }

    return {
        **list_numbers(sections[0]),
        "bundle": planned.bundle.uri if planned.bundle else None,
        "bundle_sha256": planned.bundle.sha256 if planned.bundle else None,
        "against": planned.against.uri if planned.against else None,
        "against_sha256": planned.against.sha256 if planned.against else None,
        "config": planned.config.evaluation.model_dump(mode="json"),
        "config_sha256": hash_config(planned.config),
        "threshold": {"value": planned.threshold, "from": planned.threshold_from},
        "also": {one.name: list_numbers(one) for one in sections[1:]},
    }


def _list_facts(planned: EvaluationPlan, resampled: str) -> dict[str, object]:
    """What the page says of data and model; ``resampled``: what intervals were made by drawing."""
    evaluation, bundle = planned.config.evaluation, planned.bundle
    facts: dict[str, object] = {
        "Data": planned.first.faces.uri,
        "Split": evaluation.split,
        "Video score": results.describe_aggregation(evaluation),
        "Threshold": f"{planned.threshold:.4g}, {planned.threshold_from}",
    }
    if planned.config.scoring.flip:
        facts["Crops"] = "each scored as it is and mirrored; the mean counts"
    if evaluation.bootstrap:
        facts["Intervals"] = (
            f"95 %, from {evaluation.bootstrap:,} resamples of {resampled}, seed {evaluation.seed}"
        )
    if bundle is not None:
        facts |= {"Model bundle": bundle.uri, "Bundle hash": bundle.sha256}
        if planned.against is not None:
            facts |= {"Compared with": planned.against.uri, "Its hash": planned.against.sha256}
        facts["Trained with"] = ", ".join(f"{name} {v}" for name, v in bundle.info.versions.items()) or None
    else:
        facts["Bundle hash"] = planned.first.faces.table["bundle_sha256"][0].as_py()
    return facts
