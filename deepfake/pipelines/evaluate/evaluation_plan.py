"""What is decided of an evaluation before it scores: faces, bundles, threshold; and what is refused."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from deepfake.config import EvaluateJobConfig
from deepfake.errors import UsageError
from deepfake.io.run_record import read_crop_size
from deepfake.io.storage import Storage
from deepfake.io.uri import join, make_absolute
from deepfake.model import thresholds
from deepfake.model.bundle import Bundle
from deepfake.model.ensemble import name_bundles
from deepfake.model.thresholds import Decisions
from deepfake.model.verdicts import explain_unproven
from deepfake.pipelines.evaluate import (
    inputs,
    training_overlap,
    without_looking,
)
from deepfake.pipelines.evaluate.without_looking import Lesson
from deepfake.training.joint_validation import load_bundles

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSet:
    """Labelled faces to be measured."""

    name: str
    faces: inputs.LabelledFaces
    split: str
    warnings: list[str]
    faceless: pa.Table | None  # labelled videos without a face; None: not known
    lesson: Lesson  # what can be learnt from its training split without looking

    @property
    def missed(self) -> int | None:
        """How many labelled videos have no face; None: not known."""
        return None if self.faceless is None else self.faceless.num_rows

    @property
    def is_scored(self) -> bool:
        """Whether the input holds scores, and no crops."""
        return self.faces.kind == "face_scores"


@dataclass(frozen=True)
class EvaluationPlan:
    """Everything that is decided before the first crop is scored."""

    config: EvaluateJobConfig
    storage: Storage
    bundle: Bundle | None
    threshold: float
    threshold_from: str
    first: DataSet
    others: list[DataSet] = field(default_factory=list)
    against: Bundle | None = None


def plan_evaluation(config: EvaluateJobConfig, storage: Storage) -> EvaluationPlan:
    """Find the faces and check all that can be checked; raises ``UsageError``."""
    _require_own_output(config)
    bundle, against = (
        load_bundles(uris, storage, config.scoring.crops_at_once) if uris else None
        for uris in (config.bundle, config.against)
    )
    evaluation = config.evaluation
    names = _name_data_sets([config.input, *config.also])
    first = _load_data_set(names[0], config.input, evaluation.split, (bundle, against), config, storage)
    others = [
        _load_data_set(name, uri, evaluation.also_split, (bundle, against), config, storage)
        for name, uri in zip(names[1:], config.also, strict=True)
    ]
    hashes = {one.faces.table["bundle_sha256"][0].as_py() for one in [first, *others] if one.is_scored}
    if len(hashes) > 1:
        raise UsageError(f"scores of {len(hashes)} bundles are mixed: {', '.join(sorted(hashes))}")
    if evaluation.threshold is not None:
        threshold, source = evaluation.threshold, "given by hand"
    elif bundle is not None:
        decisions = look_up_decisions(bundle, config)
        points = decisions.operating_points if decisions else ()
        threshold = points[0].threshold if points else bundle.info.threshold
        source = f"the bundle's ({bundle.info.threshold_rule or 'rule unknown'})"
    else:
        threshold, source = 0.5, "by default, for no bundle was given"
    return EvaluationPlan(config, storage, bundle, threshold, source, first, others, against)


def describe_evaluation(planned: EvaluationPlan) -> dict[str, Any]:
    """What will be evaluated, for the plan and the summary."""
    table = planned.first.faces.table
    videos = table.select(["video_id", "label"]).group_by(["video_id", "label"]).aggregate([])
    fakes = sum(label == 1 for label in videos["label"].to_pylist())
    also = {one.name: f"{one.faces.uri}, {one.faces.table.num_rows:,} faces" for one in planned.others}
    return {
        "input": planned.first.faces.uri,
        **({"also": also} if also else {}),
        "bundle": planned.bundle.uri if planned.bundle else "none, the input holds scores",
        **({"labels": planned.config.labels} if planned.config.labels else {}),
        **({"against": planned.against.uri} if planned.against else {}),
        "videos": videos.num_rows,
        "real_videos": videos.num_rows - fakes,
        "fake_videos": fakes,
        "faces": table.num_rows,
        "threshold": planned.threshold,
    }


def _load_data_set(
    name: str,
    uri: str,
    split: str,
    bundles: tuple[Bundle | None, Bundle | None],
    config: EvaluateJobConfig,
    storage: Storage,
) -> DataSet:
    bundle, against = bundles
    loaded = inputs.load_faces(uri, storage)
    reviewed = config.labels if uri == config.input else None
    if reviewed:
        loaded = inputs.label_videos(loaded, reviewed, storage)
    selected = inputs.select_split(loaded, split, config.limit)
    if loaded.kind == "crops" and bundle is None:
        raise UsageError(f"{uri}: these are crops, so --bundle is required to score them")
    if config.evaluation.heat_maps and bundle is not None and not bundle.has_heat_maps:
        kind = "that was made elsewhere" if bundle.info.adopted else f"of tokens ({bundle.info.backbone})"
        kind = "that was made elsewhere, or of tokens," if bundle.members else kind
        raise UsageError(
            f"{bundle.uri}: --evaluation.heat_maps: a network {kind} has none; leave the key out"
        )
    if loaded.kind == "face_scores":
        _require_one_bundle(selected, bundle)
        if config.evaluation.heat_maps and uri == config.input:
            raise UsageError(f"{uri}: --evaluation.heat_maps needs crops, these are scores")
        if against is not None:
            raise UsageError(f"{uri}: --against needs crops, which both bundles score; these are scores")
    warnings = _check_training(bundle, loaded, selected, split, config)
    if against is not None:
        found = _check_training(against, loaded, selected, split, config)
        warnings += [f"The bundle compared with: {text}" for text in found]
    if reviewed:
        warnings.append(
            f"Labels are those of {reviewed}. Where mostly high scores were reviewed, fakes with low ones "
            "are not among them, and too few count as missed; review a random sample as well."
        )
    if selected.unlabelled:
        warnings.append(f"{selected.unlabelled} faces without a label were left out.")
    for warning in warnings:
        log.warning("%s: %s", name, warning)
    faceless = inputs.list_without_faces(loaded, split) if config.limit is None else None
    train_split = training_overlap.read_split(bundle.info if bundle else None, "train_split")
    lesson = without_looking.choose_lesson(loaded, split, train_split)
    return DataSet(name, selected, split, warnings, faceless, lesson)


def _check_training(
    bundle: Bundle | None,
    loaded: inputs.LabelledFaces,
    selected: inputs.LabelledFaces,
    split: str,
    config: EvaluateJobConfig,
) -> list[str]:
    """What the page must say of a bundle's training beside these faces; raises ``UsageError``."""
    info, allowed = bundle.info if bundle else None, config.evaluation.allow_overlap
    try:
        warnings = training_overlap.check_training_overlap(selected.table, info, loaded.table, split, allowed)
        warnings += training_overlap.require_no_training_copies(
            loaded.videos, info, loaded.table, split, allowed
        )
    except UsageError as error:
        if bundle is None:
            raise
        raise UsageError(f"{bundle.uri}: {error}") from None
    if bundle is not None:
        named = zip(name_bundles(bundle.members), bundle.members, strict=True)
        silent = [name for name, one in named if one.info.adopted and not one.info.names_trained_people]
        if silent:
            warnings.append(
                f"It could not be checked whether {', '.join(silent)} was trained on the same people."
            )
    if bundle is not None and info is not None and loaded.kind == "crops":
        bundle.require_size(read_crop_size(loaded.config), loaded.uri)
        warnings += training_overlap.list_crop_differences(info, loaded.config)
    return warnings


