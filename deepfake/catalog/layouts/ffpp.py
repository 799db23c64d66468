"""Reads the FaceForensics++ tree from its paths: label, method, compression and identities of each clip.

Paths look like ``manipulated_sequences/Deepfakes/c23/videos/519_515.mp4``. They may be nested in other
folders, and the listed folder may be any part of the tree, because the whole absolute path is looked at.
``masks/`` and ``models/`` stand beside the footage and are left out.

There are two naming schemes. YouTube clips are ``000.mp4`` and their fakes ``<target>_<source>.mp4``;
actors are ``01__kitchen_still.mp4`` and their fakes (DeepFakeDetection)
``<target>_<source>__<scene>__<code>.mp4``. Identities carry the dataset's name, ``youtube/000`` and
``actors/01``, so that the two never meet. This module assigns no splits.
"""

import re

from deepfake.catalog.media import remove_extension
from deepfake.catalog.provenance import FAKE, REAL, Provenance

ORIGINALS = ("youtube", "actors")
METHODS = ("Deepfakes", "DeepFakeDetection", "Face2Face", "FaceSwap", "FaceShifter", "NeuralTextures")

_IN_TREE = re.compile(r"(?:^|/)(?:original|manipulated)_sequences/")
_BESIDE_FOOTAGE = re.compile(r"(?:^|/)(?:original|manipulated)_sequences/[^/]+/(?:masks|models)/")
_CLIP = re.compile(
    r"(?:^|/)(?P<kind>original|manipulated)_sequences/(?P<name>[^/]+)/"
    r"(?:(?P<compression>raw|c\d+)/)?(?:videos/)?(?P<file>[^/]+)\Z"
)
_CLIP_IN_PART = re.compile(  # a part of the tree that was copied without the folders above it
    rf"(?:^|/)(?P<name>{'|'.join((*ORIGINALS, *METHODS))})/(?P<compression>raw|c\d+)/videos/(?P<file>[^/]+)\Z"
)
_NAMES = {  # (dataset, label) -> target, and source of a fake
    ("youtube", REAL): re.compile(r"(\d{3})\Z"),
    ("youtube", FAKE): re.compile(r"(\d{3})_(\d{3})\Z"),
    ("actors", REAL): re.compile(r"(\d{2})__.+\Z", re.DOTALL),
    ("actors", FAKE): re.compile(r"(\d{2})_(\d{2})__.+\Z", re.DOTALL),
}


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
    label = REAL if original else FAKE
    dataset = name if original else _choose_dataset(name, stem)
    ids = _parse_identities(dataset, label, stem)
    return Provenance(
        dataset=dataset,
        label=label,
        method="real" if original else name,
        compression=normalise_compression(match["compression"]),
        target_id=f"{dataset}/{ids[0] if ids else stem}",
        source_id=f"{dataset}/{ids[1]}" if len(ids) > 1 else None,
    )


def follows_scheme(clip: Provenance, path: str) -> bool:
    """Whether the clip's name was one of the two naming schemes."""
    stem = remove_extension(path.rpartition("/")[2])
    return clip.label is not None and bool(_parse_identities(clip.dataset, clip.label, stem))


def normalise_compression(name: str | None) -> str | None:
    """The present name of a compression: ``c0`` is what ``raw`` was called before."""
    return "raw" if name == "c0" else name


def _choose_dataset(method: str, stem: str) -> str:
    if method == "DeepFakeDetection" or _NAMES["actors", FAKE].match(stem):
        return "actors"
    return "youtube"


def _parse_identities(dataset: str | None, label: int, stem: str) -> tuple[str, ...]:
    pattern = _NAMES.get((dataset or "", label))
    match = pattern.match(stem) if pattern else None
    return match.groups() if match else ()
