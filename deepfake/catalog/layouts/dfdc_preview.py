"""Reads the preview of the DeepFake Detection Challenge from its ``dataset.json``, else from its names.

original_videos/643049/643049_A_001.mp4                     person 643049
method_B/1260311/1260311_C/1255229_1260311_C_001.mp4        1260311's clip C with the face of 1255229
dataset.json    {"method_B/...mp4": {"label": "fake", "set": "train", "target_id": 1260311,
                                     "swapped_id": 1255229, "augmentations": []}, ...}
"""

import re
from collections.abc import Mapping
from typing import Any

from deepfake.catalog.layouts.dfdc import read_entries
from deepfake.catalog.layouts.folders import SPLIT_FOLDERS
from deepfake.catalog.media import drop_level
from deepfake.catalog.provenance import FAKE, REAL, FolderListing, Provenance
from deepfake.errors import UsageError

DATASET = "DFDC-preview"
FILE = "dataset.json"

_REAL = re.compile(r"(?:^|/)original_videos/(?P<target>\d+)/(?:[^/]+/)*(?P=target)_[A-Z]+_\d+(?:\.[^/.]+)?\Z")
_FAKE = re.compile(
    r"(?:^|/)(?P<method>method_[AB])/(?P<target>\d+)/(?:(?P=target)_[A-Z]+/)?"
    r"(?P<source>\d+)_(?P=target)_[A-Z]+_\d+(?:\.[^/.]+)?\Z"
)
_LABELS = {"real": REAL, "fake": FAKE}


def describe_dfdc_preview(listing: FolderListing) -> Mapping[str, Provenance]:
    """What is known of the clips, by path."""
    found = {}
    for info in listing.footage:
        path = drop_level(listing.locate(info))
        if (fake := _FAKE.search(path)) is not None:
            people = (_name_person(fake["target"]), _name_person(fake["source"]))
            found[info.path] = Provenance(DATASET, people[0], FAKE, fake["method"], source_id=people[1])
        elif (real := _REAL.search(path)) is not None:
            found[info.path] = Provenance(DATASET, _name_person(real["target"]), REAL, "real")
    clips = {info.path for info in listing.footage}
    for info in listing.files if found else ():
        above, _, name = info.path.rpartition("/")
        if name == FILE:
            for path, entry in read_entries(info.uri, listing.storage, "label").items():
                whole = f"{above}/{path}" if above else path
                if whole in clips:
                    found[whole] = _make_provenance(path, entry, info.uri)
    return found


def _name_person(number: object) -> str:
    return f"dfdc-preview/{number}"


def _make_provenance(path: str, entry: Mapping[str, Any], uri: str) -> Provenance:
    label = _LABELS.get(str(entry["label"]).lower())
    split = SPLIT_FOLDERS.get(str(entry.get("set")).lower())
    if label is None or split is None:
        raise UsageError(
            f"{uri}: {path} has label {entry['label']!r} and set {entry.get('set')!r}, expected real or fake "
            "and train or test"
        )
    other = entry.get("swapped_id")
    return Provenance(
        dataset=DATASET,
        target_id=_name_person(entry.get("target_id") or path),
        label=label,
        method="real" if label == REAL else path.partition("/")[0],
        split=split,
        source_id=_name_person(other) if label == FAKE and other not in (None, "") else None,
    )