def _name_data_sets(uris: Sequence[str]) -> list[str]:
    """A short name for each data set: the folder's, with a number where two have the same."""
    taken: list[str] = []
    for uri in uris:
        base = PurePosixPath(uri).name or "input"
        names = (base, *(f"{base}-{number}" for number in range(2, len(uris) + 1)))
        taken.append(next(name for name in names if name not in taken))
    return taken


def _require_own_output(config: EvaluateJobConfig) -> None:
    """The output holds ``plots/`` and ``face_scores/`` of its own; they must not replace what is read."""
    read = [("input", config.input)]
    for name in ("bundle", "against", "also"):
        read += [(name, uri) for uri in getattr(config, name)]
    for name, uri in read:
        if f"{make_absolute(uri)}/".startswith(f"{make_absolute(config.output)}/"):
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


def look_up_decisions(bundle: Bundle | None, config: EvaluateJobConfig) -> Decisions | None:
    """What validation chose for the aggregation in force; nothing for another number of highest faces."""
    policy = config.evaluation.aggregation
    if bundle is None:
        return None
    unproven = explain_unproven(bundle.info)
    if policy == "top_k" and config.evaluation.top_k != thresholds.TOP_K:
        return Decisions(unproven=unproven)
    return bundle.info.look_up_decisions(policy).model_copy(update={"unproven": unproven})
