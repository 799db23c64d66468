"""Shortcut probes: how well labels are told from features that should say nothing about them.

Gradient-boosted trees (``metrics.score_by_numbers``) are trained and asked by grouped cross-validation, so
that no identity is in both. A video's score is the mean of its pictures' scores; the AUC is over videos, its
interval from resampling whole identity groups. 0.5 is what honest data give.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from deepfake.catalog.provenance import FAKE, REAL
from deepfake.config import LeakcheckConfig
from deepfake.metrics import bootstrap_auc, score_by_numbers
from deepfake.pipelines.leakcheck.probe_features import GROUPS, WORDS, Samples

ALL = "all together"
FOLDS = 5

Verdict = Literal["shortcut", "unclear", "none", "not measured"]


@dataclass(frozen=True)
class Feature:
    """One number by itself: the AUC of its values, in whichever direction it is above 0.5."""

    name: str
    meaning: str
    auc: float
    higher_in: Literal["fakes", "reals"]


@dataclass(frozen=True)
class Probe:
    """What one group of features tells of the labels."""

    group: str
    verdict: Verdict
    auc: float | None = None
    low: float | None = None  # ends of the 95 % bootstrap interval
    high: float | None = None
    features: tuple[Feature, ...] = ()  # most telling first
    reason: str = ""  # why nothing was measured

    def put_in_words(self) -> str:
        """What to tell people of a shortcut."""
        best = self.features[0]
        interval = "" if self.low is None else f" ({self.low:.2f} to {self.high:.2f})"
        return (
            f"fakes can be told from reals by {self.group} alone: AUC {self.auc:.2f}{interval}. Most "
            f"telling: {best.name} ({best.meaning}), higher in {best.higher_in}, AUC {best.auc:.2f} by itself"
        )


def run_probes(samples: Samples, config: LeakcheckConfig) -> list[Probe]:
    """One probe for all features together, then one for each group."""
    few = _explain_few_samples(samples, config.probe_min_videos)
    groups = [(ALL, tuple(name for names in GROUPS.values() for name in names)), *GROUPS.items()]
    if few:
        return [Probe(group, "not measured", reason=few) for group, _ in groups]
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=config.seed)
    folds = [
        (learn, ask)
        for learn, ask in splitter.split(samples.label, samples.label, samples.group)
        if len(np.unique(samples.label[learn])) == 2
    ]
    return [_run_probe(group, names, samples, folds, config) for group, names in groups]


def list_shortcuts(probes: Sequence[Probe]) -> list[Probe]:
    """The groups that warn, most telling first; all features together only where no group does."""
    found = [probe for probe in probes if probe.verdict == "shortcut"]
    single = [probe for probe in found if probe.group != ALL]
    return sorted(single or found, key=lambda probe: -(probe.auc or 0.0))


def summarize_probes(probes: Sequence[Probe]) -> dict[str, str] | str:
    """The verdict of each group that was measured, and the others in one word; why, where none was."""
    missing = {probe.group: probe.reason for probe in probes if probe.verdict == "not measured"}
    if len(missing) == len(probes) and len(reasons := set(missing.values())) == 1:
        return f"not measured: {reasons.pop()}"
    found: dict[str, str] = {probe.group: probe.verdict for probe in probes if probe.group not in missing}
    return found | ({"not measured": ", ".join(missing)} if missing else {})


def _explain_few_samples(samples: Samples, wanted: int) -> str:
    reals, fakes = samples.count_videos(REAL), samples.count_videos(FAKE)
    if reals < wanted or fakes < wanted:
        return (
            f"{reals} real and {fakes} fake videos are too few to tell; {wanted} of each are needed "
            "(leakcheck.probe_min_videos)"
        )
    groups = [len(np.unique(samples.group[samples.label == label])) for label in (REAL, FAKE)]
    if min(groups) < FOLDS:
        return (
            f"the reals are of {groups[0]} identity groups and the fakes of {groups[1]}; {FOLDS} of each "
            "are needed to keep identities apart"
        )
    return ""


def _run_probe(
    group: str,
    names: Sequence[str],
    samples: Samples,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    config: LeakcheckConfig,
) -> Probe:
    present = [name for name in names if name in samples.values and _is_varying(samples.values[name])]
    if not present:
        return Probe(group, "not measured", reason="not known, or the same everywhere")
    values = np.stack([samples.values[name] for name in present], axis=1)
    scores = np.full(len(values), np.nan)
    for learn, ask in folds:
        scores[ask] = score_by_numbers(values[learn], samples.label[learn], values[ask], config.seed)
    video, first = np.unique(samples.video, return_index=True)
    label, identity = samples.label[first], samples.group[first]
    mean = _average_by(samples.video, video, scores)
    asked = ~np.isnan(mean)
    label, identity, mean = label[asked], identity[asked], mean[asked]
    if len(np.unique(label)) < 2:
        return Probe(group, "not measured", reason="no fold holds both classes")
    auc = float(roc_auc_score(label, mean))
    low, high = bootstrap_auc(label, mean, identity, config.bootstrap, config.seed) or (None, None)
    alone = [_measure_feature(name, samples, video, first) for name in present]
    ordered = tuple(sorted((one for one in alone if one), key=lambda feature: -feature.auc))
    return Probe(group, judge_auc(auc, low, high, config), auc, low, high, ordered)


def judge_auc(auc: float, low: float | None, high: float | None, config: LeakcheckConfig) -> Verdict:
    """``unclear`` where the interval leaves open which side of the limit it is on, or reaches chance."""
    if low is None or high is None:
        return "unclear" if config.bootstrap else "shortcut" if auc > config.probe_auc else "none"
    if auc > config.probe_auc:
        return "shortcut" if low > 0.5 else "unclear"
    return "unclear" if high > config.probe_auc else "none"


def _measure_feature(name: str, samples: Samples, video: np.ndarray, first: np.ndarray) -> Feature | None:
    mean = _average_by(samples.video, video, samples.values[name])
    known = ~np.isnan(mean)
    label = samples.label[first][known]
    if len(np.unique(label)) < 2:
        return None
    auc = float(roc_auc_score(label, mean[known]))
    return Feature(name, WORDS[name], max(auc, 1 - auc), "fakes" if auc >= 0.5 else "reals")


def _average_by(of: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of the known values of each key, nan where none is; ``keys`` is sorted."""
    known = ~np.isnan(values)
    place = np.searchsorted(keys, of[known])
    total = np.bincount(place, values[known], len(keys))
    count = np.bincount(place, minlength=len(keys))
    return np.divide(total, count, out=np.full(len(keys), np.nan), where=count > 0)


def _is_varying(values: np.ndarray) -> bool:
    known = values[~np.isnan(values)]
    return len(known) > 0 and bool((known != known[0]).any())
