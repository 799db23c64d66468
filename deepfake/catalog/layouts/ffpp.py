"""Reads the FaceForensics++ tree from its paths: label, method, compression and identities of each clip.

Paths look like ``manipulated_sequences/Deepfakes/c23/videos/519_515.mp4``. They may be nested in other
folders, and the listed folder may be any part of the tree, because the whole absolute path is looked at.
``masks/`` and ``models/`` stand beside the footage and are left out.

There are two naming schemes. YouTube clips are ``000.mp4`` and their fakes ``<target>_<source>.mp4``;
actors are ``01__kitchen_still.mp4`` and their fakes (DeepFakeDetection)
``<target>_<source>__<scene>__<code>.mp4``. Identities carry the dataset's name, ``youtube/000`` and
``actors/01``, so that the two never meet.

Copies of the tree that were made flat, as on Kaggle, are known by what the names of their files tell:

    FaceForensics++_C23/original/000.mp4
    FaceForensics++_C23/Face2Face/000_003.mp4

Frames that were taken out of the clips stand in folders, one a clip, as ``frames/000/0001.png``.
"""

import logging
import re
from collections.abc import Mapping
from typing import NamedTuple

from deepfake.catalog.layouts.folders import SPLIT_FOLDERS, read_label
from deepfake.catalog.media import drop_level, is_image_name, remove_extension
from deepfake.catalog.provenance import FAKE, REAL, FolderListing, Provenance
from deepfake.io.listing import FileInfo

log = logging.getLogger(__name__)

ORIGINALS = ("youtube", "actors")
METHODS = ("Deepfakes", "DeepFakeDetection", "Face2Face", "FaceSwap", "FaceShifter", "NeuralTextures")

IN_TREE = re.compile(r"(?:^|/)(?:original|manipulated)_sequences/")
BESIDE_FOOTAGE = re.compile(  # the tree's masks and models
    r"(?:^|/)(?:original|manipulated)_sequences/[^/]+/(?:(?:raw|c\d+)/)?(?:masks|models)/"
)
_CLIP = re.compile(
    r"(?:^|/)(?P<kind>original|manipulated)_sequences/(?P<name>[^/]+)/"
    r"(?:(?P<compression>raw|c\d+)/)?(?:videos/)?(?P<file>[^/]+)\Z"
)
_CLIP_IN_PART = re.compile(  # a part of the tree that was copied without the folders above it
    rf"(?:^|/)(?P<name>{'|'.join((*ORIGINALS, *METHODS))})/(?P<compression>raw|c\d+)/videos/(?P<file>[^/]+)\Z"
)
_FLAT = re.compile(  # without the folders above, and perhaps without those between
    r"(?:^|/)(?P<name>[^/]+)/"
    r"(?:(?P<compression>raw|c\d+)/)?(?:(?P<split>train|val|test)/)?(?:videos/)?(?P<file>[^/]+)\Z",
    re.IGNORECASE,
)
_FRAME = re.compile(r"[_-]+(?:frame|f)?[_-]?\d+\Z", re.IGNORECASE)  # behind a clip's, in a picture's name
_PLAIN = frozenset({"original", "originals", "original_sequences", "real", "fake", *ORIGINALS})
_METHODS = {name.lower(): name for name in METHODS}
_SAYS_FFPP = re.compile(r"face.?forensics|ff\+\+|ffpp|ff[-_]c\d\d", re.IGNORECASE)
_COMPRESSION = re.compile(r"(?:^|[/_-])(raw|c0|c23|c40)(?=[/_-]|\Z)", re.IGNORECASE)
_NAMES = {  # (dataset, label) -> target, and source of a fake
    ("youtube", REAL): re.compile(r"(\d{3})\Z"),
    ("youtube", FAKE): re.compile(r"(\d{3})_(\d{3})\Z"),
    ("actors", REAL): re.compile(r"(\d{2})__.+\Z", re.DOTALL),
    ("actors", FAKE): re.compile(r"(\d{2})_(\d{2})__.+\Z", re.DOTALL),
}


def describe_ffpp(listing: FolderListing) -> Mapping[str, Provenance]:
    """What is known of the clips of the tree, and of flat copies of it, by path."""
    paths = {info.path: f"{listing.root}/{put_frames_for_videos(info)}" for info in listing.footage}
    found = {path: clip for path, whole in paths.items() if (clip := parse_path(whole)) is not None}
    if len(found) < len(paths):
        found = _describe_flat(paths) | found
    unnamed = [path for path, clip in found.items() if not follows_scheme(clip, path)]
    if unnamed:
        words = "%s: %d clips have names that tell no identities, such as %s"
        log.warning(words, listing.root, len(unnamed), unnamed[0])
    return found


def put_frames_for_videos(info: FileInfo) -> str:
    """The path; of a folder of frames as if its clip stood there."""
    above, _, name = drop_level(info.path).rpartition("/")
    return f"{above}/videos/{name}" if info.is_folder and f"{above}/{name}" != info.path else info.path


