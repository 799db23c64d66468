"""From a score to a verdict: the operating point in force, and the band in which nothing is said."""

from __future__ import annotations

from dataclasses import dataclass

from deepfake.bundle import BundleInfo
from deepfake.config import ScoringConfig


@dataclass(frozen=True)
class OperatingPoint:
    """Where the line is drawn, and how wide it is.

    ``fpr`` and ``tpr`` are those seen on validation videos; None where they are not known.
    """

    name: str
    threshold: float
    uncertain_from: float
    uncertain_to: float
    fpr: float | None = None
    tpr: float | None = None

    def verdict(self, score: float) -> str:
        """``likely_fake`` from the top of the band, ``likely_real`` below it, else ``uncertain``."""
        if score >= self.uncertain_to:
            return "likely_fake"
        return "uncertain" if score >= self.uncertain_from else "likely_real"


def operating_point(info: BundleInfo, config: ScoringConfig) -> OperatingPoint:
    """The bundle's own threshold, or the one that ``scoring.threshold`` sets."""
    own = config.threshold is None
    threshold = info.threshold if config.threshold is None else config.threshold
    return OperatingPoint(
        name=(info.threshold_rule or "the bundle's threshold") if own else "scoring.threshold",
        threshold=threshold,
        uncertain_from=max(0.0, threshold - config.uncertain),
        uncertain_to=min(1.0, threshold + config.uncertain),
    )
