"""What a score job leaves for people: CSV, JSON Lines, the index page, a page for each suspicious video."""

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from deepfake.config import SamplingConfig, ScoreJobConfig
from deepfake.crops.extraction import ExtractConfig
from deepfake.execution import session
from deepfake.execution.output import Output
from deepfake.faces.detectors.factory import carry_detector
from deepfake.io import tables
from deepfake.io.run_record import list_recorded_bundles, read_score_record
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from deepfake.model.bundle import Bundle
from deepfake.model.inference import AnyNetwork
from deepfake.model.thresholds import Mixer
from deepfake.model.validation_data import ArchiveDifferences
from deepfake.model.verdicts import VerdictRule
from deepfake.pipelines.score import case_report, evidence, index_page, video_page
from deepfake.pipelines.score.case_report import CaseFile
from deepfake.pipelines.score.changes_page import write_changes_page
from deepfake.pipelines.score.diff import Comparison
from deepfake.pipelines.score.evidence import Shown
from deepfake.pipelines.score.heat_maps import CPUS, HeatPictures
from deepfake.pipelines.score.rows import OWN
from deepfake.pipelines.score.video_page import Case, Picture
from deepfake.report import images

log = logging.getLogger(__name__)

SUSPICIOUS = ("likely_fake", "uncertain")
_OF_FILES = ("codec", "width", "height")  # what table videos alone knows
ROWS_AT_ONCE = 1024
VIDEOS_AT_ONCE = 16  # whose pictures are held at a time, and those of as many that wait for heat maps: 32 MB

Row = Mapping[str, Any]
Illustrations = Sequence[tuple[Shown, bytes | None]]  # pictures of a video, each with its heat map


def write_report(
    videos: pa.Table,
    config: ScoreJobConfig,
    output: Output,
    point: VerdictRule,
    bundle: Bundle,
    network: AnyNetwork | None,
    left_out: Mapping[str, str] = MappingProxyType({}),
    compared: Comparison | None = None,
    case: CaseFile | None = None,
) -> list[str]:
    """Write everything; the URIs to look at.

    ``videos`` is table ``video_scores``, its strings as dictionaries; the ``bundle``'s ``network`` draws heat
    maps, where they are wanted. The items of a ``case`` have a report besides.
    """
    order = index_page.sort_by_suspicion(videos)
    items = case_report.choose_items(case, videos, config.report.pages) if case else []
    also = list(case_report.find_rows(items, videos))
    cases = write_pages(videos, order, config, output, network, point, also, bundle.mixer)
    section = None if compared is None else compared.summarize()
    words = put_bundle_in_words(bundle)
    look_at = write_overview(
        videos, order, config, output, point, words, cases,
        left_out=left_out, compared=section, mixer=bundle.mixer,
    )  # fmt: skip
    if compared is not None:
        outputs = [describe_output(uri, output.storage) for uri in (compared.before, config.output)]
        look_at.append(write_changes_page(config.output, output.storage, compared, outputs))
    if case is None:
        output.storage.remove(join(output.root, case_report.PAGE))  # of an earlier run
        return look_at
    sampling = describe_sampling(config.sampling)
    about = (case, items, videos, cases, config, sampling, point, output.storage)
    return [case_report.write_case_report(*about), *look_at]


def write_overview(
    videos: pa.Table,
    order: pa.Array,
    config: ScoreJobConfig,
    output: Output,
    point: VerdictRule | None,
    bundle: str,
    paged: Iterable[str],
    *,
    left_out: Mapping[str, str] = MappingProxyType({}),
    compared: Mapping[str, Any] | None = None,
    mixer: Mixer = Mixer(),  # noqa: B008 - frozen
) -> list[str]:
    """Write the index page, and the videos as CSV and JSON Lines; the URIs to look at.

    ``order`` has rows of ``videos``, the most suspicious first; ``paged`` are the videos with a page;
    ``mixer`` is the bundle's.
    """
    csv = write_tables(videos, order, output)
    links = {name: video_page.locate_page(name) for name in paged}
    first = videos["video_id"].take(order[: config.report.max_thumbnails]).cast(pa.string()).combine_chunks()
    seen = output.read_rows_of("evidence", first, ["video_id", "image"])
    thumbnails = dict(zip(seen["video_id"].to_pylist(), seen["image"].to_pylist(), strict=True))
    facts = describe_run(config, point, bundle, left_out)
    known = (thumbnails, config.report, facts, links, point, compared, config.input, None)
    differing = compare_with_validation(videos, point, output)
    page = index_page.write_index(config.output, output.storage, videos, order, *known, differing, mixer)
    return [page, csv]


