"""From a score to a verdict: the operating point in force, and the band in which nothing is said."""

from dataclasses import dataclass

import numpy as np

from deepfake.config import ScoringConfig
from deepfake.model.bundle import Bundle
from deepfake.model.thresholds import TOP_K, Calibration, OperatingPoint

VERDICT_WORDS = {"likely_fake": "likely fake", "uncertain": "uncertain", "likely_real": "likely real"}
DEFAULT_WIDTH = 0.05  # of the band to each side, where validation gave none


@dataclass(frozen=True)
class VerdictRule:
    """Where the line is drawn, and how wide it is.

    ``measured`` says how often it was right on validation videos; None where that is not known.
    """

    name: str
    threshold: float
    uncertain_from: float
    uncertain_to: float
    measured: OperatingPoint | None = None
    calibration: Calibration | None = None

    def judge(self, score: float) -> str:
        """``likely_fake`` from the top of the band, ``likely_real`` below it, else ``uncertain``."""
        if score >= self.uncertain_to:
            return "likely_fake"
        return "uncertain" if score >= self.uncertain_from else "likely_real"

    def compute_probability(self, score: float) -> float | None:
        """The calibrated probability of a fake, where as many videos are fake as in validation."""
        if self.calibration is None or not self.calibration.log_loss:
            return None
        return float(self.calibration(np.array([score]))[0])


def choose_verdict_rule(bundle: Bundle, config: ScoringConfig) -> VerdictRule:
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
    band = bundle.find_uncertain_band(aggregation)
    calibration = (bundle.info.calibration or {}).get(aggregation)
    measured = None
    if config.threshold is not None:
        name, threshold = "scoring.threshold", config.threshold
        band = None
    elif config.operating_point != "default" or bundle.list_operating_points(aggregation):
        wanted = "balanced" if config.operating_point == "default" else config.operating_point
        measured = bundle.find_operating_point(wanted, aggregation)
        name, threshold = measured.name, measured.threshold
    else:
        name, threshold = bundle.info.threshold_rule or "the bundle's threshold", bundle.threshold
    if config.uncertain is not None or band is None:
        width = DEFAULT_WIDTH if config.uncertain is None else config.uncertain
        low, high = threshold - width, threshold + width
    else:
        low, high = band.low, band.high
    band_low, band_high = max(0.0, min(low, threshold)), max(high, threshold)
    return VerdictRule(name, threshold, band_low, band_high, measured, calibration)
