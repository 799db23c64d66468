"""Reads labels, methods and ready-made splits from the names of folders, where they say any.

``fake/roop/x.mp4``, ``train/real/x.jpg``, ``real_train/x.mp4``, ``Celeb-synthesis/id0_id1_0000.mp4``. File
names are not looked at for labels (``real_madrid.mp4`` is no label), and a folder that names both classes or
neither says nothing. Where folders within each other name both classes, the uppermost decides that lies
beside one of the other class, else the innermost: ``fake/real_time_swap`` beside ``real`` is fake,
``deepfakes/real`` beside ``deepfakes/fake`` is real.

Each file is an identity of its own, except in Celeb-DF, whose names tell the people. A group, which a split
by group keeps together, are those in one folder below the folder that names the class or the method, frames
of one video in one folder, and what has one name below real and below fake. Where several files show one
person, a manifest with a ``target_id`` column says so; nothing here can know.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from deepfake.catalog.layouts import celeb_df
from deepfake.catalog.media import is_image_name, remove_extension
from deepfake.catalog.provenance import FAKE, REAL, Provenance
from deepfake.io.listing import FileInfo

log = logging.getLogger(__name__)

REAL_WORDS = frozenset({"real", "reals", "original", "originals", "genuine", "pristine"})
FAKE_WORDS = frozenset(
    {"fake", "fakes", "manipulated", "deepfake", "deepfakes", "synthesis", "synthesized", "synthesised"}
)
SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test", "dev": "val",
}  # fmt: skip
CONTAINERS = frozenset(
    {"clips", "crops", "data", "faces", "frames", "images", "media", "sequences", "video", "videos"}
)

COMPRESSIONS = frozenset({"raw", "c0", "c23", "c40"})

# Beside these a word is a subject, or its opposite is meant: deepfake-detection-challenge, not_real.
_NO_CLASS = frozenset({"detection", "detector", "challenge", "benchmark", "competition", "not", "non", "no"})

_WORDS = re.compile(r"[^\W\d_]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SAYS_NOTHING = REAL_WORDS | FAKE_WORDS | CONTAINERS | frozenset(SPLIT_FOLDERS)
_CLASS_WORD = re.compile(rf"(?:\b|_)(?:{'|'.join(sorted(REAL_WORDS | FAKE_WORDS))})(?:\b|(?=_))")
_LAST_NUMBER = re.compile(r"[\W_]*\d+\Z")
_FEW = 20  # videos
_FEW_NAMES = 5
_LABELS = {REAL: "real", FAKE: "fake"}


class Placement(NamedTuple):
    """What a folder says of the files in it."""

    label: int | None = None
    method: str | None = None
    split: str | None = None
    group: str | None = None  # the folder whose files belong together
    decided_by: str = ""  # where folders name both classes: the folder whose word holds
    above: str = ""  # the folder in which that lies which names the class


@lru_cache(maxsize=65536)
def read_label(name: str) -> int | None:
    """The label that a folder's name says, word by word: ``unreal`` and ``not_real`` say none."""
    words = split_words(name)
    real, fake = bool(words & REAL_WORDS), bool(words & FAKE_WORDS)
    if real == fake or words & _NO_CLASS:
        return None
    return REAL if real else FAKE


def split_words(name: str) -> set[str]:
    """The words of a name, in lower case; digits are none. ``RealVideos`` has two, ``RealTalk`` is one."""
    humps = set(_WORDS.findall(_HUMP.sub(" ", name).lower()))
    return humps if humps <= _SAYS_NOTHING else set(_WORDS.findall(name.lower()))