def _describe_flat(paths: Mapping[str, str]) -> dict[str, Provenance]:
    """Clips of flat copies: a folder that holds a method's folder in which a fake is named as its pair.

    Where the path says that it is FaceForensics++, its originals may stand alone. Its fakes may lie in one
    folder there, and where a fake is named as a pair of originals that lie beside. ``paths``: path in the
    listing -> whole path.
    """
    clips = []
    for path, whole in paths.items():
        match = _FLAT.search(whole)
        kind = _read_kind(match["name"]) if match is not None else None
        if match is not None and kind is not None:
            label = REAL if kind in ("original", *ORIGINALS) else FAKE
            stem = _take_stem(match["file"], label)
            clips.append(_FlatClip(path, label, kind, _find_copy(match, kind), stem, match))
    originals = {(clip.copy, clip.stem) for clip in clips if clip.label == REAL}
    copies: dict[str, str] = {}
    for clip in clips:
        if clip.label == REAL or not clip.is_named:
            continue
        if clip.kind != "fake" or _SAYS_FFPP.search(clip.match.string):
            copies[clip.copy] = ""
        elif any((clip.copy, part) in originals for part in clip.stem.split("_")):
            copies.setdefault(clip.copy, clip.path)
    if guessed := [path for path in copies.values() if path]:
        words = "%d folders are taken for FaceForensics++, since their fakes are named as pairs, such as %s"
        log.info(words + "; --catalog.layout folders takes files as they are", len(guessed), guessed[0])
    found = {}
    for clip in clips:
        alone = clip.label == REAL and clip.stem.isdigit() and _SAYS_FFPP.search(clip.match.string)
        is_plain = clip.match["name"].lower() in _PLAIN or clip.kind in METHODS
        if (clip.copy in copies and (is_plain or clip.is_named)) or (alone and clip.is_named):
            stated = clip.match["compression"] or (_COMPRESSION.findall(clip.copy) or [None])[-1]
            split = SPLIT_FOLDERS.get((clip.match["split"] or clip.copy.rpartition("/")[2]).lower())
            is_dfd = clip.kind == "fake" and _NAMES["actors", FAKE].match(clip.stem)
            name = "DeepFakeDetection" if is_dfd else clip.kind
            found[clip.path] = _make_provenance(clip.label, name, clip.stem, stated, split)
    return found


class _FlatClip(NamedTuple):
    """A clip of what may be a flat copy."""

    path: str
    label: int
    kind: str  # the method, or "original", "youtube", "actors", "fake"
    copy: str  # the folder of the copy
    stem: str
    match: re.Match[str]

    @property
    def is_named(self) -> bool:
        """Whether its name is one of the two naming schemes."""
        return any(_NAMES[dataset, self.label].match(self.stem) for dataset in ORIGINALS)


def _read_kind(name: str) -> str | None:
    """What the name of a folder of a flat copy says: the kind of its clips; None where nothing."""
    method = _METHODS.get(re.sub(r"[\W_]", "", _COMPRESSION.sub("", name)).lower())
    if method is not None:
        return method
    if name.lower() in ORIGINALS:
        return name.lower()
    label = read_label(name)
    return None if label is None else "original" if label == REAL else "fake"


def _find_copy(match: re.Match[str], kind: str) -> str:
    """The folder of a flat copy: above that of the method, and above one that only says "fake"."""
    above = match.string[: match.start("name")].rstrip("/")
    if kind in METHODS and read_label(above.rpartition("/")[2]) == FAKE:
        return above.rpartition("/")[0]
    return above


def parse_path(path: str) -> Provenance | None:
    """What the path of a clip says; None where it is no clip of the tree.

    A clip whose name follows neither scheme keeps its label, and has no identity but one made of its name;
    ``follows_scheme`` tells.
    """
    match = _CLIP.search(path) or _CLIP_IN_PART.search(path)
    if match is None:
        return None
    name, stem = match["name"], remove_extension(match["file"])
    original = match["kind"] == "original" if "kind" in match.groupdict() else name in ORIGINALS
    return _make_provenance(REAL if original else FAKE, name, stem, match["compression"])


def _make_provenance(
    label: int, name: str, stem: str, compression: str | None, split: str | None = None
) -> Provenance:
    """``name`` is the dataset's, or the method's, or that of neither."""
    is_actors = name == "DeepFakeDetection" or _NAMES["actors", label].match(stem)
    dataset = name if label == REAL and name in ORIGINALS else "actors" if is_actors else "youtube"
    ids = _parse_identities(dataset, label, stem)
    return Provenance(
        dataset=dataset,
        label=label,
        method="real" if label == REAL else name,
        compression=normalise_compression(compression.lower()) if compression else None,
        target_id=f"{dataset}/{ids[0] if ids else stem}",
        source_id=f"{dataset}/{ids[1]}" if len(ids) > 1 else None,
        split=split,
    )


def follows_scheme(clip: Provenance, path: str) -> bool:
    """Whether the clip's name was one of the two naming schemes."""
    if clip.label is None:
        return False
    return bool(_parse_identities(clip.dataset, clip.label, _take_stem(path.rpartition("/")[2], clip.label)))


def _take_stem(name: str, label: int) -> str:
    """A clip's name less its extension; of a picture from it, less the number behind."""
    stem = remove_extension(name)
    shorter = _FRAME.sub("", stem) if is_image_name(name) else stem
    patterns = [_NAMES[dataset, label] for dataset in ORIGINALS]
    named = [one for one in (stem, shorter) if any(pattern.match(one) for pattern in patterns)]
    return named[0] if named else stem


def normalise_compression(name: str | None) -> str | None:
    """The present name of a compression: ``c0`` is what ``raw`` was called before."""
    return "raw" if name == "c0" else name


def _parse_identities(dataset: str | None, label: int, stem: str) -> tuple[str, ...]:
    pattern = _NAMES.get((dataset or "", label))
    match = pattern.match(stem) if pattern else None
    return match.groups() if match else ()
