"""Whole videos compressed again at several qualities, and taken through detection and scoring anew.

Unlike a crop saved as JPEG this changes what the detector finds, and blurs over time as uploads do. It needs
the source files, which the crops' manifest names; without them it says so and measures nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.config import CropConfig, DetectorConfig, EvaluationConfig, SamplingConfig
from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.reader import decode_crop
from deepfake.crops.sandbox import get_extractor
from deepfake.errors import UsageError
from deepfake.faces.detectors.factory import forget_absent_model, resolve_detector
from deepfake.io.storage import Storage
from deepfake.io.tables import FAILURES, PROVENANCE_COLUMNS, Status
from deepfake.io.temporary import make_temporary_folder
from deepfake.model.inference import Scorer
from deepfake.pipelines.evaluate import robustness
from deepfake.pipelines.evaluate.inputs import LabelledFaces
from deepfake.progress import Progress

CRFS = (23, 32, 40)
MAX_SECONDS = 60.0  # longer videos are not taken
_KEY_COLUMNS = ("video_id", "frame_index", *PROVENANCE_COLUMNS)
AS_IT_IS = 0.0  # the amount in the row of the same videos as they are


def measure_recompression(
    faces: LabelledFaces, scored: pa.Table, scorer: Scorer, storage: Storage, config: EvaluationConfig
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows for some videos as they are and at each CRF of x264; and what the reader must know.

    ``scored`` are the face scores of ``faces``. The videos are the same for each CRF, as many real as fake.
    """
    if not config.robustness_videos:
        return [], []
    entries = _choose_videos(faces, storage, config.robustness_videos)
    if not entries:
        return [], ["Video compression was not varied: no source video of these crops can be reached."]
    try:
        stored = {name: faces.config[name] for name in ("sampling", "detector", "crop")}
    except KeyError:
        return [], ["Video compression was not varied: it is not recorded how these crops were made."]
    options = ExtractConfig(
        SamplingConfig.model_validate(stored["sampling"]).with_limits_of(SamplingConfig()),
        DetectorConfig.model_validate({**stored["detector"], "boxes": "own"}),
        CropConfig.model_validate(stored["crop"]),
    )
    names = pa.array([entry["video_id"] for entry in entries])
    rows = [_make_row(scored.filter(pc.is_in(scored["video_id"], names)), AS_IT_IS, config)]
    notes = []
    try:
        detector = resolve_detector(forget_absent_model(options.detector, storage), storage)
        options = replace(options, detector=detector)
    except UsageError as error:
        return [], [f"Video compression was not varied: {error}."]
    for crf in CRFS:
        found, lost = _score_recompressed(entries, crf, options, scorer, storage)
        if found is not None:
            rows.append(_make_row(found, crf, config))
        notes += [f"At CRF {crf}, {count} of {len(entries)} videos {why}." for why, count in lost.items()]
    return rows, notes


def _choose_videos(faces: LabelledFaces, storage: Storage, most: int) -> list[Mapping[str, Any]]:
    """Manifest rows of up to so many videos whose files are there, real and fake in turn."""
    if faces.videos is None or "uri" not in faces.videos.column_names:
        return []
    here = pc.unique(faces.table["video_id"])
    usable = faces.videos.filter(pc.is_in(faces.videos["video_id"], here)).to_pylist()
    usable = [
        row
        for row in usable
        if row["status"] == Status.OK
        and not row["uri"].endswith("/")  # frames
        and (row["duration_s"] or 0) <= MAX_SECONDS
        and row["label"] is not None
    ]
    usable.sort(key=lambda row: hashlib.sha256(row["video_id"].encode()).digest())
    kept: list[Mapping[str, Any]] = []
    for pair in zip(*([r for r in usable if r["label"] == label] for label in (0, 1)), strict=False):
        if len(kept) + 2 > most:
            break
        if all(storage.exists(row["uri"]) for row in pair):
            kept += pair
    return kept


def _score_recompressed(
    entries: list[Mapping[str, Any]], crf: int, options: ExtractConfig, scorer: Scorer, storage: Storage
) -> tuple[pa.Table | None, Counter[str]]:
    """Face scores of the recompressed videos, and how many gave none for which reason."""
    rows: list[dict[str, Any]] = []
    lost: Counter[str] = Counter()
    extractor = get_extractor(options, storage)
    with make_temporary_folder() as folder, Progress(f"videos at CRF {crf}", len(entries)) as progress:
        for entry in entries:
            found = extractor.recompress(entry, crf, str(folder))
            if found.video["status"] in FAILURES:
                lost[f"could not be compressed ({found.video['status_detail']})"] += 1
            elif not found.rows:
                lost["gave no face any more"] += 1
            if faces := found.rows:
                images = np.stack([decode_crop(face["crop"], options.crop.size) for face in faces])
                for face, score in zip(faces, scorer.score(images), strict=True):
                    rows.append({**{name: face[name] for name in _KEY_COLUMNS}, "score": float(score)})
            progress.step()
    return (pa.Table.from_pylist(rows) if rows else None), lost


def _make_row(scored: pa.Table, amount: float, config: EvaluationConfig) -> dict[str, Any]:
    return robustness.make_robustness_row(scored, scored["score"].to_numpy(), robustness.CRF, amount, config)
