"""Reads the DeepFake Detection Challenge's data from the ``metadata.json`` of each part.

    {"aaa.mp4": {"label": "FAKE", "split": "train", "original": "bbb.mp4"},
     "bbb.mp4": {"label": "REAL", "split": "train"}}

Frames that were taken out of a clip stand in a folder named as it is, ``aaa/000.png``.

A fake shares the identity of its original, which may lie in another part. Who the actors are is not told and
the same actors appear in many originals: a split by these identities keeps clips apart, not people.
"""

from collections.abc import Mapping
from typing import Any

from deepfake.catalog.layouts.folders import SPLIT_FOLDERS
from deepfake.catalog.media import drop_level, get_stem, remove_extension
from deepfake.catalog.provenance import FAKE, REAL, FolderListing, Provenance
from deepfake.errors import UsageError
from deepfake.io.listing import FileInfo
from deepfake.io.storage import Storage

FILE = "metadata.json"
DATASET = METHOD = "DFDC"
_LABELS = {"real": REAL, "fake": FAKE, "0": REAL, "1": FAKE}


def describe_dfdc(listing: FolderListing) -> Mapping[str, Provenance]:
    """What is known of the clips that lie beside a ``metadata.json`` of this kind, by path."""
    by_folder: dict[str, list[FileInfo]] = {}
    for info in listing.footage:
        by_folder.setdefault(drop_level(info.path).rpartition("/")[0], []).append(info)
    found: dict[str, Provenance] = {}
    for info in listing.files:
        folder, _, name = info.path.rpartition("/")
        if name != FILE or folder not in by_folder:
            continue
        entries = read_entries(info.uri, listing.storage, "label", "is_fake")
        told = {remove_extension(clip): entry for clip, entry in entries.items()}
        for clip in by_folder[folder]:
            entry = told.get(get_stem(clip.path))
            if entry is not None:
                found[clip.path] = _make_provenance(clip.path, entry, info.uri)
    return found


def read_entries(uri: str, storage: Storage, *label_keys: str) -> dict[str, dict[str, Any]]:
    """The entries that have one of these keys; none where the file is of another kind."""
    content = storage.read_json(uri)
    entries = content.items() if isinstance(content, dict) else ()
    return {
        name: entry
        for name, entry in entries
        if isinstance(entry, dict) and not entry.keys().isdisjoint(label_keys)
    }


def _make_provenance(path: str, entry: Mapping[str, Any], uri: str) -> Provenance:
    name = path.rpartition("/")[2]
    stated = entry.get("label", entry.get("is_fake"))
    label = _LABELS.get(str(int(stated) if isinstance(stated, bool) else stated).lower())
    if label is None:
        raise UsageError(f"{uri}: {name} has label {stated!r}, expected REAL or FAKE")
    split = entry.get("split")
    if split is not None and str(split).lower() not in SPLIT_FOLDERS:
        raise UsageError(f"{uri}: {name} has split {split!r}, expected train, validation or test")
    original = entry.get("original")
    shown = original if label == FAKE and isinstance(original, str) and original else name
    return Provenance(
        dataset=DATASET,
        target_id=f"dfdc/{remove_extension(shown)}",
        label=label,
        method="real" if label == REAL else METHOD,
        split=None if split is None else SPLIT_FOLDERS[str(split).lower()],
    )
