"""A page for one suspicious video: when which face looked fake, what the frames show, what was not seen.

No script: the timeline is a drawing with a table beside it, so the page prints and reads aloud as it is.
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepfake.config import ReportConfig
from deepfake.errors import AddressError
from deepfake.io.uri import split_uri
from deepfake.metrics import segments
from deepfake.model.thresholds import Mixer
from deepfake.model.verdicts import VERDICT_WORDS, VerdictRule
from deepfake.pipelines.score import findings
from deepfake.pipelines.score.rows import OWN
from deepfake.report import html

FOLDER = "video_pages"
WIDTH, HEIGHT, LEFT, TOP = 800, 150, 44, 10  # of a timeline, in units of its drawing
PLOT_WIDTH, PLOT_HEIGHT = WIDTH - LEFT - 34, HEIGHT - TOP - 24  # on the right, half of the last time
# A smaller face with its margin has less than the usual crop's 224 pixels.
SMALL_FACE_PX = 224 / (1 + 2 * 0.15)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Picture:
    """One face of the video as the page shows it. Paths are relative to the page."""

    face: Row  # of table face_scores
    width: int  # of the source frame; the box is in its pixels
    height: int
    frame: str
    crop: str
    heat: str | None = None


@dataclass(frozen=True)
class Case:
    """All that is known of one video: its rows of the score tables, and its pictures."""

    video: Row
    tracks: Sequence[Row]
    faces: Sequence[Row]
    segments: Sequence[Row]
    pictures: Sequence[Picture] = field(default=())
    mixer: Mixer = Mixer()  # noqa: RUF009 - frozen; of an ensemble


def name_file(video_id: str) -> str:
    """A name that is safe whatever the video is called."""
    return hashlib.sha256(video_id.encode("utf-8")).hexdigest()[:24]


def locate_page(video_id: str) -> str:
    """Where a video's page lies, relative to the output."""
    return f"{FOLDER}/{name_file(video_id)}.html"


def locate_local(uri: str) -> str | None:
    """A link that opens a file of this machine in a browser; None for one that lies elsewhere or nowhere."""
    if "://" in uri and not uri.startswith("file://"):
        return None
    try:
        return Path(split_uri(uri)[1]).as_uri()
    except AddressError:
        return None


def render_video_page(
    case: Case,
    smooth_seconds: float,
    keep: str,
    sampling: str,
    back: str,
    point: VerdictRule | None = None,
    config: ReportConfig = ReportConfig(),  # noqa: B008 - frozen
) -> str:
    """The page's HTML; ``back`` is the relative path of the index page, the rest as in ``explain_video``."""
    known = explain_video(case, smooth_seconds, keep, sampling, point, config)
    verdict = VERDICT_WORDS[case.video["verdict"]]
    return html.render_page("video.html", title=known["name"], back=back, verdict=verdict, **known)


def explain_video(
    case: Case,
    smooth_seconds: float,
    keep: str,
    sampling: str,
    point: VerdictRule | None,
    config: ReportConfig,
    prefix: str = "",
) -> dict[str, Any]:
    """What ``video_sections.html`` says of one video.

    Args:
        case: the video.
        smooth_seconds: ``scoring.smooth_seconds``, as the segments were found with.
        keep: ``detector.keep``.
        sampling: which frames were looked at, in words.
        point: the operating point in force.
        config: the pages' section: shares of fakes among all videos, and whether frames are shown.
        prefix: of the sections' names, where they are a part of another page that lies beside ``FOLDER``.
    """
    video, validated_on = case.video, point.validated_on if point else None
    return {
        "prefix": prefix,
        "level": 3 if prefix else 2,
        "folder": f"{FOLDER}/" if prefix else "",
        "name": str(video["video_id"]),
        "video": video,
        "file": None if prefix else locate_local(video["uri"]),
        "facts": describe_video(video),
        "own": _list_own_scores(video.get(OWN), case.mixer),
        "timelines": [_timeline(track, case, smooth_seconds) for track in case.tracks],
        "segments": case.segments,
        "pictures": case.pictures,
        "pictured": config.pictured_frames > 0,
        "unseen": list_unseen(case, keep, sampling),
        "record": list_record(video),
        "credentials": findings.describe_credentials(video),
        "unproven": point.unproven if point else "",
        "finding": findings.describe_ratio(video, config.prevalence),
        "propositions": findings.PROPOSITIONS,
        "rates": findings.describe_error_rates(point.measured) if point and point.measured else [],
        "rates_note": point.measured.note if point and point.measured else None,
        "operating_point": video["operating_point"],
        "validated_on": validated_on.put_in_words() if validated_on else None,
        "differences": validated_on.list_differences(video) if validated_on else [],
        "drawing": {"width": WIDTH, "height": HEIGHT, "left": LEFT, "top": TOP, "plot_width": PLOT_WIDTH,
                    "plot_height": PLOT_HEIGHT},
    }  # fmt: skip


def _list_own_scores(own: Sequence[float] | None, mixer: Mixer) -> list[tuple[str, float, float]]:
    """What each bundle of an ensemble says of a video: name, by itself, and as it counts in the mean."""
    if own is None or not mixer.names:
        return []
    counted = mixer.calibrate(np.array([own]))[0].tolist()
    return list(zip(mixer.names, own, counted, strict=True))


