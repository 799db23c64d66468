"""Several bundles as one detector: a face's score is the mean of what each says of it, once calibrated.

Each is calibrated by the curve that its validation chose for mean scores of videos, so that none counts for
more because its scores lie further out; one without such a curve counts as it is. What such a detector
decides with is chosen where its bundles were validated on the same faces
(``deepfake.training.joint_validation``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from deepfake.config import hash_json
from deepfake.errors import UsageError
from deepfake.model.bundle import Bundle, BundleInfo, seal
from deepfake.model.thresholds import Calibration, Mixer

CURVE = "mean"  # the aggregation whose curve is taken


class Ensemble(Bundle):
    """Several verified bundles under one identity, which their order and decisions are part of."""

    def __init__(self, members: Sequence[Bundle], decisions: Mapping[str, Any]) -> None:
        """``decisions`` are the keys of ``BundleInfo`` that their validation together gives."""
        super().__init__(_describe(members, decisions), b"", ", ".join(one.uri for one in members))
        self.members = tuple(members)
        self._decisions = decisions

    def __reduce__(self) -> tuple[Any, ...]:
        return (Ensemble, (self.members, self._decisions))

    @property
    def mixer(self) -> Mixer:
        return Mixer(tuple(find_curve(one) for one in self.members), tuple(name_bundles(self.members)))

    @property
    def has_heat_maps(self) -> bool:
        return any(one.has_heat_maps for one in self.members)

    @property
    def network(self) -> Any:
        raise UsageError(f"{self.uri}: these are several networks; give one --bundle")


def find_curve(bundle: Bundle) -> Calibration | None:
    """What calibrates a bundle's scores in an ensemble; None where its validation allowed no calibration."""
    found = bundle.info.look_up_decisions(CURVE).calibration
    return found if found is not None and found.log_loss else None


def name_bundles(bundles: Sequence[Bundle]) -> list[str]:
    """A short name for each: its folder's, or the whole URI where two folders have the same."""
    short = [PurePosixPath(one.uri).name for one in bundles]
    return [name if short.count(name) == 1 else one.uri for name, one in zip(short, bundles, strict=True)]


def _describe(members: Sequence[Bundle], decisions: Mapping[str, Any]) -> BundleInfo:
    """The contract of an ensemble: crops as the first has them, identities of all."""
    first = members[0].info
    identities: dict[str, set[str]] = {}
    for known in (one.info.read_identities() or {} for one in members):
        for split, names in known.items():
            identities.setdefault(split, set()).update(names)
    training: dict[str, Any] = {"bundles": [one.sha256 for one in members]}
    training |= {key: first.training[key] for key in ("config", "people_named") if key in first.training}
    if identities:
        training["identities"] = {split: sorted(names) for split, names in identities.items()}
    return seal(
        BundleInfo(
            input=first.input,
            model_sha256=hash_json([one.info.model_sha256 for one in members]),
            sampling=first.sampling,
            detector=first.detector,
            crop=first.crop,
            crops_config_sha256=first.crops_config_sha256,
            training=training,
            versions=first.versions,
            **decisions,
        )
    )
