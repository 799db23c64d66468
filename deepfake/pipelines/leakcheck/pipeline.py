"""The leak check as a job: what is to be checked in, findings as JSON, tables and a page out."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.identity_overlap import find_overlaps, names_people
from deepfake.config import LeakcheckJobConfig, hash_config
from deepfake.errors import UsageError
from deepfake.execution import accounting, session
from deepfake.io import lock, tables
from deepfake.io.storage import Storage
from deepfake.io.uri import join, make_absolute
from deepfake.outcome import ACCOUNTING, Outcome
from deepfake.pipelines.leakcheck import (
    duplicates,
    findings,
    inputs,
    near_duplicates,
    page,
    probe_features,
    probes,
    scan,
    thumbnails,
    uploads,
)
from deepfake.pipelines.leakcheck.findings import Finding
from deepfake.pipelines.leakcheck.inputs import LeakcheckInput
from deepfake.pipelines.leakcheck.probes import Probe
from deepfake.pipelines.leakcheck.result import LeakcheckResult, count_in_order, result_as_json

log = logging.getLogger(__name__)


def run(config: LeakcheckJobConfig) -> Outcome:
    """Do the whole job; the outcome's problem is what ``leakcheck.fail_on`` names."""
    ledger = accounting.open_ledger()
    ledger.job.enter("plan")
    storage = Storage(config.storage)
    config = config.model_copy(
        update={"input": make_absolute(config.input), "output": make_absolute(config.output)}
    )
    if config.input.rstrip("/") == config.output.rstrip("/"):
        raise UsageError(f"--output {config.output}: this is the input; give a folder of its own")
    loaded = inputs.load_input(config, storage)
    splits_dir = config.catalog.splits_dir or loaded.splits_dir
    known = uploads.load_uploads(splits_dir, config.leakcheck.conversion_dict, storage)
    if config.dry_run:
        return Outcome(describe_input(loaded, known))
    with lock.hold(config.output, storage):
        ledger.job.enter("start")
        result = run_checks(loaded, known, config, storage, ledger)
        look_at = _write_result(result, config, storage)
    summary = {
        **describe_input(loaded, known),
        "pictures": result.pictures.num_rows,
        "found": result.counts,
        "not_looked_for": ", ".join(result.not_looked_for) or "nothing",
        "official_uploads": sum(f.scope == findings.OFFICIAL for f in result.findings),
        "probes": probes.summarize_probes(result.probes),
        "warnings": result.warnings,
        "verdict": result.verdict,
        ACCOUNTING: ledger.summarize(),
    }
    if result.unreadable:
        summary["unreadable"] = result.unreadable
    problem = f"{result.verdict}: {'; '.join(result.failing)}" if result.failing else None
    return Outcome(summary, result.unreadable / loaded.videos.num_rows, look_at, problem)


def describe_input(loaded: LeakcheckInput, known: uploads.Uploads | None) -> dict[str, Any]:
    """What is checked, for the plan and the summary."""
    return {
        "input": loaded.uri,
        "checked_as": loaded.kind,
        "videos": loaded.videos.num_rows,
        "by_split": count_in_order(loaded.videos["split"]),
        "by_label": {
            {"0": "real", "1": "fake"}.get(label, label): n
            for label, n in count_in_order(loaded.videos["label"]).items()
        },
        "uploads_known": known.count if known else "no",
    }


def run_checks(
    loaded: LeakcheckInput,
    known: uploads.Uploads | None,
    config: LeakcheckJobConfig,
    storage: Storage,
    ledger: accounting.Ledger,
) -> LeakcheckResult:
    """Run every check."""
    options = config.leakcheck
    videos = inputs.select_used_videos(loaded.videos)
    found = _find_shared_identities(videos)
    if known is not None:
        found += uploads.find_upload_overlaps(videos, known) + uploads.find_official_overlaps(known)
    pictures = scan.PICTURES.empty_table()
    if options.pixels or loaded.kind == "catalog":
        core_seconds = scan.estimate_core_seconds(loaded, options.pixels)
        with session.open_session(config.ray, core_seconds):
            ledger.job.enter("work")
            pictures = scan.scan_pictures(loaded, options, config.ray, storage)
        ledger.job.enter("measure")
    if loaded.kind == "catalog":
        videos = _add_facts(videos, pictures)
    found += duplicates.find_duplicate_files(videos)
    found += _drop_known_copies(found, duplicates.find_duplicate_crops(_select_stills(loaded, pictures)))
    limits = (options.max_hash_distance, options.max_pixel_difference)
    found += _drop_known_copies(found, near_duplicates.find_near_duplicates(pictures, *limits))
    probed = probes.run_probes(
        probe_features.collect_samples(pictures, videos, options.crops_per_video), options
    )
    counts = Counter(f.kind for f in found if f.scope == findings.INPUT)
    warnings, failing = _list_messages(counts, found, probed, config)
    if loaded.videos.num_rows > videos.num_rows:
        left_out = loaded.videos.num_rows - videos.num_rows
        warnings.append(f"{left_out} copies that preprocessing left out were not checked; nothing uses them.")
    not_looked_for = [] if options.pixels else ["duplicate_crop", "near_duplicate"]
    if not names_people(videos):
        not_looked_for.append("identity")
        warnings.append(
            "Shared people could not be looked for: nothing says who is on these videos, so each is taken "
            "for a person of its own."
        )
    if known is None and uploads.concern(videos):
        not_looked_for.append("upload")
        warnings.append(
            "Shared uploads were not looked for: no conversion_dict.json was given "
            "(catalog.splits_dir or leakcheck.conversion_dict)."
        )
    if all(probe.auc is None for probe in probed):
        not_looked_for.append("probe")
    for text in [*failing, *warnings]:
        log.warning(text)
    ledger.job.enter("report")
    return LeakcheckResult(
        loaded, found, probed, known, pictures, failing, warnings, not_looked_for,
        {kind: counts[kind] for kind in findings.FAILS_AS if counts[kind]},
    )  # fmt: skip


