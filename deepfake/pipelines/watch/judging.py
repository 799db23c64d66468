"""The faces of one frame after the other, scored and followed: each person's running score and verdict."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfake.config import RuleConfig
from deepfake.faces.detectors.base import Detection
from deepfake.faces.encoding import decode_image
from deepfake.faces.tracking import Tracker
from deepfake.metrics import aggregate
from deepfake.model.inference import Scorer
from deepfake.model.verdicts import VerdictRule

Row = Mapping[str, Any]


@dataclass(frozen=True)
class JudgedFace:
    """A face of the newest frame."""

    track: int  # whose face it is, as numbered through the source
    box: tuple[float, float, float, float]  # x, y, width, height in pixels of the upright frame
    score: float  # of this face alone
    running: float  # of the track's last seconds
    faces: int  # that it is made of
    verdict: str | None  # None: nothing is proven of the bundle, or the faces are too few


class FaceJudge:
    """Keeps the scores of the people in sight."""

    def __init__(self, scorer: Scorer, rule: VerdictRule, config: RuleConfig, window_seconds: float) -> None:
        self._scorer, self._rule, self._config, self._window = scorer, rule, config, window_seconds
        self._tracker = Tracker()
        self._scores: dict[int, deque[tuple[float, float]]] = {}  # (time_s, score) by track

    def judge(self, rows: Sequence[Row]) -> list[JudgedFace]:
        """The faces of the next frame: rows of table ``watched``. Those without a crop are only followed."""
        found = [row for row in rows if row["face_index"] is not None]
        boxes = [(row["x"], row["y"], row["w"], row["h"]) for row in found]
        detections = [Detection(*box, row["score"]) for box, row in zip(boxes, found, strict=True)]
        numbers = self._tracker.assign(detections)
        shown = [i for i, row in enumerate(found) if row["crop"] is not None]
        crops = [decode_image(found[i]["crop"]) for i in shown]
        scores = self._scorer.score(np.stack(crops)) if crops else ()
        now = rows[0]["time_s"]
        judged = [
            self._judge_face(now, numbers[i], boxes[i], float(score))
            for i, score in zip(shown, scores, strict=True)
        ]
        self._forget(now)
        return judged

    def _judge_face(
        self, now: float, track: int, box: tuple[float, float, float, float], score: float
    ) -> JudgedFace:
        recent = self._scores.setdefault(track, deque())
        recent.append((now, score))
        while recent[0][0] < now - self._window:
            recent.popleft()
        times, scores = zip(*recent, strict=True)
        running = aggregate(scores, self._config.aggregation, self._config.top_k, times)
        is_judged = not self._rule.unproven and len(scores) >= self._config.min_faces
        verdict = self._rule.judge(running) if is_judged else None
        return JudgedFace(track, box, score, running, len(scores), verdict)

    def _forget(self, now: float) -> None:
        """Whoever was not seen within the window has no score any more."""
        gone = [track for track, recent in self._scores.items() if recent[-1][0] < now - self._window]
        for track in gone:
            del self._scores[track]
