"""Exact metrics from arrays of labels and scores.

The score is that of "fake": high means manipulated, and ``score >= threshold`` is called fake. Labels are
0 (real) or 1 (fake). A metric that the data do not define (one class only, nothing called fake) is
``None``, never a number made up for it; NaN, infinities and scores outside [0, 1] are refused.

Knows nothing of files, tables' origin, Ray or pages.
"""

from deepfake.metrics.aggregation import POLICIES, aggregate, video_table
from deepfake.metrics.bootstrap import Interval, bootstrap_interval
from deepfake.metrics.calibration import expected_calibration_error, reliability_bins
from deepfake.metrics.classification import binary, equal_error_rate
from deepfake.metrics.operating_points import (
    balanced_threshold,
    operating_point,
    precision_at_prevalence,
    threshold_at_fpr,
)

__all__ = [
    "POLICIES",
    "Interval",
    "aggregate",
    "balanced_threshold",
    "binary",
    "bootstrap_interval",
    "equal_error_rate",
    "expected_calibration_error",
    "operating_point",
    "precision_at_prevalence",
    "reliability_bins",
    "threshold_at_fpr",
    "video_table",
]
