"""Whether a model is measured on people or files it was trained on, and on crops cut as in training."""

from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa

from deepfake.catalog.duplicates import require_no_duplicates
from deepfake.catalog.identity_overlap import list_identities, name_some
from deepfake.config import TrainingConfig
from deepfake.errors import UsageError
from deepfake.model.bundle import BundleInfo

TRAINING_SPLITS = ("train", "val")


def check_training_overlap(
    table: pa.Table, info: BundleInfo | None, everything: pa.Table, split: str, allowed: bool
) -> list[str]:
    """What the page must say of the overlap with training; raises ``UsageError`` unless ``allowed``.

    Args:
        table: the faces to be evaluated.
        info: the bundle's; its ``training.identities`` names what it was trained on, as split -> names.
            None for a score table whose bundle is not at hand.
        everything: all faces of the input, whatever their split; stands in where the bundle names nothing.
    """
    own, validation = set(list_identities(table)), read_split(info, "val_split")
    trained, source = _read_trained(info), "the bundle"
    if trained is None:
        source = "the input's own splits (the bundle's are not recorded)"
        trained = {name: frozenset(list_identities(everything, name)) for name in TRAINING_SPLITS}
    found = []
    for name, seen in trained.items():
        shared = own & seen
        if not shared:
            continue
        words = f"{len(shared)} of {len(own)} identities, by {source}: {name_some(shared)}"
        if name == split == validation:
            found.append(
                "This split was used to choose the model and its threshold, which flatters its numbers."
            )
        elif allowed:
            found.append(
                f"Identities of this split were used in training (split {name}; {words}). These numbers say "
                "little about new people."
            )
        else:
            raise UsageError(
                f"split {split!r} shares identities with training (split {name}; {words}). Such numbers say "
                "nothing about new people; --evaluation.allow_overlap true gives them all the same"
            )
    is_silent = info is not None and info.adopted is not None and not info.names_trained_people
    if is_silent or not any(trained.values()):
        found.append("It could not be checked whether the model was trained on the same people.")
    return found


def _read_trained(info: BundleInfo | None) -> Mapping[str, frozenset[str]] | None:
    """Whom a bundle knows, by split; None where only the splits of its data may tell.

    Those tell nothing of a detector that was made elsewhere.
    """
    if info is None:
        return None
    return info.read_identities() or ({} if info.adopted is not None else None)


def require_no_training_copies(
    videos: pa.Table | None, info: BundleInfo | None, everything: pa.Table, split: str, allowed: bool
) -> list[str]:
    """What the page must say of copies of training videos in the split; ``UsageError`` unless ``allowed``.

    ``videos`` is the manifest of the faces, ``everything`` all of them. Splits of data that the bundle was
    not trained on are not compared: nobody has trained on their training split.
    """
    if videos is None:
        return []
    recorded = _read_trained(info)
    found = []
    for name in TRAINING_SPLITS if recorded is None else recorded:
        here = set(list_identities(everything, name))
        if name == split or (recorded is not None and not here & recorded[name]):
            continue
        try:
            require_no_duplicates(videos, [name, split])
        except UsageError as error:
            if not allowed:
                raise UsageError(
                    f"{error}\n--evaluation.allow_overlap true gives such numbers all the same"
                ) from None
            found.append(f"Videos of this split are copies of videos used in training (split {name}).")
    return found


def list_crop_differences(info: BundleInfo, crops_config: Mapping[str, Any]) -> list[str]:
    """What the page must say where crops were made otherwise than those the model was trained on."""
    if not crops_config or info.crop is None or info.detector is None:
        return ["It is not recorded whether these crops were cut like those the model was trained on."]
    found = []
    here = crops_config.get("crop") or {}
    for key, value in info.crop.model_dump(mode="json").items():
        if key in here and here[key] != value and (key != "jpeg_quality" or here.get("format") == "jpeg"):
            found.append(f"crop.{key} {here[key]} here, {value} in training")
    name = (crops_config.get("detector") or {}).get("name")
    if name is not None and name != info.detector.name:
        found.append(f"detector {name} here, {info.detector.name} in training")
    if not found:
        return []
    return [f"The crops were made otherwise than those the model was trained on: {'; '.join(found)}."]


def read_split(info: BundleInfo | None, key: Literal["train_split", "val_split"]) -> str:
    """The split that a bundle was trained on, or that it and its threshold were chosen on."""
    recorded = info.training.get("config", {}).get("training", {}) if info else {}
    return str(recorded.get(key, TrainingConfig.model_fields[key].default))
