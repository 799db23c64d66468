"""Score some videos of a finished output again, from their source files, and say what differs.

What an auditor runs: nothing of the earlier run is used but its tables, its configuration and the bundle.
"""

import dataclasses
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.config import ScoreJobConfig, VerifyJobConfig, hash_config
from deepfake.crops.extraction import ExtractConfig
from deepfake.crops.sandbox import IsolatedExtractor
from deepfake.errors import UsageError
from deepfake.execution.process import count_cpus
from deepfake.faces.detectors.factory import forget_absent_model, resolve_detector
from deepfake.io import lock, tables
from deepfake.io.parts import read_parts
from deepfake.io.run_record import list_recorded_bundles, read_score_record
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.io.uri import join, make_absolute
from deepfake.model import inference
from deepfake.model.bundle import Bundle
from deepfake.model.verdicts import choose_verdict_rule, explain_unproven
from deepfake.outcome import Outcome
from deepfake.pipelines.score import first_pass
from deepfake.pipelines.score.rows import Judgement, score_tables
from deepfake.progress import Progress
from deepfake.training.joint_validation import load_bundles

log = logging.getLogger(__name__)

FILE = "verification.json"
_ENTRY = ("video_id", "uri", "size_bytes", *tables.PROVENANCE_COLUMNS)
_COMPARED = ("content_sha256", "status", "verdict", "frames_sampled", "frames_with_face", "faces")


def run(config: VerifyJobConfig) -> Outcome:
    """Verify an output; the outcome's problem says what is wrong with it, if anything.

    Raises ``UsageError`` where it is no output of the score job, or the bundle is another one.
    """
    if config.dry_run:
        return Outcome({"verified": config.verify, "sample": config.sample})
    storage = Storage(config.storage)
    root = make_absolute(config.verify)
    job, bundle = _restore_job(root, config, storage)
    sampled = sample_videos(read_parts(root, storage, "video_scores"), config.sample, config.seed)
    report = join(config.output, FILE)
    with lock.hold(config.output, storage):
        checks = _score_again(sampled, job, bundle, storage, config)
        storage.write_json(report, {"tolerance": config.tolerance, "videos": checks})
    differing = [check for check in checks if check["differences"]]
    for check in differing:
        log.warning("%s: %s", check["video_id"], "; ".join(check["differences"]))
    differences = [check["score_difference"] for check in checks if check["score_difference"] is not None]
    summary = {
        "verified": root,
        "bundle_sha256": bundle.sha256,
        "videos": len(checks),
        "differing": len(differing),
        "largest_difference": max(differences, default=None),
        "tolerance": config.tolerance,
        "report": report,
    }
    if reason := explain_unproven(bundle.info):
        summary["unproven"] = reason
    words = f"{len(differing)} of {len(checks)} videos differ; {report} says how" if differing else None
    return Outcome(summary, problem=words)


def sample_videos(videos: pa.Table, count: int, seed: int) -> pa.Table:
    """So many videos at random, copies left out, in the table's order."""
    whole = videos.filter(pc.not_equal(videos["status"], Status.SKIPPED_DUPLICATE))
    chosen = np.random.default_rng(seed).permutation(whole.num_rows)[:count]
    return whole.take(pa.array(np.sort(chosen)))


def list_differences(before: Mapping[str, Any], now: Mapping[str, Any], tolerance: float) -> list[str]:
    """What differs between two rows of ``video_scores``, in words; scores within the tolerance do not."""
    found = []
    if before["content_sha256"] != now["content_sha256"] and before["content_sha256"] is not None:
        found.append("the file's bytes have changed")
    for name in _COMPARED[1:]:
        if before[name] != now[name]:
            found.append(f"{name} was {before[name]}, is {now[name]}")
    if before["score"] is not None and now["score"] is not None:
        by = abs(before["score"] - now["score"])
        if by > tolerance:
            found.append(f"score was {before['score']:.4f}, is {now['score']:.4f}")
        elif before["verdict"] != now["verdict"]:  # on the very edge: no difference worth the name
            found = [words for words in found if not words.startswith("verdict ")]
    return found


