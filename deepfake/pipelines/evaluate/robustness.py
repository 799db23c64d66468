"""How much of the AUC is left when the footage is worse: a table of changes and amounts.

The same crops are scored again and again, a bounded number of them, so every row is compared with the first,
which is of the same crops unchanged. Fewer frames need no new scores.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from deepfake import metrics
from deepfake.config import EvaluationConfig
from deepfake.crops.corruptions import CORRUPTIONS, Corruption
from deepfake.pipelines.evaluate import results
from deepfake.pipelines.evaluate.inputs import LabelledFaces
from deepfake.video.sampling import spread_evenly

CROPS_A_VIDEO = 8
FRAMES, CRF = "frames a video", "video CRF"
FRAME_COUNTS = (1, 2, 4, 8)

Score = Callable[[LabelledFaces, Sequence[Corruption]], np.ndarray]  # (changes, crops)


def choose_balanced_crops(faces: LabelledFaces, crops: int) -> LabelledFaces:
    """At most so many crops: up to eight of a video, spread over it, of as many real as fake videos.

    Which videos is decided by their names' hashes, so another run takes the same.
    """
    table = faces.table
    names = table["video_id"].to_numpy(zero_copy_only=False)
    labels = table["label"].to_numpy()
    starts = np.flatnonzero(np.r_[True, names[1:] != names[:-1]]) if names.size else np.empty(0, np.int64)
    stops = np.r_[starts[1:], names.size].astype(np.int64)
    order = sorted(range(len(starts)), key=lambda i: hashlib.sha256(names[starts[i]].encode()).digest())
    queues = {label: [i for i in order if labels[starts[i]] == label] for label in (0, 1)}
    kept: list[np.ndarray] = []
    budget = crops
    for pair in zip(queues[0], queues[1], strict=False):
        rows = [starts[i] + spread_evenly(int(stops[i] - starts[i]), CROPS_A_VIDEO) for i in pair]
        if sum(map(len, rows)) > budget:
            break
        kept += rows
        budget -= sum(map(len, rows))
    taken = np.sort(np.concatenate(kept)) if kept else np.empty(0, np.int64)
    return replace(faces, table=table.take(pa.array(taken)).combine_chunks())


def measure_robustness(faces: LabelledFaces, score: Score, config: EvaluationConfig) -> list[dict[str, Any]]:
    """Rows of the unchanged crops and of every change; none where there are no crops to take."""
    some = choose_balanced_crops(faces, config.robustness_crops)
    if not some.table.num_rows:
        return []
    measured = zip(CORRUPTIONS, score(some, CORRUPTIONS), strict=True)
    return [
        make_robustness_row(some.table, found, change.kind, change.amount, config)
        for change, found in measured
    ]


def measure_fewer_frames(scored: pa.Table, config: EvaluationConfig) -> list[dict[str, Any]]:
    """Rows of face scores of which only so many frames of each video are kept, spread over it."""
    videos = scored["video_id"].to_numpy(zero_copy_only=False)
    frames = scored["frame_index"].to_numpy()
    starts = np.flatnonzero(np.r_[True, videos[1:] != videos[:-1]])
    stops = np.r_[starts[1:], videos.size]
    distinct = [np.unique(frames[a:b]) for a, b in zip(starts, stops, strict=True)]
    longest = max(map(len, distinct))
    counts = [count for count in FRAME_COUNTS if count < longest]
    rows = []
    for count in [*counts, longest]:
        mask = np.zeros(videos.size, bool)
        for a, b, there in zip(starts, stops, distinct, strict=True):
            mask[a:b] = np.isin(frames[a:b], there[spread_evenly(len(there), count)])
        kept = scored.filter(pa.array(mask))
        rows.append(make_robustness_row(kept, kept["score"].to_numpy(), FRAMES, count, config))
    return rows


def make_robustness_row(
    faces: pa.Table, scores: np.ndarray, kind: str, amount: float, config: EvaluationConfig
) -> dict[str, Any]:
    """AUC of videos and of crops with the given scores ``(n,)``, one a row of ``faces``."""
    table = faces.select([name for name in faces.column_names if name != "score"])
    table = table.append_column("score", pa.array(scores, pa.float64()))
    videos = metrics.aggregate_videos(table, config.aggregation, config.top_k)
    labels, of_videos = videos["label"].to_numpy(), videos["score"].to_numpy()
    units, _ = results.choose_bootstrap_units(videos, config.bootstrap_over)
    return {
        "kind": kind,
        "amount": float(amount),
        "videos": videos.num_rows,
        "crops": len(scores),
        **results.measure_auc(labels, of_videos, units, config),
        "frame_auc": metrics.measure_binary(table["label"].to_numpy(), scores)["auc"],
    }