def read_folder(
    folder: str, side_by_side: frozenset[str] = frozenset(), no_methods: frozenset[str] = frozenset()
) -> Placement:
    """What a folder, given by its path relative to the listed root, says of its files.

    The uppermost folder that names a class and lies in one of ``side_by_side``, where folders of both classes
    do, gives the label, else the innermost that names one. The split is in its name or a folder above it.
    ``no_methods`` are folders that hold real videos elsewhere: people, or sources.
    """
    parts = [part for part in folder.split("/") if part]
    labels = [read_label(part) for part in parts]
    named = [index for index, label in enumerate(labels) if label is not None]
    if not named:
        return Placement()
    index = next((i for i in named if _fold_splits(parts[:i]) in side_by_side), named[-1])
    label = labels[index]
    assert label is not None
    splits = [SPLIT_FOLDERS[part.lower()] for part in parts[:index] if part.lower() in SPLIT_FOLDERS]
    splits += [SPLIT_FOLDERS[word] for word in split_words(parts[index]) & SPLIT_FOLDERS.keys()]
    method, below = _choose_method(label, parts, index, no_methods)
    group = next((i for i in range(below, len(parts)) if not _says_nothing(parts[i])), None)
    return Placement(
        label,
        method,
        splits[-1] if splits else None,
        None if group is None else "/".join(parts[: group + 1]),
        "/".join(parts[: index + 1]) if {*labels} >= {REAL, FAKE} else "",
        "/".join(parts[:index]),
    )


def describe_by_folders(
    files: Sequence[FileInfo], root_name: str, alone: bool = True, frames: bool = True
) -> list[Provenance]:
    """What is known of each file, given by its path relative to the root.

    The root's own name gives the label only where no folder inside names a class and the files are all that
    there are (``alone``). ``frames``: pictures in one folder may be those of several videos.
    """
    folders = [info.path.rpartition("/")[0] for info in files]
    side_by_side = _find_side_by_side(set(folders))
    placements = {folder: read_folder(folder, side_by_side) for folder in set(folders)}
    below_real = {p.group.rpartition("/")[2] for p in placements.values() if p.label == REAL and p.group}
    for folder in [folder for folder, placed in placements.items() if placed.method in below_real]:
        placements[folder] = read_folder(folder, side_by_side, frozenset(below_real))
    _tell_contradictions(placements, side_by_side)
    unlabelled = all(placed.label is None for placed in placements.values())
    if alone and unlabelled and (label := read_label(root_name)) is not None:
        log.info("%d files are %s, as the listed folder's own name says", len(files), _LABELS[label])
        for folder in placements:
            placed = read_folder(f"{root_name}/{folder}")
            group = placed.group and placed.group.removeprefix(f"{root_name}/")
            placements[folder] = placed._replace(split=None, group=group)
    labelled = any(placed.label is not None for placed in placements.values())
    has_people = "celeb" in f"{root_name}/{'/'.join(placements)}".lower() or (
        labelled and any((people := celeb_df.parse_people(info.path)) and people[1] for info in files)
    )
    known = [
        _make_provenance(info, placements[folder], root_name, has_people)
        for info, folder in zip(files, folders, strict=True)
    ]
    if not labelled:  # there is nothing to split
        return known
    known = _drop_lone_groups(_group_frames(files, known) if frames else known)
    return _join_namesakes(files, known, [placements[folder].above for folder in folders])


def _find_side_by_side(folders: Iterable[str]) -> frozenset[str]:
    """The folders, by their paths, in which folders of both classes lie; train, val and test are one."""
    found: dict[str, set[int]] = defaultdict(set)
    seen = {""}
    for folder in folders:
        while folder not in seen:
            seen.add(folder)
            above, _, name = folder.rpartition("/")
            label = read_label(name)
            if label is not None:
                found[_fold_splits(above.split("/"))].add(label)
            folder = above
    return frozenset(above for above, labels in found.items() if len(labels) == 2)


def _fold_splits(parts: Sequence[str]) -> str:
    return "/".join("*" if part.lower() in SPLIT_FOLDERS else part for part in parts)


def _tell_contradictions(placements: dict[str, Placement], side_by_side: frozenset[str]) -> None:
    """Log, with an example of each kind, which folders name both classes and what was decided."""
    examples: dict[bool, str] = {}
    for folder, placed in sorted(placements.items()):
        if placed.decided_by:
            above = _fold_splits(placed.decided_by.split("/")[:-1])
            examples.setdefault(above in side_by_side, folder)
    for beside, folder in examples.items():
        placed = placements[folder]
        assert placed.label is not None
        why = "lies beside a folder of the other class" if beside else "is the innermost that names a class"
        words = "folders name both classes: %s is taken for %s, since %s %s"
        log.info(words, folder, _LABELS[placed.label], placed.decided_by, why)