def _restore_job(root: str, config: VerifyJobConfig, storage: Storage) -> tuple[ScoreJobConfig, Bundle]:
    """The configuration and the bundle that the output was made with."""
    described = read_score_record(root, storage)
    uris = config.bundle or list_recorded_bundles(described)
    bundle = load_bundles(uris, storage)
    if bundle.sha256 != described["bundle_sha256"]:
        raise UsageError(
            f"{bundle.uri}: bundle {bundle.sha256[:12]}, the output was made with "
            f"{described['bundle_sha256'][:12]}; name that one with --bundle"
        )
    sections = {name: described[name] for name in ScoreJobConfig.row_sections if name in described}
    job = ScoreJobConfig.model_validate(
        {
            "input": described["input"],
            "output": root,
            "bundle": uris,
            "storage": config.storage,
            **sections,
        }
    )
    return job, bundle


def _make_stage(extractor: IsolatedExtractor) -> first_pass.Stage:
    def extract(block: pa.Table) -> dict[str, Any]:
        made = [extractor.extract(entry) for entry in block.to_pylist()]
        return {
            "videos": tables.from_rows("videos", [one.video for one in made]),
            "crops": pa.concat_tables([one.table for one in made]),
        }

    return extract


def _score_again(
    sampled: pa.Table, job: ScoreJobConfig, bundle: Bundle, storage: Storage, config: VerifyJobConfig
) -> list[dict[str, Any]]:
    """Each sampled video once more, a few at a time."""
    assert job.detector is not None and job.crop is not None  # as scoring resolved them
    detector = resolve_detector(forget_absent_model(job.detector, storage), storage)
    extraction = ExtractConfig(job.sampling, detector, job.crop, crops_kept=False)
    network = inference.prepare_network(bundle, storage, config.runtime, flip=job.scoring.flip)
    judgement = Judgement(
        job.scoring,
        choose_verdict_rule(bundle, job.scoring),
        bundle.sha256,
        hash_config(job),
        mixer=bundle.mixer,
    )
    scorer, one_at_a_time = network.start_scorer(), threading.Lock()
    local = threading.local()

    def score(crops: np.ndarray) -> np.ndarray:
        with one_at_a_time:
            return inference.score_by_each(scorer, crops)

    def check(row: dict[str, Any]) -> dict[str, Any]:
        if not hasattr(local, "whole"):
            local.whole, local.first = (
                _make_stage(IsolatedExtractor(dataclasses.replace(extraction, sampling=sampling), storage))
                for sampling in (job.sampling, first_pass.make_quick_sampling(job.sampling, job.scoring))
            )
        entry = pa.Table.from_pylist([{name: row[name] for name in _ENTRY}])
        first = local.first if row["passes"] is not None else None
        looked = first_pass.look_at_unit(
            entry, first, local.whole, score, job.scoring, judgement.point.threshold, judgement.mixer
        )
        made = score_tables(looked.unit["videos"], looked.unit["crops"], looked.scores, judgement)
        (now,) = made["video_scores"].to_pylist()
        both = None not in (row["score"], now["score"])
        return {
            "video_id": row["video_id"],
            "uri": row["uri"],
            "made_with": row["made_with"],
            "score": row["score"],
            "score_now": now["score"],
            "score_difference": abs(row["score"] - now["score"]) if both else None,
            "differences": list_differences(row, now, config.tolerance),
        }

    checks = []
    with (
        Progress("videos verified", sampled.num_rows) as progress,
        ThreadPoolExecutor(min(count_cpus(), max(1, sampled.num_rows))) as pool,
    ):
        for made in pool.map(check, sampled.to_pylist()):
            checks.append(made)
            progress.step()
    return checks
