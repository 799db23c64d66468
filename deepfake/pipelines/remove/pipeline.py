"""Take videos, or all videos of some people, out of a finished output of preprocess or score.

Their rows leave every table as those of a renamed file do when a job goes on: files are written anew beside
the old ones, and the manifest makes them count. Splits and groups of the rest become what they are without
them. What was made of the tables for people follows; ``MARK`` lies in the output until that is done, so that
the same command goes on where it was stopped.
"""

import difflib
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from deepfake.catalog.identity_overlap import list_identities
from deepfake.catalog.load import load_catalog
from deepfake.config import (
    CatalogConfig,
    DetectorConfig,
    RemoveJobConfig,
    ReportConfig,
    SamplingConfig,
    ScoreJobConfig,
    ScoringConfig,
)
from deepfake.errors import UsageError
from deepfake.execution import runner
from deepfake.execution.output import Output
from deepfake.execution.work_units import Todo
from deepfake.io import checksums, lock, tables
from deepfake.io.parts import read_part_names
from deepfake.io.run_record import parse_section, read_record, read_score_record, require_record
from deepfake.io.storage import Storage
from deepfake.io.uri import join, make_absolute
from deepfake.model.bundle import BundleInfo, read_bundle_info
from deepfake.model.thresholds import Mixer
from deepfake.model.verdicts import VerdictRule, choose_verdict_rule
from deepfake.outcome import Outcome
from deepfake.pipelines.preprocess import contact_sheets
from deepfake.pipelines.preprocess.pipeline import write_sheets, write_yield
from deepfake.pipelines.score import case_report, changes_page, diff, index_page, report, video_page
from deepfake.training.joint_validation import load_bundles

log = logging.getLogger(__name__)

MARK = "_removing.json"  # the videos that are being removed


def run(config: RemoveJobConfig) -> Outcome:
    """Do the whole job; raises ``UsageError`` where the output or a name in it is wrong."""
    if not config.videos and not config.people:
        raise UsageError("name what to take out: --videos VIDEO_ID ... or --people IDENTITY ...")
    storage = Storage(config.storage)
    output, record = open_output(make_absolute(config.output), storage)
    bundles = {uri: read_bundle_info(make_absolute(uri), storage) for uri in config.bundles}
    mark = join(output.root, MARK)
    with lock.hold(output.root, storage) if not config.dry_run else nullcontext():
        begun = read_mark(mark, storage)
        leaving = choose_videos(output, config, begun)
        videos = {*begun["videos"], *leaving["video_id"].to_pylist()}
        named = leaving.filter(pc.is_in(leaving["video_id"], pa.array(config.videos, pa.string())))
        people = {*begun["people"], *config.people, *list_identities(named)}
        if config.dry_run:
            return Outcome({"output": output.root, "would_leave": sorted(videos)})
        storage.write_json(mark, {"videos": sorted(videos), "people": sorted(people)})
        if leaving.num_rows:
            remove_rows(output, record, sorted(videos))
        if "video_scores" in output.folders:
            renew_scores(output, record, videos, config)
        else:
            renew_crops(output, record)
        storage.remove(mark)
    still = sum(storage.exists(uri) for uri in leaving["uri"].to_pylist())
    if still:
        words = "%d of these files are still in %s: a job that goes on with this output takes them again"
        log.warning(words, still, record["input"])
    remains = [f"{uri}: {say_what_it_knows(info, people)}" for uri, info in bundles.items()]
    counts = {"removed": len(videos), "still_in_input": still}
    return Outcome({"output": output.root, **counts, "remains": remains})


def read_mark(uri: str, storage: Storage) -> dict[str, list[str]]:
    """``videos`` and ``people`` that an earlier run was removing; none where it was done."""
    if not storage.exists(uri):
        return {"videos": [], "people": []}
    found = storage.read_json(uri)
    try:
        names = TypeAdapter(dict[Literal["videos", "people"], list[str]])
        return {"videos": [], "people": []} | names.validate_python(found, strict=True)
    except ValidationError:
        raise UsageError(f"{uri}: not what this job left; remove it and name all that is to leave") from None


def open_output(root: str, storage: Storage) -> tuple[Output, Mapping[str, Any]]:
    """A finished output of preprocess or score, and its record; ``UsageError`` where it is none."""
    record = require_record(root, storage, "jobs/preprocess.py or jobs/score.py")
    if not (parts := read_part_names(root, storage)):
        raise UsageError(
            f"{root}: the job that writes it has not finished; run it again to its end, or remove the folder"
        )
    if "video_scores" in parts:
        read_score_record(root, storage)  # which has more to tell
    folders = {name: name if "video_scores" in parts else "" for name in parts}
    return Output(root, storage, record["config_sha256"], {"videos": "", **folders}), record


