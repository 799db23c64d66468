"""Exact metrics from arrays of labels and scores.

``labels`` and ``scores`` are ``(n,)`` everywhere. The score is that of "fake": high means manipulated, and
``score >= threshold`` is called fake. Labels are 0 (real) or 1 (fake). A metric that the data do not define
(one class only, nothing called fake) is ``None``, never a number made up for it; NaN, infinities and scores
outside [0, 1] are refused.

Knows nothing of files, tables' origin, Ray or pages. scikit-learn and scipy.stats are imported where they are
called: a scoring worker needs neither, and they would be more than half of its start.
"""

from deepfake.metrics.abstention import (
    BAND_ERROR,
    choose_uncertain_band,
    measure_at_coverages,
    measure_outside,
)
from deepfake.metrics.aggregation import POLICIES, aggregate, aggregate_videos
from deepfake.metrics.classification import measure_binary
from deepfake.metrics.confidence_intervals import (
    Interval,
    bootstrap_auc,
    bootstrap_auc_difference,
    bootstrap_metrics,
    bound_difference,
    bound_precision,
    bound_share,
    count_effectively,
)
from deepfake.metrics.likelihood_ratio import (
    SUPPORT,
    bound_log_ratios,
    compute_log_ratios,
    measure_cllr,
    name_support,
)
from deepfake.metrics.operating_points import (
    choose_balanced_threshold,
    choose_threshold_at_fpr,
    predict_precision,
)
from deepfake.metrics.reliability import make_reliability_bins
from deepfake.metrics.shortcuts import score_by_numbers
