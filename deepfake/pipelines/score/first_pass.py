"""A cheap first look at each video, and the whole look only where the first leaves doubt.

The first look is at a few key frames, which cost a fiftieth of the others to decode. Where their score is far
from the threshold, it stands; the row says so (``passes`` is 1).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.config import SamplingConfig, ScoringConfig
from deepfake.io.tables import Status
from deepfake.metrics import aggregate
from deepfake.model.thresholds import Mixer
from deepfake.pipelines.score.rows import score_crops

FEWEST_FACES = 2  # one face decides nothing

Stage = Callable[[pa.Table], dict[str, Any]]  # a unit's rows to its id, videos and crops


@dataclass(frozen=True)
class Looked:
    """A unit after one or two looks at its videos."""

    unit: dict[str, Any]
    scores: np.ndarray  # (n,) or (n, bundles) float64, of each of the unit's crops
    passes: Mapping[str, int]  # 1 or 2, by video_id


def make_quick_sampling(sampling: SamplingConfig, config: ScoringConfig) -> SamplingConfig:
    """The sampling of the first look."""
    return sampling.model_copy(update={"policy": "keyframes", "max_frames": config.first_pass})


def look_at_unit(
    block: pa.Table,
    first: Stage | None,
    whole: Stage,
    score: Callable[[np.ndarray], np.ndarray],
    config: ScoringConfig,
    threshold: float,
    mixer: Mixer = Mixer(),  # noqa: B008 - frozen
) -> Looked:
    """The videos of one unit, scored by a first look and a whole one where that leaves doubt.

    Their rows are in the unit's order. Without ``first`` all are looked at whole. ``score`` gives ``(n,)``
    scores of ``(n, size, size, 3) uint8 RGB``, or ``(n, bundles)`` that ``mixer`` makes scores of.
    """
    if first is None:
        unit = whole(block)
        return Looked(unit, score_crops(unit["crops"]["crop"].to_pylist(), score), {})
    glance = first(block)
    scores = score_crops(glance["crops"]["crop"].to_pylist(), score)
    settled = find_settled(glance["videos"], glance["crops"], mixer(scores), config, threshold)
    names = block["video_id"].to_pylist()
    passes = {name: 1 if name in settled else 2 for name in names}
    if len(settled) == len(names):
        return Looked(glance, scores, passes)
    rest = whole(block.filter(pa.array([name not in settled for name in names], pa.bool_())))
    more = score_crops(rest["crops"]["crop"].to_pylist(), score)
    unit = dict(glance)
    for table in ("videos", "crops"):
        kept = np.array([name in settled for name in glance[table]["video_id"].to_pylist()], bool)
        joined = pa.concat_tables([glance[table].filter(pa.array(kept)), rest[table]])
        place = pc.index_in(joined["video_id"], block["video_id"].combine_chunks()).to_numpy()
        order = np.argsort(place, kind="stable")
        unit[table] = joined.take(order)
    both = [found for found in (scores[kept], more) if len(found)]  # kept and order: of the crops
    return Looked(unit, np.concatenate(both)[order] if both else scores[:0], passes)


def find_settled(
    videos: pa.Table, crops: pa.Table, scores: np.ndarray, config: ScoringConfig, threshold: float
) -> set[str]:
    """Videos whose score after the first look is further from the threshold than ``first_pass_margin``.

    ``scores`` are ``(n,)``, one a row of ``crops``.
    """
    by_video: dict[str, list[tuple[float, int]]] = {}
    columns = (crops[name].to_pylist() for name in ("video_id", "frame_index"))
    for name, frame, score in zip(*columns, scores.tolist(), strict=True):
        by_video.setdefault(name, []).append((score, frame))
    settled = set()
    for name, status in zip(videos["video_id"].to_pylist(), videos["status"].to_pylist(), strict=True):
        found = by_video.get(name, [])
        if status != Status.OK or len(found) < max(FEWEST_FACES, config.min_faces):
            continue
        of_faces, frames = zip(*found, strict=True)
        score = aggregate(of_faces, config.aggregation, config.top_k, frames)
        if abs(score - threshold) > config.first_pass_margin:
            settled.add(name)
    return settled


def count_savings(videos: pa.Table, sampling: SamplingConfig) -> dict[str, Any]:
    """What the first look saved, from the finished table ``video_scores``."""
    rows = videos.select(["passes", "frames_sampled", "frames_total", "duration_s"]).to_pylist()
    looked_at = [row for row in rows if row["passes"] is not None]
    settled = [row for row in looked_at if row["passes"] == 1]
    spared = sum(max(0, estimate_frames(row, sampling) - row["frames_sampled"]) for row in settled)
    looked = sum(row["frames_sampled"] for row in looked_at)
    return {
        "settled_by_first_pass": len(settled),
        "share_settled": round(len(settled) / max(1, len(looked_at)), 4),
        "share_of_frames_spared": round(spared / max(1, spared + looked), 4),
    }


def estimate_frames(row: Mapping[str, Any], sampling: SamplingConfig) -> int:
    """About how many frames the whole look at a video takes."""
    total = row["frames_total"] or 0
    if sampling.policy == "every_n":
        count = -(-total // sampling.every_n)
    elif sampling.policy == "per_second":
        count = min(total, int((row["duration_s"] or 0.0) * sampling.per_second) + 1)
    elif sampling.policy == "count":
        count = min(total, sampling.count)
    else:
        count = row["frames_sampled"]
    return min(count, sampling.max_frames)
