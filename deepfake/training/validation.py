"""What a bundle takes from its validation scores: thresholds, calibration, and numbers with intervals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake import metrics
from deepfake.catalog.identity_overlap import choose_resampling_units, read_identity_groups
from deepfake.catalog.split_allocation import allocate
from deepfake.crops.dataset import CropSet, Rows
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.metrics.aggregation import KEPT_COLUMNS
from deepfake.model import thresholds, verdicts
from deepfake.training.data.epoch_plan import plan_validation

SCORES = "validation_scores.parquet"
AGGREGATION = "mean"  # of the threshold that a bundle names first, and of its card
THRESHOLD_RULE = "balanced: the highest TPR - FPR on the validation videos"
EPOCH, THRESHOLDS, BOTH = "epoch", "thresholds", "both"  # what validation's faces are for
SELF_BLENDED = "self-blended"  # the method of fakes that are made of validation's reals
NO_FAKES = "its validation held no fake, and was of fakes made of its reals by self-blending"
FEWEST_TO_HALVE = 40  # identities of each class


def add_blended_copies(rows: Rows) -> Rows:
    """Reals, and a fake that self-blending makes of each: validation where there are no others."""
    found = rows.add_copies(np.arange(len(rows)), "blended")
    method = np.where(found.label == 1, len(rows.methods), found.method).astype(found.method.dtype)
    return replace(found, method=method, methods=(*rows.methods, SELF_BLENDED))


def collect_faces(crops: CropSet, rows: Rows, split_seed: int) -> pa.Table:
    """Validation's faces in the order of ``plan_validation``, with ``turned`` and ``role``: what each is for.

    Where each class has ``FEWEST_TO_HALVE`` identities, half of them (by ``split_seed``) choose the epoch and
    thresholds and calibration come from the others; with fewer all do both.
    """
    chosen = plan_validation(rows).rows
    known = _encode_place(*(crops.table[name].to_numpy() for name in ("file", "row_group", "row")))
    order = np.argsort(known)
    wanted = _encode_place(rows.file[chosen], rows.row_group[chosen], rows.row[chosen])
    table = crops.table.take(order[np.searchsorted(known, wanted, sorter=order)])
    turned = np.zeros(len(chosen), bool) if rows.turned is None else rows.turned[chosen]
    if rows.blended is not None:
        table = _name_blended(table, rows.blended[chosen])
    return (
        table.select(["video_id", "frame_index", "face_index", *(c for c in KEPT_COLUMNS if c != "groups")])
        .append_column("turned", pa.array(turned))
        .append_column("role", pa.array(_assign_roles(table, split_seed), pa.string()))
    )


def _name_blended(table: pa.Table, blended: np.ndarray) -> pa.Table:
    """Rows of fakes that are made of reals: videos of their own, of the same people."""
    made = pa.array(blended)
    named = pc.binary_join_element_wise(table["video_id"], SELF_BLENDED, "#")
    for name, value in (("video_id", named), ("label", pa.scalar(1, pa.int8())), ("method", SELF_BLENDED)):
        column = pc.if_else(made, value, table[name])
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _assign_roles(table: pa.Table, split_seed: int) -> np.ndarray:
    """``(n,)`` of ``BOTH``, or of ``EPOCH`` and ``THRESHOLDS``, which have nobody in common."""
    names, code = np.unique(read_identity_groups(table), return_inverse=True)
    first = np.unique(table["video_id"].to_numpy(zero_copy_only=False).astype(str), return_index=True)[1]
    counts = np.zeros((len(names), 2), np.int64)
    np.add.at(counts, (code[first], table["label"].to_numpy()[first]), 1)
    if ((counts > 0).sum(axis=0) < FEWEST_TO_HALVE).any():
        return np.full(len(code), BOTH)
    return np.array([EPOCH, THRESHOLDS])[allocate(names.tolist(), counts, (0.5, 0.5), split_seed)[code]]


def number_choosing_videos(faces: pa.Table) -> np.ndarray:
    """``(n,) int64``: a number for each face's video; -1 where it has no say in which epoch is chosen."""
    codes = faces["video_id"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return np.where(faces["role"].to_numpy(zero_copy_only=False) == THRESHOLDS, -1, codes)


def measure_evenly(labels: np.ndarray, scores: np.ndarray, videos: np.ndarray) -> dict[str, float | None]:
    """What an epoch is chosen by, from ``(n,)`` labels, scores and numbers of videos.

    ``val_balanced_loss`` is the mean of the classes' mean cross-entropies, so that a bias towards the larger
    class is no advantage; ``val_video_auc`` is of the videos' mean scores.
    """
    losses = [metrics.measure_binary(labels[labels == c], scores[labels == c])["log_loss"] for c in (0, 1)]
    _, first, code = np.unique(videos, return_index=True, return_inverse=True)
    means = np.clip(np.bincount(code, scores) / np.bincount(code), 0.0, 1.0)
    auc = metrics.measure_binary(labels[first], means)["auc"]
    return {"val_balanced_loss": sum(losses) / 2, "val_video_auc": auc}


def write_scores(scored: pa.Table, output: str, storage: Storage, config_sha256: str) -> None:
    """``validation_scores.parquet`` beside the bundle: what the saved network says of each crop."""
    schema = tables.make_schema("validation_scores", config_sha256)
    tables.write_table(storage, join(output, SCORES), scored.select(schema.names).cast(schema))


def _encode_place(file: np.ndarray, row_group: np.ndarray, row: np.ndarray) -> np.ndarray:
    """File, row group and row as one number: ``(n,) int64``."""
    return file.astype(np.int64) << 44 | row_group.astype(np.int64) << 24 | row.astype(np.int64)


def derive_bundle_fields(scored: pa.Table, people_named: bool = True) -> dict[str, Any]:
    """Keys of ``BundleInfo`` that follow from those of validation's scored faces that are for them.

    ``scored`` is as ``collect_faces`` gives it, with ``score`` in [0, 1]. ``people_named``: whether it is
    known who is on the videos.
    """
    scored = scored.filter(pc.not_equal(scored["role"], EPOCH))
    is_made = pc.any(pc.equal(scored["method"], SELF_BLENDED)).as_py()
    chosen = thresholds.choose_decisions(scored)
    threshold = chosen[AGGREGATION].operating_points[0].threshold
    videos = metrics.aggregate_videos(scored, AGGREGATION)
    of_videos = measure_with_intervals(videos, threshold)
    units, labels = choose_resampling_units(videos)[0], videos["label"].to_numpy()
    people = {name: np.unique(units[labels == label]).size for label, name in enumerate(("real", "fake"))}
    of_videos["identities"] = people if people_named else None
    return {
        "threshold": threshold,
        "threshold_rule": THRESHOLD_RULE,
        **{
            field: {name: getattr(found, field) for name, found in chosen.items()}
            for field in ("operating_points", "uncertain", "calibration")
        },
        "metrics": {"val": measure_with_intervals(scored, threshold), "val_video": of_videos},
        "unproven": NO_FAKES if is_made else verdicts.find_missing_proof(of_videos),
    }


def measure_with_intervals(table: pa.Table, threshold: float) -> dict[str, Any]:
    """Metrics of a table with ``video_id``, ``label`` and ``score``, and the ``intervals`` of each."""
    labels, scores = table["label"].to_numpy().astype(np.int8), table["score"].to_numpy()
    units, _ = choose_resampling_units(table)
    intervals = metrics.bootstrap_metrics(labels, scores, units, threshold)
    return {**metrics.measure_binary(labels, scores, threshold), "intervals": intervals}