def describe_video(video: Row) -> dict[str, str]:
    """What the score rests on, as label -> words."""
    made = {
        "Frames looked at": html.format_count(video["frames_sampled"]),
        "of these with a face": html.format_count(video["frames_with_face"]),
        "Faces scored": html.format_count(video["faces"]),
        "Tracks (people)": html.format_count(video["tracks"]),
        "Longest track": _seconds(video["longest_track_s"]),
        "Face size (median)": f"{video['face_size_px']:.0f} pixels" if video["face_size_px"] else None,
        "Sharpness (median)": f"{video['sharpness']:.0f}" if video["sharpness"] is not None else None,
        "Looks fake for": _seconds(video["segments_s"]),
        "Length": _seconds(video["duration_s"]),
        "Picture": f"{video['width']} x {video['height']}, {video['codec']}" if video.get("width") else None,
    }
    return {label: words for label, words in made.items() if words is not None}


def list_record(video: Row) -> dict[str, str]:
    """What an expert needs to repeat the score, as label -> words."""
    made = {
        "File": video["uri"],
        "SHA-256 of its bytes": video["content_sha256"],
        "Size": f"{video['size_bytes']:,} bytes" if video["size_bytes"] is not None else None,
        "Streams and parts": video["notes"],
        "Detector": video["detector"],
        "Operating point": video["operating_point"],
        "Model bundle": video["bundle_sha256"],
        "Configuration": video["config_sha256"],
        "Made with": video["made_with"],
    }
    return {label: words for label, words in made.items() if words}


def list_unseen(case: Case, keep: str, sampling: str) -> list[str]:
    """What the score does not cover, in sentences."""
    video = case.video
    looked, found = video["frames_sampled"], video["frames_with_face"]
    made = [f"Only {html.format_count(looked)} frames were looked at ({sampling}); nothing between them was."]
    if found < looked:
        made.append(f"In {html.format_count(looked - found)} of them no face was found.")
    for start, end in find_gaps([face["time_s"] for face in case.faces], video["duration_s"]):
        made.append(f"No face was scored between {_clock(start)} and {_clock(end)}.")
    if keep == "largest":
        made.append("Of each frame only the face of the most prominent person was scored; others were not.")
    if video["face_size_px"] is not None and video["face_size_px"] < SMALL_FACE_PX:
        made.append(
            f"The faces are small ({video['face_size_px']:.0f} pixels), which makes the score less certain."
        )
    if video["status_detail"]:
        made.append(f"The file is not whole: {video['status_detail']}.")
    made.append("Sound, edits outside faces and wholly generated footage were not analysed.")
    return made


def find_gaps(times: Sequence[float], duration_s: float | None) -> list[tuple[float, float]]:
    """Stretches without a scored face that are much longer than the usual distance of two looks."""
    seen = np.unique(np.asarray(times, np.float64))
    if not seen.size or not duration_s:
        return []
    steps = np.diff(seen)
    usual = float(np.median(steps)) if steps.size else duration_s
    edges = np.concatenate([[0.0], seen, [max(duration_s, float(seen[-1]))]])
    return [
        (float(start), float(end))
        for start, end in itertools.pairwise(edges)
        if end - start > segments.GAP * usual
    ]


def _timeline(track: Row, case: Case, smooth_seconds: float) -> dict[str, Any]:
    """What the template draws of one track; positions in the drawing's units."""
    faces = [face for face in case.faces if face["track_id"] == track["track_id"]]
    times = [face["time_s"] for face in faces]
    scores = [face["score"] for face in faces]
    length = max(case.video["duration_s"] or 0.0, max(times, default=0.0), 1e-3)

    def x(time_s: float) -> float:
        return round(LEFT + PLOT_WIDTH * time_s / length, 1)

    def y(score: float) -> float:
        return round(TOP + PLOT_HEIGHT * (1 - score), 1)

    smooth = segments.smooth_scores(times, scores, smooth_seconds)
    video = case.video
    return {
        "track": track,
        "points": [(x(t), y(s), _clock(t), s) for t, s in zip(times, scores, strict=True)],
        "lines": [" ".join(f"{x(t)},{y(s)}" for t, s in run) for run in _unbroken(times, smooth.tolist())],
        "bars": [
            (x(row["start_s"]), max(2.0, round(x(row["end_s"]) - x(row["start_s"]), 1)))
            for row in case.segments
            if row["track_id"] == track["track_id"]
        ],
        "threshold": y(video["threshold"]),
        "band": (y(video["uncertain_to"]), round(y(video["uncertain_from"]) - y(video["uncertain_to"]), 1)),
        "ticks": [(x(t), _clock(t)) for t in _ticks(length)],
    }


def _unbroken(times: Sequence[float], values: Sequence[float]) -> list[list[tuple[float, float]]]:
    """The points of a line, cut where nothing was seen for long."""
    steps = np.diff(times)
    usual = float(np.median(steps)) if steps.size else 0.0
    runs: list[list[tuple[float, float]]] = []
    for i, point in enumerate(zip(times, values, strict=True)):
        if i == 0 or steps[i - 1] > segments.GAP * usual:
            runs.append([])
        runs[-1].append(point)
    return runs


def _ticks(length: float) -> list[float]:
    """Four to eight round times along a video."""
    steps = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
    step = next((s for s in steps if length / s <= 8), steps[-1])
    return [i * step for i in range(int(length / step) + 1)]


def _clock(time_s: float) -> str:
    return html.format_clock(round(10 * time_s))


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f} s"
