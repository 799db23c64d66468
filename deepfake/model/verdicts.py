"""From a score to a verdict: the operating point in force, and the band in which nothing is said.

Beside it, from the same calibrated score, a likelihood ratio: a verdict is a decision, a ratio is evidence.

A bundle whose validation shows no more than guessing gives no verdict: then every score is in that band.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfake.config import ScoringConfig
from deepfake.metrics.calibration import FEWEST_GROUPS
from deepfake.model.bundle import Bundle, BundleInfo
from deepfake.model.thresholds import TOP_K, Calibration, OperatingPoint
from deepfake.model.validation_data import ValidationData

VERDICT_WORDS = {"likely_fake": "likely fake", "uncertain": "uncertain", "likely_real": "likely real"}
DEFAULT_WIDTH = 0.05  # of the band to each side, where validation gave none
FEWEST_VIDEOS, FEWEST_PEOPLE = 20, FEWEST_GROUPS  # of each class in validation, below which nothing is proven


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
    unproven: str = ""  # why there is no verdict, whatever the score
    validated_on: ValidationData | None = None
    no_ratio: str = "nothing is recorded of its calibration"  # why there is no likelihood ratio; "": there is

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

    def describe_ratio(self, score: float) -> dict[str, Any]:
        """The columns of a video's log10 likelihood ratio, with why there is none where there is none."""
        ratios = self.calibration.compute_log_ratios(np.array([score])) if self.calibration else None
        if ratios is None or self.calibration is None or self.calibration.ratio_bounds is None:
            return {"no_ratio": self.no_ratio}
        low, high = self.calibration.ratio_bounds
        return {"log10_lr": float(ratios[0]), "log10_lr_low": low, "log10_lr_high": high}


def find_missing_proof(videos: Mapping[str, Any]) -> str:
    """Why numbers of validation videos show no more than guessing; "" where they show more.

    ``videos`` is as ``measure_binary`` gives it, with ``intervals`` and, where people are known,
    ``identities``: how many of each class, ``real`` and ``fake``.
    """
    if not videos:
        return "nothing is recorded of its validation"
    counts = {"videos": (FEWEST_VIDEOS, videos["n_real"], videos["n_fake"])}
    if people := videos.get("identities"):
        counts["people"] = (FEWEST_PEOPLE, people["real"], people["fake"])
    for what, (fewest, real, fake) in counts.items():
        if min(real, fake) < fewest:
            return f"it was validated on {real} real and {fake} fake {what}, a verdict takes {fewest} of each"
    low, high = (videos.get("intervals") or {}).get("auc") or (0.0, 1.0)
    if low > 0.5:
        return ""
    return (
        "its validation shows no more than guessing: the AUC of the videos is "
        f"{videos['auc']:.3f}, 95 % interval {low:.3f} to {high:.3f}"
    )


def explain_unproven(info: BundleInfo) -> str:
    """Why a bundle gives no verdict; "" where it does."""
    if info.unproven is not None:
        return info.unproven
    return find_missing_proof(info.metrics.get("val_video") or {})


def choose_verdict_rule(bundle: Bundle, config: ScoringConfig) -> VerdictRule:
    """The one that ``scoring.operating_point`` names, or the threshold that ``scoring.threshold`` sets.

    A bundle's points, band and calibration hold for the scores of videos that are aggregated from all faces
    in one way; where tracks are aggregated, or the bundle has none, its plain threshold is what there is.
    Where validation proves nothing, every score is undecided whatever is asked for, and no rate is promised.
    Raises ``UsageError`` where a point is asked for by name and cannot be had.
    """
    aggregation: str = config.aggregation
    if config.over_tracks != "faces":
        aggregation = f"{config.over_tracks} of tracks"
    elif config.aggregation == "top_k" and config.top_k != TOP_K:
        aggregation = f"top {config.top_k}"
    decisions = bundle.info.look_up_decisions(aggregation)
    band, measured = decisions.uncertain, None
    if config.threshold is not None:
        name, threshold = "scoring.threshold", config.threshold
        band = None
    elif config.operating_point != "default" or decisions.operating_points:
        wanted = "balanced" if config.operating_point == "default" else config.operating_point
        measured = bundle.find_operating_point(wanted, aggregation)
        name, threshold = measured.name, measured.threshold
    else:
        name, threshold = bundle.info.threshold_rule or "the bundle's threshold", bundle.info.threshold
    if unproven := explain_unproven(bundle.info):
        most = float(np.nextafter(1.0, 2.0))
        rule = VerdictRule(name, threshold, 0.0, most, unproven=unproven, no_ratio=unproven)
        return dataclasses.replace(rule, validated_on=bundle.info.validated_on)
    if config.uncertain is not None or band is None:
        width = DEFAULT_WIDTH if config.uncertain is None else config.uncertain
        low, high = threshold - width, threshold + width
    else:
        low, high = band.low, band.high
    band_low, band_high = max(0.0, min(low, threshold)), max(high, threshold)
    calibration, no_ratio = decisions.calibration, _explain_no_ratio(decisions.calibration, aggregation)
    return VerdictRule(
        name,
        threshold,
        band_low,
        band_high,
        measured,
        calibration,
        validated_on=bundle.info.validated_on,
        no_ratio=no_ratio,
    )


def _explain_no_ratio(calibration: Calibration | None, aggregation: str) -> str:
    if calibration is None:
        return f"the bundle has no calibration for scores that are aggregated by {aggregation}"
    if calibration.note:
        return f"the bundle is not calibrated, which takes {FEWEST_PEOPLE} people of each class in validation"
    if calibration.ratio_bounds is None:
        return "the bundle was made before it was recorded how large a ratio its validation supports"
    return ""
