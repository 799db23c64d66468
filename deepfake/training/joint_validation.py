"""Bundles as the jobs are given them: one, or several as one detector with thresholds of its own.

Several were each validated already. Where that was on the same faces, the scores that lie beside each bundle
tell what their mean would have said of these, and thresholds and calibration follow as they do in training.
"""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.uri import join, make_absolute
from deepfake.model import thresholds
from deepfake.model.bundle import Bundle
from deepfake.model.ensemble import Ensemble, find_curve, name_bundles
from deepfake.model.thresholds import Mixer
from deepfake.training import validation

log = logging.getLogger(__name__)

_FACE = ("video_id", "frame_index", "face_index", "turned")
_SAME = (*_FACE, "group_id", "label", "method")  # of a face, whoever scored it


def load_bundles(uris: Sequence[str], storage: Storage, batch_size: int = 32) -> Bundle:
    """Read and verify one bundle, or several as an ``Ensemble``; raises ``UsageError`` as ``Bundle.load``."""
    members = [Bundle.load(make_absolute(uri), storage, batch_size) for uri in uris]
    if len(members) == 1:
        return members[0]
    names = name_bundles(members)
    if len({one.sha256 for one in members}) < len(members):
        raise UsageError(f"--bundle {' '.join(uris)}: the same bundle is in it twice; give each once")
    for name, one in zip(names, members, strict=True):
        if one.crop_size != members[0].crop_size:
            raise UsageError(
                f"{name} takes crops of {one.crop_size} pixels, {names[0]} of {members[0].crop_size}: one "
                "crop of a face goes to all of them; score with each alone"
            )
        if find_curve(one) is None:
            log.warning("%s is not calibrated: its scores go into the mean as they are", name)
        if not one.info.names_trained_people:
            log.warning("%s does not record whom it was trained on", name)
        if (one.info.crop, one.info.detector) != (members[0].info.crop, members[0].info.detector):
            log.warning("%s was made for crops that are cut otherwise than those of %s", name, names[0])
    return Ensemble(members, _validate_together(members, names, storage))


def _validate_together(members: Sequence[Bundle], names: Sequence[str], storage: Storage) -> dict[str, Any]:
    """Keys of ``BundleInfo`` that validation of the mean gives, or why there is none."""
    scored: list[pa.Table] = []
    why = ""
    for name, one in zip(names, members, strict=True):
        try:
            scored.append(_read_scores(one, storage))
        except FileNotFoundError:
            why = f"no {validation.SCORES} lies beside {name}"
    if not why and len({one.info.crops_config_sha256 for one in members}) > 1:
        why = "they were validated on different crops"
    if not why and not all(one.select(_SAME).equals(scored[0].select(_SAME)) for one in scored):
        why = "they were validated on different faces"
    if not why and any(one.info.training.get("faults") for one in members):
        why = "one of them was trained with known mistakes"
    if why:
        return {
            "threshold": 0.5,
            "threshold_rule": "one half: the bundles have no validation in common",
            "unproven": f"nothing is known of how right these bundles are together, for {why}",
        }
    mixed = Mixer(tuple(map(find_curve, members)))(np.stack([one["score"] for one in scored], axis=1))
    has_chosen = np.any([pc.equal(one["role"], validation.EPOCH) for one in scored], axis=0)
    faces = scored[0].drop_columns(["score", "role"]).append_column("score", pa.array(mixed))
    role = np.where(has_chosen, validation.EPOCH, validation.THRESHOLDS)
    named = all(one.info.training.get("people_named", True) for one in members)
    fields = validation.derive_bundle_fields(faces.append_column("role", pa.array(role)), named)
    return {**fields, "validated_on": members[0].info.validated_on}


def _read_scores(bundle: Bundle, storage: Storage) -> pa.Table:
    """What a bundle said of its validation faces, by face; ``UsageError`` where that is not what it says."""
    uri = join(bundle.uri, validation.SCORES)
    scored = tables.read_table(storage, uri, "validation_scores")
    deciding = scored.filter(pc.not_equal(scored["role"], validation.EPOCH))
    own = bundle.info.operating_points.get(validation.AGGREGATION)
    if own != thresholds.choose_decisions(deciding)[validation.AGGREGATION].operating_points:
        raise UsageError(f"{uri}: bundle.json has other thresholds than these scores give; copy both again")
    return scored.sort_by([(name, "ascending") for name in _FACE])
