"""The page of an archive's scores: what was looked at, what was found, which video to look at first."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.config import ReportConfig
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import FAILURES, Status
from deepfake.io.uri import join
from deepfake.metrics import bound_precision, predict_precision
from deepfake.model.thresholds import Mixer
from deepfake.model.validation_data import ArchiveDifferences
from deepfake.model.verdicts import VERDICT_WORDS, VerdictRule
from deepfake.pipelines.score import findings, video_page
from deepfake.pipelines.score.rows import OWN
from deepfake.report import html

PAGE = "report.html"
THUMBNAILS = "thumbnails"
PAGE_ROWS = 100  # rows that the table shows at once, and all that it shows without JavaScript
BINS = 20
COLUMNS = ["video_id", "score", "status", "status_detail", "verdict", "frames_sampled", "frames_with_face",
           "faces", "worst_time_s", "label", "log10_lr", "uri", "worst_track_id", "tracks", "segments_s",
           "face_size_px", OWN]  # fmt: skip

STATUS_WORDS: dict[str, str] = {
    Status.OK: "scored",
    Status.NO_FACE: "no face was found in the frames looked at",
    Status.TOO_SHORT: "too few faces or frames to judge",
    Status.DECODE_ERROR: "damaged: it could not be decoded",
    Status.UNREADABLE: "could not be opened as a video",
    Status.UNSUPPORTED: "of a kind or size that is not analysed",
    Status.TIMEOUT: "took longer than the time limit",
    Status.SKIPPED_DUPLICATE: "same content as another file, which stands for it",
}
LABEL_WORDS = {0: "real", 1: "fake"}


@dataclass(frozen=True)
class Unfinished:
    """What the page says while the job still runs."""

    total: int  # videos that there will be
    when: str  # it was written
    pictures: set[str]  # names of the thumbnails that are there; those that are written join them


def write_index(
    output: str,
    storage: Storage,
    videos: pa.Table,
    order: pa.Array,
    thumbnails: Mapping[str, bytes] = MappingProxyType({}),
    config: ReportConfig = ReportConfig(),  # noqa: B008 - frozen
    facts: Mapping[str, object] = MappingProxyType({}),
    links: Mapping[str, str] = MappingProxyType({}),
    point: VerdictRule | None = None,
    compared: Mapping[str, Any] | None = None,
    archive: str = "",
    unfinished: Unfinished | None = None,
    differing: ArchiveDifferences | None = None,
    mixer: Mixer = Mixer(),  # noqa: B008 - frozen
) -> str:
    """Write ``report.html`` and ``thumbnails/`` below ``output``; returns the page's URI.

    Args:
        videos: table ``video_scores``, in any order; its strings may be dictionaries.
        order: its rows ``sort_by_suspicion``.
        thumbnails: JPEG of the highest-scoring face by ``video_id``; the most suspicious
            ``report.max_thumbnails`` are written.
        facts: what else the page says of the run, as label -> value: input, bundle, detector, ...
        links: paths of the videos' own pages, relative to this one, by ``video_id``.
        point: the operating point in force, for what its error rates mean at the user's prevalence.
        compared: what changed against another output, as ``diff.Comparison.summarize`` gives it.
        unfinished: while the job still runs.
        differing: how many videos are unlike those of validation, where it is known.
        archive: the input; a reader's own review is kept under it, whichever bundle scores it.
        mixer: the bundle's; what each bundle of an ensemble says has a column.
    """
    rows = tables.decode_strings("video_scores", videos.select(COLUMNS).take(order[: config.rows]))
    there = unfinished.pictures if unfinished else set()
    names = [name for name in rows["video_id"].to_pylist() if there or name in thumbnails]
    files = {name: f"{video_page.name_file(name)}.jpg" for name in names}
    shown = [name for name in names if name in thumbnails or files[name] in there]
    shown = shown[: config.max_thumbnails]
    if not unfinished:
        storage.remove(join(output, THUMBNAILS))
    with ThreadPoolExecutor(8) as pool:
        new = [name for name in shown if name in thumbnails]
        places = [join(output, THUMBNAILS, files[name]) for name in new]
        list(pool.map(storage.write_bytes, places, [thumbnails[name] for name in new]))
    there.update(files[name] for name in new)
    paths = {name: f"{THUMBNAILS}/{files[name]}" for name in shown}
    totals = tables.decode_strings("video_scores", videos.select(["score", "status", "verdict", "threshold"]))
    scores = totals["score"].drop_null().to_numpy()
    by_status, by_verdict = (tables.count_values(totals[name]) for name in ("status", "verdict"))
    most_first = sorted(by_status, key=lambda status: (-by_status[status], status))
    ensemble = _compare_bundles(rows, mixer) if mixer.names else None
    data = {**_collect_data(rows, paths, links), "ensemble": ensemble, "archive": archive}
    thresholds = pc.unique(totals["threshold"]).drop_null().to_pylist()
    text = html.render_page(
        "scores.html",
        title=config.title or "Deepfake scores",
        script=html.read_asset("scores.js"),
        data=html.make_script_json(data),
        rows=[_select_row(data, i) for i in range(min(PAGE_ROWS, rows.num_rows))],
        page_rows=PAGE_ROWS,
        total=totals.num_rows,
        held=rows.num_rows,
        scored=int(scores.size),
        failed=sum(n for status, n in by_status.items() if status in FAILURES),
        statuses=[(STATUS_WORDS.get(s, s), s, by_status[s]) for s in most_first],
        verdicts=[(words, v, by_verdict[v]) for v, words in VERDICT_WORDS.items()],
        threshold=thresholds[0] if len(thresholds) == 1 else None,
        histogram=_compute_histogram(scores),
        facts={label: value for label, value in facts.items() if value is not None},
        point=point,
        compared=compared,
        unfinished=unfinished,
        alarms=predict_alarms(point, config.prevalence),
        differing=differing,
        labelled=any(label is not None for label in data["label"]),
        rated=bool(data["ratioWords"]),
        bundles=len(mixer.names),
    )
    storage.write_text(join(output, PAGE), text)
    return join(output, PAGE)


def sort_by_suspicion(videos: pa.Table) -> pa.Array:
    """Row numbers: scored videos from the highest score down, then the others by status; ties by name."""
    given = tables.decode_strings("video_scores", videos.select(["video_id", "score", "status"]))
    unscored = pc.is_null(given["score"])
    keys = {
        "unscored": pc.cast(unscored, pa.int8()),
        "score": given["score"],
        "status": pc.if_else(unscored, given["status"], ""),
        "video_id": given["video_id"],
    }
    ways = {"score": "descending"}
    return pc.sort_indices(pa.table(keys), [(name, ways.get(name, "ascending")) for name in keys])


def predict_alarms(point: VerdictRule | None, prevalence: Sequence[float]) -> list[dict[str, Any]]:
    """How many of those called fake are fakes, where ``prevalence`` of all videos are.

    ``prevalence, right`` (the share), ``interval`` (95 %: what so few validation videos can show) for each of
    several; empty where the error rates are not known.
    """
    if point is None or point.measured is None:
        return []
    seen = point.measured
    hits, fakes = seen.effective_fakes or (round(seen.tpr * seen.fake_videos), seen.fake_videos)
    false_alarms, reals = seen.effective_reals or (round(seen.fpr * seen.real_videos), seen.real_videos)
    return [
        {
            "prevalence": share,
            "right": predict_precision(seen.tpr, seen.fpr, share),
            "interval": bound_precision(hits, fakes, false_alarms, reals, share),
        }
        for share in prevalence
    ]


def _collect_data(
    videos: pa.Table, thumbnails: Mapping[str, str], links: Mapping[str, str]
) -> dict[str, Any]:
    """Column-wise, as the script reads it; what the first rows are rendered from as well."""
    status, verdict = videos["status"].to_pylist(), videos["verdict"].to_pylist()
    names, status_words = videos["video_id"].to_pylist(), sorted(set(status))
    detail = enumerate(videos["status_detail"].to_pylist())
    rated = [findings.phrase_ratio(ratio) for ratio in videos["log10_lr"].to_pylist()]
    ratios = list(dict.fromkeys(words for words in rated if words))
    numbers = {words: number for number, words in enumerate(ratios)}
    return {
        "name": [html.make_visible(name) for name in names],
        "score": [None if s is None else round(s, 3) for s in videos["score"].to_pylist()],
        "status": [status_words.index(s) for s in status],
        "statusKeys": status_words,
        "statusWords": [STATUS_WORDS.get(s, s) for s in status_words],
        "verdict": [None if v is None else list(VERDICT_WORDS).index(v) for v in verdict],
        "verdictKeys": list(VERDICT_WORDS),
        "verdictWords": list(VERDICT_WORDS.values()),
        "frames": videos["frames_sampled"].to_pylist(),
        "withFace": videos["frames_with_face"].to_pylist(),
        "faces": videos["faces"].to_pylist(),
        "worst": [None if t is None else round(10 * t) for t in videos["worst_time_s"].to_pylist()],
        "label": [LABEL_WORDS.get(label) for label in videos["label"].to_pylist()],
        "ratio": [None if one is None else numbers[one] for one in rated],
        "ratioWords": ratios,
        "track": videos["worst_track_id"].to_pylist(),
        "tracks": videos["tracks"].to_pylist(),
        "seconds": [None if s is None else round(s, 1) for s in videos["segments_s"].to_pylist()],
        "facePx": [None if px is None else round(px) for px in videos["face_size_px"].to_pylist()],
        "smallPx": video_page.SMALL_FACE_PX,
        **_locate_files(names, videos["uri"].to_pylist()),
        "id": {str(row): name for row, name in enumerate(names) if name != html.make_visible(name)},
        "detail": {str(row): html.make_visible(text) for row, text in detail if text},
        "thumbnail": {str(row): thumbnails[name] for row, name in enumerate(names) if name in thumbnails},
        "page": {str(row): links[name] for row, name in enumerate(names) if name in links},
        "pageRows": PAGE_ROWS,
    }


def _compare_bundles(videos: pa.Table, mixer: Mixer) -> dict[str, Any]:
    """What each bundle of an ensemble says of each video, calibrated, and how far apart they are.

    ``said`` has a list for each of the ``names``. These and ``apart``, the highest less the lowest, have None
    for videos without a score.
    """
    scored = [own is not None for own in videos[OWN].to_pylist()]
    said = np.full((len(scored), len(mixer.names)), np.nan)
    said[scored] = mixer.calibrate(np.reshape(videos[OWN].drop_null().to_pylist(), (-1, len(mixer.names))))

    def round_off(values: np.ndarray) -> list[float | None]:
        return [None if np.isnan(value) else round(value, 3) for value in values.tolist()]

    return {
        "names": [html.make_visible(name) for name in mixer.names],
        "said": [round_off(of_one) for of_one in said.T],
        "apart": round_off(np.ptp(said, axis=1)),
    }


def _locate_files(names: Sequence[str], uris: Sequence[str]) -> dict[str, Any]:
    """Links to files that a browser can open: below ``folder`` by their names, and others ``elsewhere``.

    The latter has by row what no name tells: another place, or None for none.
    """
    roots = (uri[: -len(name)] for name, uri in zip(names, uris, strict=True) if uri.endswith(f"/{name}"))
    root = next((root for root in roots if video_page.locate_local(root)), None)
    others = {
        str(row): video_page.locate_local(uri)
        for row, (name, uri) in enumerate(zip(names, uris, strict=True))
        if root is None or uri != root + name or name != html.make_visible(name)
    }
    folder = root and f"{str(video_page.locate_local(root)).rstrip('/')}/"
    return {"folder": folder, "elsewhere": others if root else {row: at for row, at in others.items() if at}}


def explain_verdict(track: int | None, tracks: int, seconds: float | None, face_px: int | None) -> str:
    """What a verdict rests on: the worst track, how long the video looks fake, how large the faces are."""
    if face_px is None:
        return ""
    parts = [f"track {track} the worst of {tracks}"] if tracks > 1 else []
    if seconds is not None:
        parts.append(f"fake for {seconds:.1f} s" if seconds else "no stretch looks fake")
    small = "small faces" if face_px < video_page.SMALL_FACE_PX else "faces"
    return ", ".join([*parts, f"{small} of {face_px} px"])


def _select_row(data: Mapping[str, Any], i: int) -> dict[str, Any]:
    verdict, ratio, name, worst = (data[key][i] for key in ("verdict", "ratio", "name", "worst"))
    ensemble = data["ensemble"] or {"names": (), "said": (), "apart": {i: None}}
    file = data["elsewhere"].get(str(i), data["folder"] and data["folder"] + quote(name, safe="/!'()*~"))
    at = "" if worst is None else f"#t={worst // 10}.{worst % 10}"
    return {
        **{
            name: data[name][i] for name in ("name", "score", "frames", "withFace", "faces", "worst", "label")
        },
        "verdict_key": None if verdict is None else data["verdictKeys"][verdict],
        "verdict": None if verdict is None else data["verdictWords"][verdict],
        "ratio": None if ratio is None else data["ratioWords"][ratio],
        "apart": ensemble["apart"][i],
        "said": [(name, of_one[i]) for name, of_one in zip(ensemble["names"], ensemble["said"], strict=True)],
        "reason": explain_verdict(*(data[key][i] for key in ("track", "tracks", "seconds", "facePx"))),
        "file": file and file + at,
        "status": data["statusWords"][data["status"][i]],
        "detail": data["detail"].get(str(i)),
        "thumbnail": data["thumbnail"].get(str(i)),
        "page": data["page"].get(str(i)),
    }


def _compute_histogram(scores: np.ndarray) -> list[dict[str, Any]]:
    """Equal-width bins from 0 to 1: ``lower, upper, n, height`` with the height in [0, 1] of the highest."""
    counts, edges = np.histogram(scores, bins=BINS, range=(0.0, 1.0))
    highest = max(1, int(counts.max()))
    return [
        {"lower": float(a), "upper": float(b), "n": int(n), "height": float(n / highest)}
        for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
