"""Made-up rows of score tables."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from deepfake.io import tables

HOSTILE = (
    "<script>alert(1)</script>.mp4",
    "</script><script>alert(2)</script>.mp4",
    "<img src=x onerror=alert(3)>.mp4",
    "a\"b'c&amp;<!--.mp4",
    "new\nline\ttab\r.mp4",
    "invoice\u202e4pm.exe",
    "\u2066isolated\u2069\u200b.mp4",
    "line\u2028and\u2029paragraph.mp4",
    "javascript:alert(4)",
    "{{ 7 * 7 }}${7*7}.mp4",
    "\u0645\u0631\u062d\u0628\u0627/\u65e5\u672c.mp4",
    "  spaces  .mp4",
)


def video_row(name: str, score: float | None, **other: Any) -> dict[str, Any]:
    """A row of ``video_scores``, scored if there is a score."""
    if score is None:
        verdict, status = None, "no_face"
    else:
        verdict, status = ("likely_fake" if score >= 0.5 else "likely_real"), "ok"
    return {
        "video_id": name,
        "uri": f"/archive/{name}",
        "status": status,
        "score": score,
        "verdict": verdict,
        "threshold": 0.5,
        "frames_sampled": 10,
        "frames_with_face": 0 if score is None else 9,
        "faces": 0 if score is None else 9,
        "tracks": 0 if score is None else 1,
        "worst_time_s": None if score is None else 3.5,
        "bundle_sha256": "ab" * 32,
        "config_sha256": "cd" * 32,
        **other,
    }


def video_table(*rows: dict[str, Any]) -> pa.Table:
    """Rows as the table ``video_scores``."""
    return tables.from_rows("video_scores", rows)
