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
from collections.abc import Mapping, Sequence

from deepfake.catalog.layouts.folders import SPLIT_FOLDERS, read_label
from deepfake.catalog.media import drop_level, remove_extension
from deepfake.catalog.provenance import FAKE, REAL, Provenance
from deepfake.io.listing import FileInfo
from deepfake.io.storage import Storage

log = logging.getLogger(__name__)

ORIGINALS = ("youtube", "actors")
METHODS = ("Deepfakes", "DeepFakeDetection", "Face2Face", "FaceSwap", "FaceShifter", "NeuralTextures")

_IN_TREE = re.compile(r"(?:^|/)(?:original|manipulated)_sequences/")
_BESIDE_FOOTAGE = re.compile(
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
    rf"(?:^|/)(?P<name>original(?:s|_sequences)?|real|fake|{'|'.join((*ORIGINALS, *METHODS))})/"
    r"(?:(?P<compression>raw|c\d+)/)?(?:(?P<split>train|val|test)/)?(?:videos/)?(?P<file>[^/]+)\Z",
    re.IGNORECASE,
)
_METHODS = {name.lower(): name for name in METHODS}
_SAYS_FFPP = re.compile(r"face.?forensics|ff\+\+|ffpp|ff[-_]c\d\d", re.IGNORECASE)
_COMPRESSION = re.compile(r"(?:^|[/_-])(raw|c0|c23|c40)(?=[/_-]|\Z)", re.IGNORECASE)
_NAMES = {  # (dataset, label) -> target, and source of a fake
    ("youtube", REAL): re.compile(r"(\d{3})\Z"),
    ("youtube", FAKE): re.compile(r"(\d{3})_(\d{3})\Z"),
    ("actors", REAL): re.compile(r"(\d{2})__.+\Z", re.DOTALL),
    ("actors", FAKE): re.compile(r"(\d{2})_(\d{2})__.+\Z", re.DOTALL),
}


def describe_ffpp(
    files: Sequence[FileInfo], footage: Sequence[FileInfo], root: str, storage: Storage
) -> Mapping[str, Provenance]:
    """What is known of the clips of the tree, and of flat copies of it, by path."""
    del files, storage
    paths = {info.path: f"{root}/{put_frames_for_videos(info)}" for info in footage}
    found = {path: clip for path, whole in paths.items() if (clip := parse_path(whole)) is not None}
    if len(found) < len(paths):
        found = _describe_flat(paths) | found
    unnamed = [path for path, clip in found.items() if not follows_scheme(clip, path)]
    if unnamed:
        words = "%s: %d clips have names that tell no identities, such as %s"
        log.warning(words, root, len(unnamed), unnamed[0])
    return found


def put_frames_for_videos(info: FileInfo) -> str:
    """The path; of a folder of frames as if its clip stood there."""
    above, _, name = drop_level(info.path).rpartition("/")
    return f"{above}/videos/{name}" if info.is_folder and f"{above}/{name}" != info.path else info.path


def _describe_flat(paths: Mapping[str, str]) -> dict[str, Provenance]:
    """Clips of flat copies: a folder that holds a method's folder in which a fake is named as its pair.

    Where the path says that it is FaceForensics++, its originals may stand alone and its fakes in one
    folder. ``paths``: path in the listing -> whole path.
    """
    matches = {path: match for path, whole in paths.items() if (match := _FLAT.search(whole)) is not None}
    copies = set()
    for match in matches.values():
        name, stem = match["name"].lower(), remove_extension(match["file"])
        named = any(_NAMES[dataset, FAKE].match(stem) for dataset in ORIGINALS)
        if named and (name in _METHODS or (name == "fake" and _SAYS_FFPP.search(match.string))):
            copies.add(_find_copy(match))
    found = {}
    for path, match in matches.items():
        name, stem = match["name"].lower(), remove_extension(match["file"])
        original = name not in _METHODS and name != "fake"
        above = _find_copy(match)
        alone = original and _SAYS_FFPP.search(match.string) and _NAMES["youtube", REAL].match(stem)
        if above in copies or alone:
            stated = match["compression"] or (_COMPRESSION.findall(above) or [None])[-1]
            split = SPLIT_FOLDERS.get((match["split"] or above.rpartition("/")[2]).lower())
            found[path] = _make_provenance(
                REAL if original else FAKE, _METHODS.get(name, name), stem, stated, split
            )
    return found


def _find_copy(match: re.Match[str]) -> str:
    """The folder of a flat copy: above that of the method, and above one that only says "fake"."""
    above = match.string[: match.start("name")].rstrip("/")
    if match["name"].lower() in _METHODS and read_label(above.rpartition("/")[2]) == FAKE:
        return above.rpartition("/")[0]
    return above


def is_in_tree(path: str) -> bool:
    """Whether the path lies below ``original_sequences`` or ``manipulated_sequences``."""
    return _IN_TREE.search(path) is not None


def is_beside_footage(path: str) -> bool:
    """Whether the path is one of the tree's masks or models, which are no footage."""
    return _BESIDE_FOOTAGE.search(path) is not None


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
    dataset = name if label == REAL and name in ORIGINALS else _choose_dataset(name, label, stem)
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
    stem = remove_extension(path.rpartition("/")[2])
    return clip.label is not None and bool(_parse_identities(clip.dataset, clip.label, stem))


def normalise_compression(name: str | None) -> str | None:
    """The present name of a compression: ``c0`` is what ``raw`` was called before."""
    return "raw" if name == "c0" else name


def _choose_dataset(method: str, label: int, stem: str) -> str:
    return "actors" if method == "DeepFakeDetection" or _NAMES["actors", label].match(stem) else "youtube"


def _parse_identities(dataset: str | None, label: int, stem: str) -> tuple[str, ...]:
    pattern = _NAMES.get((dataset or "", label))
    match = pattern.match(stem) if pattern else None
    return match.groups() if match else ()
