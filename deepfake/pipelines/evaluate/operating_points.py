"""What thresholds chosen on validation give on these videos: rates, precision, abstention, calibration."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepfake import metrics
from deepfake.config import EvaluationConfig
from deepfake.model.thresholds import Calibration, Decisions, OperatingPoint


@dataclass(frozen=True)
class DecisionMetrics:
    """``operating_points``: a row for each threshold; what follows: what abstaining costs and gains."""

    prevalence: float | None = None
    unproven: str = ""  # why the bundle gives no verdict, and nothing promises a precision
    operating_points: list[dict[str, Any]] = field(default_factory=list)
    uncertain_band: dict[str, Any] | None = None
    coverage: list[dict[str, Any]] = field(default_factory=list)
    calibration: list[dict[str, Any]] = field(default_factory=list)
    # cllr, cllr_min, bounds of its log10, and how many it misleads about; None: none
    likelihood_ratio: dict[str, Any] | None = None
    log_ratios: np.ndarray | None = None  # (n,) log10 of the videos; None where there are none
    probabilities: np.ndarray | None = None  # (n,) of the videos; None without a calibration

    def as_json(self) -> dict[str, Any]:
        """All but the arrays."""
        arrays = ("probabilities", "log_ratios")
        return {name: value for name, value in vars(self).items() if name not in arrays}


def measure_decisions(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    config: EvaluationConfig,
    drawn: np.ndarray,
    decisions: Decisions | None = None,
) -> DecisionMetrics:
    """Validation's ``decisions``, tried on ``(n,)`` videos; without any, the threshold in force.

    ``drawn`` ``(n,)`` are the identities of the videos, over which intervals go.
    """
    decisions = decisions or Decisions()
    points = [
        _measure_point(labels, scores, drawn, point.threshold, config.prevalence, point)
        for point in decisions.operating_points
    ]
    if threshold not in [point["threshold"] for point in points]:
        points.insert(0, _measure_point(labels, scores, drawn, threshold, config.prevalence))
    if decisions.unproven:
        points = [{**point, "precision": None, "precision_interval": None} for point in points]
    band = None if decisions.unproven else decisions.uncertain
    outside = metrics.measure_outside(labels, scores, band.low, band.high) if band else None
    coverage = metrics.measure_at_coverages(labels, scores, threshold)
    calibration, probabilities = _measure_calibration(labels, scores, decisions.calibration)
    ratio, ratios = None, None
    if decisions.calibration and labels.size and not decisions.unproven:
        ratios = decisions.calibration.compute_log_ratios(scores)
    if decisions.calibration and ratios is not None:
        ratio = _measure_ratios(labels, ratios, decisions.calibration)
    return DecisionMetrics(
        config.prevalence, decisions.unproven, points, outside, coverage, calibration, ratio, ratios,
        probabilities,
    )  # fmt: skip


def _measure_point(
    labels: np.ndarray,
    scores: np.ndarray,
    drawn: np.ndarray,
    threshold: float,
    prevalence: float,
    chosen: OperatingPoint | None = None,
) -> dict[str, Any]:
    called = scores >= threshold
    fakes, reals = int((labels == 1).sum()), int((labels == 0).sum())
    hits, alarms = int(called[labels == 1].sum()), int(called[labels == 0].sum())
    tpr, fpr = hits / fakes if fakes else None, alarms / reals if reals else None
    of_fakes, of_reals = (
        metrics.count_effectively(called[labels == label], drawn[labels == label]) for label in (1, 0)
    )
    precision = None
    if tpr is not None and fpr is not None:
        precision = metrics.predict_precision(tpr, fpr, prevalence)
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
        "fpr_interval": metrics.bound_share(*of_reals),
        "found": hits,
        "n_fake": fakes,
        "tpr": tpr,
        "tpr_interval": metrics.bound_share(*of_fakes),
        "precision": precision,
        "precision_interval": metrics.bound_precision(*of_fakes, *of_reals, prevalence),
    }


def _measure_ratios(labels: np.ndarray, ratios: np.ndarray, calibration: Calibration) -> dict[str, Any]:
    return {
        **metrics.measure_cllr(labels, ratios),
        "bounds": calibration.ratio_bounds,
        "misleading_reals": int((ratios[labels == 0] > 0).sum()),
        "misleading_fakes": int((ratios[labels == 1] < 0).sum()),
    }


def _measure_calibration(
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
        numbers = metrics.measure_binary(labels, values)
        rows.append({"name": name, **{key: numbers[key] for key in ("log_loss", "brier", "ece")}})
    return rows, probabilities