def _make_provenance(info: FileInfo, placed: Placement, root_name: str, has_people: bool) -> Provenance:
    name = info.path.rpartition("/")[2]
    target: str = remove_extension(info.path)
    source: str | None = None
    label, method, split, group = placed[:4]
    people = celeb_df.parse_people(name) if has_people else None
    if people is not None:
        target, source = people
        group = None
    if label is None and info.is_folder:  # of frames, whose name alone may tell
        label = read_label(name)
        method = None if label is None else _LABELS[label]
    return Provenance(root_name or None, target, label, method, None, split, source, group)


def _group_frames(files: Sequence[FileInfo], known: list[Provenance]) -> list[Provenance]:
    """The rows, where pictures of a folder whose names differ only in their last number get one group.

    Where there are many such groups, and many in each, they are frames of videos: ``aagfhgtpmv_12.png``.
    """
    folders: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, (info, one) in enumerate(zip(files, known, strict=True)):
        stem = remove_extension(info.path)
        if is_image_name(info.path) and one.target_id == stem and one.group_id is None:
            folders[stem.rpartition("/")[0]][_LAST_NUMBER.sub("", stem)].append(index)
    grouped = list(known)
    videos: list[str] = []
    for groups in folders.values():
        sizes = [len(indices) for indices in groups.values()]
        if len(sizes) >= _FEW and sum(sizes) >= 2 * len(sizes) and 10 * max(sizes) <= sum(sizes):
            videos += groups
            for name, indices in groups.items():
                for index in indices:
                    grouped[index] = replace(known[index], group_id=name)
    if videos:
        words = "pictures are taken for frames of %d videos, which the split keeps together, such as %s; "
        words += "--catalog.frame_folders never takes each picture by itself"
        log.info(words, len(videos), videos[0])
    return grouped


def _join_namesakes(
    files: Sequence[FileInfo], known: list[Provenance], above: Sequence[str]
) -> list[Provenance]:
    """The rows, where ``real/anna`` and ``fake/roop/anna``, one name below both classes, get one group.

    A few names may be alike by chance. A name is that of the folder that makes a group, else of the file,
    less the word for its class: ``real/0000`` and ``fake/0000_fake``. Splits that are given stand.
    """
    names: list[tuple[str, str] | None] = []
    labels: dict[tuple[str, str], set[int]] = defaultdict(set)
    for info, one, place in zip(files, known, above, strict=True):
        name = None
        is_unknown = one.split is None and one.target_id == remove_extension(info.path)
        if one.label is not None and is_unknown:
            own = (one.group_id or one.target_id).rpartition("/")[2].lower()
            name = place, _CLASS_WORD.sub("", own) or own
            labels[name].add(one.label)
        names.append(name)
    both = {name for name, found in labels.items() if len(found) == 2}
    if len(both) < _FEW_NAMES:
        return known
    words = "%d names are below real and below fake, such as %s: the split keeps together what has one name"
    log.info(words, len(both), min(both)[1])
    return [
        replace(one, group_id="/".join(filter(None, name))) if name in both else one
        for one, name in zip(known, names, strict=True)
    ]


def _drop_lone_groups(known: list[Provenance]) -> list[Provenance]:
    """Without the group of a class that has no other: it could not be in more than one split."""
    groups: dict[int | None, set[str]] = defaultdict(set)
    for one in known:
        groups[one.label].add(one.group_id or one.target_id)
    lone = {label for label, names in groups.items() if len(names) == 1}
    return [replace(one, group_id=None) if one.group_id and one.label in lone else one for one in known]


def _choose_method(label: int, parts: list[str], index: int, no_methods: frozenset[str]) -> tuple[str, int]:
    """Method of what is below ``parts``, whose part ``index`` names the class, and where the rest begins."""
    for place in range(index, len(parts) if label == FAKE else index):
        if split_words(parts[place]) - _SAYS_NOTHING and not _says_nothing(parts[place]):
            return ("fake", index + 1) if parts[place] in no_methods else (parts[place], place + 1)
    return _LABELS[label], index + 1


def _says_nothing(name: str) -> bool:
    """Whether a folder's name is a compression, or of words for classes, splits and containers alone."""
    if name.lower() in COMPRESSIONS:
        return True
    return not split_words(name) - _SAYS_NOTHING and not any(letter.isdigit() for letter in name)
