"""What a user gets who acts on the scores of videos: alarms, misses, precision at home, doubt left open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepfake import metrics
from deepfake.config import EvaluationConfig
from deepfake.model.thresholds import Calibration, OperatingPoint, UncertainBand


@dataclass(frozen=True)
class Decided:
    """What a bundle's validation chose for one way of aggregating."""

    points: Sequence[OperatingPoint] = ()
    band: UncertainBand | None = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Judgement:
    """``points``: a row for each threshold; ``band`` and ``coverage``: what abstaining costs and gains."""

    prevalence: float | None = None
    points: list[dict[str, Any]] = field(default_factory=list)
    band: dict[str, Any] | None = None
    coverage: list[dict[str, Any]] = field(default_factory=list)
    calibration: list[dict[str, Any]] = field(default_factory=list)
    probabilities: np.ndarray | None = None  # (n,) of the videos; None without a calibration

    def as_json(self) -> dict[str, Any]:
        """All but the arrays."""
        return {
            "prevalence": self.prevalence,
            "operating_points": self.points,
            "uncertain_band": self.band,
            "coverage": self.coverage,
            "calibration": self.calibration,
        }


def judge(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    config: EvaluationConfig,
    decided: Decided | None = None,
) -> Judgement:
    """Validation's thresholds, tried on these videos; only the threshold in force where there are none."""
    decided = decided or Decided()
    points = [_point(labels, scores, point.threshold, config.prevalence, point) for point in decided.points]
    if threshold not in [point["threshold"] for point in points]:
        points.insert(0, _point(labels, scores, threshold, config.prevalence))
    band = None
    if decided.band is not None:
        band = metrics.judge_outside(labels, scores, decided.band.low, decided.band.high)
    calibration, probabilities = _calibration(labels, scores, decided.calibration)
    return Judgement(
        prevalence=config.prevalence,
        points=points,
        band=band,
        coverage=metrics.at_coverages(labels, scores, threshold),
        calibration=calibration,
        probabilities=probabilities,
    )


def _point(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    prevalence: float,
    chosen: OperatingPoint | None = None,
) -> dict[str, Any]:
    called = scores >= threshold
    fakes, reals = int((labels == 1).sum()), int((labels == 0).sum())
    hits, alarms = int(called[labels == 1].sum()), int(called[labels == 0].sum())
    tpr, fpr = hits / fakes if fakes else None, alarms / reals if reals else None
    return {
        "name": chosen.name if chosen else "in force",
        "threshold": threshold,
        "target_fpr": chosen.target_fpr if chosen else None,
        "validation_fpr": chosen.fpr if chosen else None,
        "validation_real_videos": chosen.real_videos if chosen else None,
        "note": chosen.note if chosen else None,
        "false_alarms": alarms,
        "n_real": reals,
        "fpr": fpr,
        "fpr_interval": metrics.share_interval(alarms, reals),
        "found": hits,
        "n_fake": fakes,
        "tpr": tpr,
        "tpr_interval": metrics.share_interval(hits, fakes),
        "precision": None
        if tpr is None or fpr is None
        else metrics.precision_at_prevalence(tpr, fpr, prevalence),
        "precision_interval": metrics.precision_interval(hits, fakes, alarms, reals, prevalence),
    }


def _calibration(
    labels: np.ndarray, scores: np.ndarray, calibration: Calibration | None
) -> tuple[list[dict[str, Any]], np.ndarray | None]:
    """Log loss, Brier score and calibration error of the scores and of the probabilities made of them."""
    if calibration is None or not calibration.log_loss or not labels.size:
        return [], None
    # fitted at validation's share of fakes; judged at the share that there is here
    share = float(labels.mean())
    probabilities = calibration(scores, share if 0.0 < share < 1.0 else None)
    rows = []
    for name, values in (("score", scores), (f"calibrated ({calibration.method})", probabilities)):
        numbers = metrics.binary(labels, values)
        rows.append({"name": name, **{key: numbers[key] for key in ("log_loss", "brier", "ece")}})
    return rows, probabilities
