"""Reads labels, methods and ready-made splits from the names of folders, where they say any.

``fake/roop/x.mp4``, ``train/real/x.jpg``, ``Celeb-synthesis/id0_id1_0000.mp4``. File names are not looked
at for labels (``real_madrid.mp4`` is no label), and a folder that names both classes or neither says nothing.
Each file is an identity of its own, except in Celeb-DF, whose names tell the people. Where several files
show one person, a manifest with a ``target_id`` column says so; nothing here can know.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from deepfake.catalog.layouts import celeb_df
from deepfake.catalog.media import remove_extension
from deepfake.catalog.provenance import FAKE, REAL, Provenance

REAL_WORDS = frozenset({"real", "reals", "original", "originals", "genuine", "pristine"})
FAKE_WORDS = frozenset(
    {"fake", "fakes", "manipulated", "deepfake", "deepfakes", "synthesis", "synthesized", "synthesised"}
)
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

_WORDS = re.compile(r"[^\W\d_]+")
_CONTAINERS = frozenset(
    {"clips", "crops", "data", "faces", "frames", "images", "media", "sequences", "video", "videos"}
)


class Placement(NamedTuple):
    """What a folder says of the files in it."""

    label: int | None = None
    method: str | None = None
    split: str | None = None


def read_label(name: str) -> int | None:
    """The label that a folder's name says, word by word: ``unreal`` is not real."""
    words = set(_WORDS.findall(name.lower()))
    real, fake = bool(words & REAL_WORDS), bool(words & FAKE_WORDS)
    if real == fake:
        return None
    return REAL if real else FAKE


@lru_cache(maxsize=65536)
def read_folder(folder: str) -> Placement:
    """What a folder, given by its path relative to the listed root, says of its files.

    The innermost folder that names a class gives the label; a folder above that one gives the split.
    """
    parts = [part for part in folder.split("/") if part]
    for index in range(len(parts) - 1, -1, -1):
        label = read_label(parts[index])
        if label is None:
            continue
        splits = [SPLIT_FOLDERS[p.lower()] for p in parts[:index] if p.lower() in SPLIT_FOLDERS]
        return Placement(label, _choose_method(label, parts[index:]), splits[-1] if splits else None)
    return Placement()


def describe_by_folders(paths: list[str], root_name: str) -> list[Provenance]:
    """What is known of each file, given by its path relative to the root.

    The root's own name gives the label only where no folder inside names a class.
    """
    placements = [read_folder(path.rpartition("/")[0]) for path in paths]
    label = read_label(root_name)
    if label is not None and all(p.label is None for p in placements):
        method = _choose_method(label, [root_name])
        placements = [Placement(label, method) for _ in paths]
    return [_make_provenance(path, placed, root_name) for path, placed in zip(paths, placements, strict=True)]


def _make_provenance(path: str, placed: Placement, root_name: str) -> Provenance:
    folder, _, name = path.rpartition("/")
    target: str = remove_extension(path)
    source: str | None = None
    people = celeb_df.parse_people(name) if "celeb" in f"{root_name}/{folder}".lower() else None
    if people is not None:
        target, source = people
    return Provenance(root_name or None, target, placed.label, placed.method, None, placed.split, source)


def _choose_method(label: int, parts: list[str]) -> str:
    """Method of the files below ``parts``, of which the first is the folder that names the class."""
    if label == REAL:
        return "real"
    for part in parts:
        words = set(_WORDS.findall(part.lower()))
        if part.lower() not in SPLIT_FOLDERS and words - FAKE_WORDS - _CONTAINERS:
            return part
    return "fake"
