"""What a bundle decides with, chosen once from the scores of the validation videos.

A video's score is aggregated from its faces', so thresholds hold for one way of aggregating; they are chosen
for each. Rates are rates of videos: frames of one video are copies of each other, and many frames make no
rate more certain. Nor do many videos of one person, where people are known.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from deepfake import metrics
from deepfake.catalog.identity_overlap import read_identity_groups
from deepfake.metrics import POLICIES, calibration

TARGETS: Mapping[str, float | None] = {"balanced": None, "fpr_0.01": 0.01, "fpr_0.001": 0.001}
TOP_K = 5


class _Stored(BaseModel):
    model_config = ConfigDict(frozen=True)


class OperatingPoint(_Stored):
    """A threshold on a video's score, what it promises, and on how much that rests."""

    name: str  # a key of TARGETS
    threshold: float  # score >= threshold is called fake; may lie just above 1, then nothing is
    target_fpr: float | None  # the false positive rate asked for; None: balanced
    real_videos: int
    fake_videos: int
    fpr: float  # share of the real validation videos called fake
    tpr: float  # share of the fake ones
    fpr_interval: tuple[float, float]  # 95 %, Clopper-Pearson on the videos' effective number
    tpr_interval: tuple[float, float]
    # (called fake, of how many) as of independent videos; absent from older bundles, which took all for such
    effective_reals: tuple[float, float] | None = None
    effective_fakes: tuple[float, float] | None = None
    note: str | None = None  # where the videos are too few for the rate

    @model_serializer(mode="wrap")
    def _keep_the_hash_of_older_bundles(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the keys that came later where they are not known: the bundle was sealed without them."""
        later = ("effective_reals", "effective_fakes")
        return {key: value for key, value in dump(self).items() if value is not None or key not in later}


class UncertainBand(_Stored):
    """Scores in ``[low, high)`` are better left undecided."""

    low: float
    high: float
    error: float  # at most this share of the reals lies above, and of the fakes below


class Calibration(_Stored):
    """How a video's score becomes the probability that it is fake."""

    method: Literal["none", "temperature", "platt"]
    slope: float
    offset: float
    share_of_fakes: float  # among the validation videos; the probability holds there
    log_loss: dict[str, float]  # cross-validated over identities, by method; empty where there were too few
    # log10 likelihood ratios that validation supports, at most 0 and at least 0; None without calibration
    ratio_bounds: tuple[float, float] | None = None
    note: str | None = None

    @model_serializer(mode="wrap")
    def _keep_the_hash_of_older_bundles(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped = dict(dump(self))
        return dumped if self.ratio_bounds else {k: v for k, v in dumped.items() if k != "ratio_bounds"}

    def compute_log_ratios(self, scores: np.ndarray) -> np.ndarray | None:
        """``(n,)`` log10 likelihood ratios of ``(n,)`` video scores, no further than validation supports.

        None where the score is not calibrated.
        """
        if self.ratio_bounds is None:
            return None
        return np.clip(metrics.compute_log_ratios(self(scores), self.share_of_fakes), *self.ratio_bounds)

    def __call__(self, scores: np.ndarray, prevalence: float | None = None) -> np.ndarray:
        """``(n,)`` probabilities of ``(n,)`` video scores, where ``prevalence`` of all videos are fake.

        They go as far as the curve does, which may be further than validation supports.
        """
        found = calibration.Curve(self.method, self.slope, self.offset)(scores)
        if prevalence is None:
            return found
        return calibration.move_to_prevalence(found, self.share_of_fakes, prevalence)


@dataclass(frozen=True)
class Mixer:
    """How the scores of several bundles become one; without curves there is one bundle."""

    curves: tuple[Calibration | None, ...] = ()
    names: tuple[str, ...] = ()  # short ones of the bundles

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """``(n,)`` float64 scores of ``(n, bundles)``; of one bundle, or no faces, ``(n,)`` as they are."""
        return scores if scores.ndim == 1 else self.calibrate(scores).mean(axis=1)

    def calibrate(self, scores: np.ndarray) -> np.ndarray:
        """``(n, bundles)`` float64 of as many: what each bundle's own score counts as in the mean."""
        made = [curve(own) if curve else own for curve, own in zip(self.curves, scores.T, strict=True)]
        return np.stack(made, axis=1)


class Decisions(_Stored):
    """Everything chosen for one way of aggregating; an old bundle has none of it."""

    operating_points: tuple[OperatingPoint, ...] = ()
    uncertain: UncertainBand | None = None
    calibration: Calibration | None = None
    unproven: str = ""  # why they promise nothing


def choose_decisions(faces: pa.Table) -> dict[str, Decisions]:
    """Decisions by aggregation (``top_k`` of five) from validation's labelled face scores.

    ``faces`` has columns ``video_id, frame_index, label, score`` and, where known, ``group_id``.
    Raises ``ValueError`` unless both classes are there.
    """
    return {policy: choose_for_videos(metrics.aggregate_videos(faces, policy, TOP_K)) for policy in POLICIES}


def choose_for_videos(videos: pa.Table) -> Decisions:
    """Decisions from one row a video: ``video_id, label, score`` and, where known, ``group_id``."""
    labels, scores = videos["label"].to_numpy().astype(np.int8), videos["score"].to_numpy()
    groups = read_identity_groups(videos)
    low, high = metrics.choose_uncertain_band(labels, scores)
    return Decisions(
        operating_points=tuple(_choose_point(name, labels, scores, groups) for name in TARGETS),
        uncertain=UncertainBand(low=low, high=high, error=metrics.BAND_ERROR),
        calibration=_calibrate(labels, scores, groups),
    )


def _choose_point(name: str, labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> OperatingPoint:
    target = TARGETS[name]
    if target is None:
        threshold = metrics.choose_balanced_threshold(labels, scores)
    else:
        threshold = metrics.choose_threshold_at_fpr(labels, scores, target)
    called = scores >= threshold
    reals, fakes = int((labels == 0).sum()), int((labels == 1).sum())
    of_reals, of_fakes = (metrics.count_effectively(called[labels == c], groups[labels == c]) for c in (0, 1))
    fpr, tpr = metrics.bound_share(*of_reals), metrics.bound_share(*of_fakes)
    assert fpr is not None and tpr is not None  # both classes are there
    return OperatingPoint(
        name=name,
        threshold=threshold,
        target_fpr=target,
        real_videos=reals,
        fake_videos=fakes,
        fpr=float(called[labels == 0].mean()),
        tpr=float(called[labels == 1].mean()),
        fpr_interval=fpr,
        tpr_interval=tpr,
        effective_reals=of_reals,
        effective_fakes=of_fakes,
        note=_explain_too_few(target, reals, of_reals[1], fpr.high),
    )


def _explain_too_few(target: float | None, reals: int, effective: float, highest: float) -> str | None:
    """``effective``: of how many independent videos the ``reals`` say as much."""
    if target is None:
        return None
    needed = math.ceil(1 / target)
    if effective >= needed:
        return None
    worth = "" if effective == reals else f", worth {effective:.0f} of different people,"
    above = "The threshold lies above every one of them; the" if reals < needed else "The"
    return (
        f"{reals} real validation videos{worth} cannot show a false positive rate of {100 * target:g} %: "
        f"that takes at least {needed:,}. {above} true rate may be as high as {100 * highest:.2g} % (95 %)."
    )


def _calibrate(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> Calibration:
    curve, losses = calibration.choose_curve(labels, scores, groups)
    fewest, share = calibration.FEWEST_GROUPS, float(labels.mean())
    few = f"Not calibrated: that takes at least {fewest} identities of each class in validation."
    if not losses:
        return Calibration(**vars(curve), share_of_fakes=share, log_loss=losses, note=few)
    ratios = metrics.compute_log_ratios(curve(scores), share)
    bounds = metrics.bound_log_ratios(labels, ratios, groups)
    return Calibration(**vars(curve), share_of_fakes=share, log_loss=losses, ratio_bounds=bounds)


POINT_NAMES = {
    "balanced": "balanced errors",
    "fpr_0.01": "1 % of reals called fake",
    "fpr_0.001": "0.1 % of reals called fake",
}