def choose_videos(output: Output, config: RemoveJobConfig, begun: Mapping[str, Sequence[str]]) -> pa.Table:
    """Rows of the manifest that leave: those that are named, and other files of the same bytes.

    ``begun`` has ``videos`` and ``people`` that an earlier run was removing. Raises ``UsageError`` for a name
    that is in neither, and where nothing would stay.
    """
    manifest = output.read_finished_videos()
    assert manifest is not None
    known = {"videos": ("video_id",), "people": ("target_id", "source_id")}
    for kind, columns in known.items():
        there = {name for column in columns for name in manifest[column].drop_null().to_pylist()}
        for name in getattr(config, kind):
            if name not in there.union(begun[kind]):
                close = difflib.get_close_matches(name, there, n=3)
                hint = f"; did you mean {' or '.join(close)}?" if close else ""
                raise UsageError(f"{output.root}: no video of it is {name}{hint}")
    names = pa.array([*config.videos, *begun["videos"]], pa.string())
    people = pa.array(config.people, pa.string())
    chosen = pc.is_in(manifest["video_id"], names)
    for column in ("target_id", "source_id"):
        chosen = pc.or_(chosen, pc.is_in(manifest[column], people))
    meant = chosen
    stand_for = pc.coalesce(manifest["duplicate_of"], manifest["video_id"])
    for same in (stand_for, manifest["content_sha256"]):
        alike = pc.is_in(same, same.filter(chosen).drop_null().combine_chunks())
        chosen = pc.or_(chosen, pc.and_(alike, same.is_valid()))
    leaving = manifest.filter(chosen)
    if leaving.num_rows == manifest.num_rows:
        raise UsageError(f"{output.root}: every video of it would leave; remove the folder")
    if also := manifest.filter(pc.and_not(chosen, meant))["video_id"].to_pylist():
        log.info("%d files of the same bytes leave too, the first is %s", len(also), also[0])
    return leaving


def remove_rows(output: Output, record: Mapping[str, Any], videos: Sequence[str]) -> None:
    """Write tables and manifest without these videos, the rest as their input is without them."""
    earlier = output.read_finished_videos()
    listed = list_rest(record, videos, output.storage)
    names = pa.array(videos, pa.string())
    work = Todo([], tables.from_rows("videos", []), "", earlier, listed=listed, leaving=names)
    runner.finish_output(work, output, lambda _: {})


def list_rest(record: Mapping[str, Any], videos: Sequence[str], storage: Storage) -> pa.Table | None:
    """The catalog of an output's input as it is without these videos; None where it cannot be listed."""
    if read_record(record["input"], storage) is not None:  # crops that were kept: they know their splits
        return None
    catalog = parse_section(record, "catalog", CatalogConfig) or CatalogConfig()
    try:
        return load_catalog(record["input"], catalog, storage, "bundle_sha256" not in record, videos)
    except (UsageError, OSError) as error:
        log.warning("splits and groups of the rest stay as they are: %s", error)
        return None


def renew_crops(output: Output, record: Mapping[str, Any]) -> None:
    """What preprocess makes of its tables for people."""
    manifest = output.read_finished_videos()
    assert manifest is not None
    detector = parse_section(record, "detector", DetectorConfig) or DetectorConfig()
    write_yield(manifest, output, detector.name)
    if pc.sum(manifest["faces"]).as_py():
        write_sheets(output)
    else:
        output.storage.remove(join(output.root, contact_sheets.FOLDER))


def renew_scores(
    output: Output, record: Mapping[str, Any], videos: Collection[str], config: RemoveJobConfig
) -> None:
    """What score makes of its tables for people. Pages of other videos stay; nothing is decoded for more."""
    storage, root = output.storage, output.root
    gone = {video_page.name_file(name) for name in videos}
    there = storage.list_files(join(root, video_page.FOLDER))
    for info in there:
        if info.path[:24] in gone:
            storage.remove(info.uri)
    for name in (case_report.PAGE, changes_page.PAGE, "verification"):
        storage.remove(join(root, name))
    changes = join(root, diff.FILE)
    if storage.exists(changes):
        rows = tables.read_table(storage, changes, "changes")
        names = pa.array(sorted(videos), pa.string())
        tables.write_table(storage, changes, rows.filter(pc.invert(pc.is_in(rows["video_id"], names))))
    scored = output.read_all("video_scores")
    pages = {info.path for info in there}
    paged = [name for name in scored["video_id"].to_pylist() if f"{video_page.name_file(name)}.html" in pages]
    job = ScoreJobConfig(
        input=record["input"],
        output=root,
        bundle=record["bundle"],
        sampling=parse_section(record, "sampling", SamplingConfig) or SamplingConfig(),
        detector=parse_section(record, "detector", DetectorConfig),
        scoring=parse_section(record, "scoring", ScoringConfig) or ScoringConfig(),
        report=ReportConfig(**config.report.model_dump()),
    )
    rule, made_with, mixer = find_rule(job, record["bundle_sha256"], storage)
    order = index_page.sort_by_suspicion(scored)
    report.write_overview(scored, order, job, output, rule, made_with, paged, mixer=mixer)
    if storage.exists(join(root, checksums.FILE)):
        checksums.write_checksums(root, storage)


def find_rule(job: ScoreJobConfig, sha256: str, storage: Storage) -> tuple[VerdictRule | None, str, Mixer]:
    """The operating point in force, the bundle in words, and its mixer.

    Where the bundle cannot be had any more there is no point, and a mixer of one bundle.
    """
    try:
        bundle = load_bundles(job.bundle, storage)
        rule = choose_verdict_rule(bundle, job.scoring)
        return rule, report.put_bundle_in_words(bundle), bundle.mixer
    except (UsageError, OSError) as error:
        log.warning("the page says nothing of error rates, for the bundle is not to be had: %s", error)
        return None, f"{', '.join(job.bundle)} ({sha256[:12]})", Mixer()


def say_what_it_knows(info: BundleInfo, people: Collection[str]) -> str:
    """Whether a bundle was trained on people, in words that name nobody."""
    identities = info.read_identities()
    if identities is None:
        return "does not say whom it was trained on"
    known = {split: len(names.intersection(people)) for split, names in identities.items()}
    if not any(known.values()):
        return f"was trained on none of {len(people)} identities that were removed"
    where = ", ".join(f"{count} in {split}" for split, count in known.items() if count)
    return f"was trained on identities that were removed ({where}); train again without them"
