"""From a score to a verdict: the operating point in force, and the band in which nothing is said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfake.bundle import Bundle
from deepfake.config import ScoringConfig
from deepfake.decisions import TOP_K, Calibration

DEFAULT_WIDTH = 0.05  # of the band to each side, where validation gave none


@dataclass(frozen=True)
class VerdictRule:
    """Where the line is drawn, and how wide it is.

    ``fpr`` and ``tpr`` are those seen on validation videos; None where they are not known.
    """

    name: str
    threshold: float
    uncertain_from: float
    uncertain_to: float
    fpr: float | None = None
    tpr: float | None = None
    note: str | None = None  # where the validation videos are too few for the rates
    calibration: Calibration | None = None

    def verdict(self, score: float) -> str:
        """``likely_fake`` from the top of the band, ``likely_real`` below it, else ``uncertain``."""
        if score >= self.uncertain_to:
            return "likely_fake"
        return "uncertain" if score >= self.uncertain_from else "likely_real"

    def probability(self, score: float) -> float | None:
        """The calibrated probability of a fake, where as many videos are fake as in validation."""
        if self.calibration is None or not self.calibration.log_loss:
            return None
        return float(self.calibration(np.array([score]))[0])


def operating_point(bundle: Bundle, config: ScoringConfig) -> VerdictRule:
    """The one that ``scoring.operating_point`` names, or the threshold that ``scoring.threshold`` sets.

    A bundle's points, band and calibration hold for the scores of videos that are aggregated from all faces
    in one way; where tracks are aggregated, or the bundle has none, its plain threshold is what there is.
    Raises ``UsageError`` where a point is asked for by name and cannot be had.
    """
    aggregation: str = config.aggregation
    if config.over_tracks != "faces":
        aggregation = f"{config.over_tracks} of tracks"
    elif config.aggregation == "top_k" and config.top_k != TOP_K:
        aggregation = f"top {config.top_k}"
    band = bundle.uncertain_band(aggregation)
    calibration = (bundle.info.calibration or {}).get(aggregation)
    if config.threshold is not None:
        name, threshold, fpr, tpr, note = "scoring.threshold", config.threshold, None, None, None
        band = None
    elif config.operating_point != "default" or bundle.operating_points(aggregation):
        wanted = "balanced" if config.operating_point == "default" else config.operating_point
        point = bundle.operating_point(wanted, aggregation)
        name, threshold, fpr, tpr, note = point.name, point.threshold, point.fpr, point.tpr, point.note
    else:
        name = bundle.info.threshold_rule or "the bundle's threshold"
        threshold, fpr, tpr, note = bundle.threshold, None, None, None
    if config.uncertain is not None or band is None:
        width = DEFAULT_WIDTH if config.uncertain is None else config.uncertain
        low, high = threshold - width, threshold + width
    else:
        low, high = band.low, band.high
    return VerdictRule(
        name,
        threshold,
        uncertain_from=max(0.0, min(low, threshold)),
        uncertain_to=max(high, threshold),
        fpr=fpr,
        tpr=tpr,
        note=note,
        calibration=calibration,
    )
