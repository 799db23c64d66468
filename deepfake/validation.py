"""What a bundle takes from its validation scores: thresholds, calibration, and numbers with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from deepfake import cropset, decisions, metrics
from deepfake.cropset import CropSet
from deepfake.metrics.aggregation import KEPT_COLUMNS
from deepfake.plan import validation_plan

AGGREGATION = "mean"  # of the threshold that a bundle names first, and of its card
THRESHOLD_RULE = "balanced: the highest TPR - FPR on the validation videos"
_RESAMPLES, _SEED = 1000, 0


def faces(crops: CropSet, split: str, scores: np.ndarray) -> pa.Table:
    """The validation faces with their scores ``(n,)``, which are in the order of ``plan.validation_plan``."""
    order = validation_plan(cropset.split_rows(crops, split)).rows
    table = cropset.labelled_crops(crops.table, split).take(order)
    return table.select(["video_id", "frame_index", *KEPT_COLUMNS]).append_column("score", pa.array(scores))


def bundle_fields(scored: pa.Table) -> dict[str, Any]:
    """Keys of ``BundleInfo`` that follow from validation's scored faces (see ``faces``)."""
    chosen = decisions.choose(scored)
    threshold = chosen[AGGREGATION].operating_points[0].threshold
    videos = metrics.video_table(scored, AGGREGATION)
    return {
        "threshold": threshold,
        "threshold_rule": THRESHOLD_RULE,
        "operating_points": {name: found.operating_points for name, found in chosen.items()},
        "uncertain": {name: found.uncertain for name, found in chosen.items()},
        "calibration": {name: found.calibration for name, found in chosen.items()},
        "metrics": {"val": _measured(scored, threshold), "val_video": _measured(videos, threshold)},
    }


def _measured(table: pa.Table, threshold: float) -> dict[str, Any]:
    labels, scores = table["label"].to_numpy().astype(np.int8), table["score"].to_numpy()
    groups = [
        group if group is not None else video
        for group, video in zip(table["group_id"].to_pylist(), table["video_id"].to_pylist(), strict=True)
    ]
    intervals = metrics.bootstrap_intervals(labels, scores, groups, threshold, _RESAMPLES, _SEED)
    return {**metrics.binary(labels, scores, threshold), "intervals": intervals}
