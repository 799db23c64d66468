"""How many faces came out of how many frames, by class and method.

A detector that misses one class more often leaks the label into the data set, so this is looked at before
anything is trained.
"""

from collections import defaultdict
from typing import Any

import pyarrow as pa

from deepfake.config import DetectorConfig
from deepfake.io.tables import FAILURES, Status

WARN_POINTS = 3.0  # percentage points between the classes


def count_yield(videos: pa.Table) -> list[dict[str, Any]]:
    """One row for each label and method of table ``videos``, in order; duplicates left out do not count."""
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in videos.select(
        ["label", "method", "status", "frames_sampled", "frames_with_face", "faces"]
    ).to_pylist():
        if row["status"] == Status.SKIPPED_DUPLICATE:
            continue
        group = sums[{0: "real", 1: "fake"}.get(row["label"], "unlabelled"), row["method"] or ""]
        group["videos"] += 1
        group["failed"] += row["status"] in FAILURES
        group["without_a_face"] += row["status"] == Status.NO_FACE
        for name in ("frames_sampled", "frames_with_face", "faces"):
            group[name] += row[name]
    return [
        {
            "label": label,
            "method": method,
            **{n: group[n] for n in ("videos", "failed", "without_a_face", "frames_sampled", "faces")},
            "frames_with_face": group["frames_with_face"],
            "face_share": _share(group["frames_with_face"], group["frames_sampled"]),
        }
        for (label, method), group in sorted(sums.items())
    ]


def explain_difference(rows: list[dict[str, Any]], detector: str) -> str | None:
    """Words where the share of frames with a face differs between real and fake by too much.

    ``detector`` is the name of the one that was used: it is no remedy for itself.
    """
    shares = {}
    for label in ("real", "fake"):
        mine = [row for row in rows if row["label"] == label]
        shares[label] = _share(
            sum(row["frames_with_face"] for row in mine), sum(row["frames_sampled"] for row in mine)
        )
    real, fake = shares["real"], shares["fake"]
    if real is None or fake is None or abs(real - fake) * 100 <= WARN_POINTS:
        return None
    remedies = ["detector.boxes from_original, where originals stand beside their fakes"]
    if detector != "yunet":
        remedies.insert(0, "detector.name yunet")
    return (
        f"a face is found in {real:.1%} of the real frames and in {fake:.1%} of the fake ones: which faces "
        f"are missed tells the label; use {', or '.join(remedies)}"
    )


def describe_detector(config: DetectorConfig) -> str:
    """Which detector finds the faces, and what that costs, in a line; measured: docs/detectors.md."""
    if config.name == "yunet":
        return "faces are found by yunet, in about 4 ms a frame"
    return (
        "faces are found by haar, in about 30 ms a frame; it misses a quarter of the fake frames in which "
        "yunet finds a face, and 7 % of the real ones (--detector.name yunet)"
    )


def format_yield(rows: list[dict[str, Any]]) -> str:
    """The table as text, for people."""
    head = (
        f"{'label':<11}{'method':<18}{'videos':>7}{'failed':>7}{'no face':>8}{'frames':>8}{'with face':>10}"
    )
    lines = [head + f"{'share':>8}"]
    for row in rows:
        share = "" if row["face_share"] is None else f"{row['face_share']:.1%}"
        lines.append(
            f"{row['label']:<11}{row['method']:<18.17}{row['videos']:>7}{row['failed']:>7}"
            f"{row['without_a_face']:>8}{row['frames_sampled']:>8}{row['frames_with_face']:>10}{share:>8}"
        )
    return "\n".join(lines)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