def compare_with_validation(
    videos: pa.Table, point: VerdictRule | None, output: Output
) -> ArchiveDifferences | None:
    """How many of the scored videos are unlike those of the bundle's validation; None: not known."""
    looked = output.read_finished_videos(["video_id", *_OF_FILES])
    if point is None or point.validated_on is None or looked is None:
        return None
    there = pc.index_in(videos["video_id"].cast(pa.string()), looked["video_id"].combine_chunks())
    for name in _OF_FILES:
        videos = videos.append_column(name, looked[name].take(there))
    return point.validated_on.compare_archive(videos)


def describe_output(uri: str, storage: Storage) -> dict[str, Any]:
    """One of ``write_changes_page``'s outputs."""
    record = read_score_record(uri, storage)
    rule = record.get("scoring") or {}
    point = "given" if rule.get("threshold") is not None else rule.get("operating_point", "default")
    return {
        "output": uri,
        "name": ", ".join(list_recorded_bundles(record)),
        "sha256": record["bundle_sha256"],
        "point": point,
    }


def describe_run(
    config: ScoreJobConfig, point: VerdictRule | None, bundle: str, left_out: Mapping[str, str]
) -> dict[str, object]:
    """What the index page says of the run, as label -> value; the arguments are those of ``write_report``."""
    return {
        "Archive": config.input,
        "Media files that are not read": left_out.get("not_read"),
        "Links out of it, not followed": left_out.get("links_left_out"),
        "Model bundle": bundle,
        "Detector": config.detector.name if config.detector else None,
        "Frames": describe_sampling(config.sampling),
        "Threshold": f"{point.threshold:.3g} ({point.name})" if point else None,
    }


def put_bundle_in_words(bundle: Bundle) -> str:
    """Where a bundle is and its hash; of an ensemble, of each."""
    words = "; ".join(f"{one.uri} ({one.sha256[:12]})" for one in bundle.members or (bundle,))
    return f"the mean of the calibrated scores of {words}" if bundle.members else words


def write_tables(videos: pa.Table, order: pa.Array, output: Output) -> str:
    """The videos as CSV and as JSON Lines, few rows at a time in memory; the URI of the former.

    In CSV what each bundle of an ensemble says is a column of its own.
    """
    storage = output.storage
    bundles = pc.max(pc.list_value_length(videos[OWN])).as_py() or 0
    csv, json_lines = (join(output.root, f"video_scores.{suffix}") for suffix in ("csv", "jsonl"))
    with (
        storage.writing(csv) as csv_path,
        storage.writing(json_lines) as json_path,
        pa.csv.CSVWriter(csv_path, _widen(videos.slice(0, 0), bundles).schema) as csv_file,
        json_path.open("w", encoding="utf-8") as json_file,
    ):
        for start in range(0, len(order), ROWS_AT_ONCE):
            some = tables.decode_strings("video_scores", videos.take(order[start : start + ROWS_AT_ONCE]))
            csv_file.write_table(tables.quote_formulas(_widen(some, bundles)))
            json_file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in some.to_pylist())
    return csv


def _widen(videos: pa.Table, bundles: int) -> pa.Table:
    """Rows of ``video_scores`` with columns ``score_1``, ``score_2``, ... of bundles in place of lists."""
    videos = tables.decode_strings("video_scores", videos)
    own = videos[OWN].combine_chunks()
    for number in range(bundles):
        column = pc.list_element(own, number) if len(own) else pa.array([], pa.float64())
        videos = videos.add_column(videos.column_names.index(OWN), f"score_{number + 1}", column)
    return videos.drop_columns([OWN])


def write_pages(
    videos: pa.Table,
    order: pa.Array,
    config: ScoreJobConfig,
    output: Output,
    network: AnyNetwork | None,
    point: VerdictRule,
    also: Sequence[str] = (),
    mixer: Mixer = Mixer(),  # noqa: B008 - frozen
) -> dict[str, Case]:
    """A page for each of the most suspicious videos, and for scored ones named in ``also``.

    What the pages show, by video_id. ``mixer`` is the bundle's.
    """
    output.storage.remove(join(output.root, video_page.FOLDER))
    verdicts = videos["verdict"].take(order).cast(pa.string())
    rows = order.filter(pc.is_in(verdicts, pa.array(SUSPICIOUS)))[: config.report.pages]
    ids = videos["video_id"].take(order).cast(pa.string())
    named = order.filter(pc.and_(pc.is_in(ids, pa.array(also, pa.string())), verdicts.is_valid()))
    rows = dict.fromkeys([*rows.to_pylist(), *named.to_pylist()])
    chosen = tables.decode_strings("video_scores", videos.take(pa.array(rows, pa.int64()))).to_pylist()
    if not chosen:
        return {}
    names = pa.array([video["video_id"] for video in chosen], pa.string())
    tracks, faces, found = (
        _read_by_video(output, table, names) for table in ("track_scores", "face_scores", "segments")
    )
    files = _read_files(output, names)
    cases = [
        Case({**video, **files.get(name, {})}, tracks[name], faces[name], found[name], mixer=mixer)
        for name, video in zip(names.to_pylist(), chosen, strict=True)
    ]
    return {
        case.video["video_id"]: _write_page(case, pictures, config, output, point)
        for case, pictures in illustrate(cases, config, output.storage, network)
    }