def _find_shared_identities(videos: pa.Table) -> list[Finding]:
    """One finding for each identity and pair of splits, with a video of either split as example."""
    label = dict(zip(videos["video_id"].to_pylist(), videos["label"].to_pylist(), strict=True))
    return [
        Finding(
            f.kind, f.video_a, f.video_b, f.identity, f.split_a, f.split_b, label[f.video_a], label[f.video_b]
        )
        for f in find_overlaps(videos)
    ]


def _list_messages(
    counts: Counter[str], found: Sequence[Finding], probed: Sequence[Probe], config: LeakcheckJobConfig
) -> tuple[list[str], list[str]]:
    """``(warnings, what makes the job fail)``."""
    warnings: list[str] = []
    failing: list[str] = []
    for kind, word in findings.FAILS_AS.items():
        if counts[kind]:
            into = failing if word in config.leakcheck.fail_on else warnings
            into.append(f"{counts[kind]} {page.KINDS[kind].count(counts[kind])}")
    for probe in probes.list_shortcuts(probed):
        into = failing if "probe" in config.leakcheck.fail_on else warnings
        into.append(probe.put_in_words())
    if official := sum(f.scope == findings.OFFICIAL for f in found):
        warnings.append(
            f"{official} pairs of clips of one upload are in two of the official splits, whether their "
            "videos are here or not."
        )
    return warnings, failing


def _drop_known_copies(found: Sequence[Finding], more: Sequence[Finding]) -> list[Finding]:
    """Findings about pairs of videos that are not known to be copies already."""
    copies = ("duplicate_file", "duplicate_crop", "label_conflict")
    known = {frozenset((f.video_a, f.video_b)) for f in found if f.kind in copies}
    return [f for f in more if frozenset((f.video_a, f.video_b)) not in known]


def _select_stills(loaded: LeakcheckInput, pictures: pa.Table) -> pa.Table:
    """Pictures whose equality means a copy: two videos may well show the same title card."""
    if loaded.kind == "crops":
        return pictures
    is_still = pc.and_(pc.equal(pictures["duration_s"], 0.0), pc.equal(pictures["frames_total"], 1))
    return pictures.filter(pc.fill_null(is_still, False))


def _add_facts(videos: pa.Table, pictures: pa.Table) -> pa.Table:
    """A catalog's videos with what was found out by opening the files."""
    place = pc.index_in(videos["video_id"], pictures["video_id"].combine_chunks())
    for name in ("content_sha256", "size_bytes", "codec", "width", "height", "duration_s", "frames_total"):
        index = videos.schema.get_field_index(name)
        values = pc.coalesce(pictures[name].take(place), videos[name])
        videos = videos.set_column(index, videos.schema.field(index), values)
    return videos


def _write_result(result: LeakcheckResult, config: LeakcheckJobConfig, storage: Storage) -> list[str]:
    table = findings.make_table(result.findings, hash_config(config))
    tables.write_table(storage, join(config.output, "overlaps.parquet"), table)
    tables.write_csv(storage, join(config.output, "overlaps.csv"), table)
    uri = join(config.output, "leakcheck.json")
    storage.write_json(uri, result_as_json(result, config))
    rows = table.to_pylist()
    limits = config.report.max_thumbnails, config.leakcheck.timeout_seconds
    shown = thumbnails.make_thumbnails(rows, result.input, result.pictures, *limits, storage)
    report = page.write_leakcheck_page(result, rows, shown, config, storage)
    return [report, uri, join(config.output, "overlaps.csv")]