def _read_files(output: Output, names: pa.Array) -> Mapping[str, Row]:
    """What the manifest alone knows of some videos, by video_id."""
    looked = output.read_finished_videos(["video_id", *_OF_FILES])
    if looked is None:
        return {}
    return {row["video_id"]: row for row in looked.filter(pc.is_in(looked["video_id"], names)).to_pylist()}


def _read_by_video(output: Output, table: str, names: pa.Array) -> Mapping[str, list[Row]]:
    """The rows of some videos in a table, by video_id."""
    rows: dict[str, list[Row]] = defaultdict(list)
    for row in output.read_rows_of(table, names).to_pylist():
        rows[row["video_id"]].append(row)
    return rows


def illustrate(
    cases: Sequence[Case], config: ScoreJobConfig, storage: Storage, network: AnyNetwork | None
) -> Iterator[tuple[Case, Illustrations]]:
    """Each video with its pictures and their heat maps, some videos at a time.

    While heat maps are drawn, the pictures of the next videos are decoded.
    """
    heated = config.report.heat_maps and config.report.pictured_frames > 0
    heated = heated and network is not None and network.bundle.has_heat_maps
    heat = HeatPictures(network if heated else None)
    begun: Iterator[tuple[Case, Illustrations]] = iter(())
    for start in range(0, len(cases), VIDEOS_AT_ONCE):
        some = cases[start : start + VIDEOS_AT_ONCE]
        pictures = _show_cases(some, config, storage)
        wait = heat.begin([one.crop for several in pictures for one in several])
        yield from begun
        begun = _add_heat(some, pictures, wait)
    yield from begun


def _add_heat(
    cases: Sequence[Case], pictures: Sequence[Sequence[Shown]], wait: Callable[[], list[bytes | None]]
) -> Iterator[tuple[Case, Illustrations]]:
    heat = iter(wait())
    for case, several in zip(cases, pictures, strict=True):
        yield case, [(one, next(heat)) for one in several]


def _show_cases(cases: Sequence[Case], config: ScoreJobConfig, storage: Storage) -> list[list[Shown]]:
    """The pictures of each video, decoded in parallel; none where a decoder crashes."""
    assert config.detector is not None and config.crop is not None  # resolved
    detector = carry_detector(config.detector, storage)
    extraction = ExtractConfig(config.sampling, detector, config.crop, config.scoring.keep_crops)
    calls = []
    for case in cases:
        chosen = evidence.choose_faces(case.faces, case.segments, config.report.pictured_frames)
        video = {name: case.video[name] for name in ("video_id", "uri")}
        calls.append((video, chosen, extraction, storage))
    shown = []
    answers = session.spread_in_order(evidence.show_faces, calls, CPUS)
    for case, pictures in zip(cases, answers, strict=True):
        if isinstance(pictures, Exception):
            log.warning("%s: its frames cannot be shown: %s", case.video["video_id"], pictures)
        shown.append([] if isinstance(pictures, Exception) else pictures)
    return shown


def _write_page(
    case: Case, pictures: Illustrations, config: ScoreJobConfig, output: Output, point: VerdictRule
) -> Case:
    """Write a video's page and pictures; what it shows."""
    assert config.detector is not None  # resolved
    stem = video_page.name_file(case.video["video_id"])
    laid = []
    for number, (shown, heat) in enumerate(pictures, 1):
        contents = {"frame": shown.frame, "crop": images.encode_jpeg(shown.crop, evidence.JPEG_QUALITY)}
        contents |= {"heat": heat} if heat is not None else {}
        names = {what: f"{stem}-{number}-{what}.jpg" for what in contents}
        for what, content in contents.items():
            output.storage.write_bytes(join(output.root, video_page.FOLDER, names[what]), content)
        laid.append(Picture(shown.face, shown.width, shown.height, **names))
    case = replace(case, pictures=laid)
    html = video_page.render_video_page(
        case,
        config.scoring.smooth_seconds,
        config.detector.keep,
        describe_sampling(config.sampling),
        f"../{index_page.PAGE}",
        point,
        config.report,
    )
    output.storage.write_text(join(output.root, video_page.locate_page(case.video["video_id"])), html)
    return case


def describe_sampling(sampling: SamplingConfig) -> str:
    """Which frames are looked at."""
    return {
        "every_n": f"every {sampling.every_n}th frame",
        "per_second": f"{sampling.per_second:g} a second",
        "count": f"{sampling.count} a video, evenly spread",
        "keyframes": "key frames only",
    }[sampling.policy]
