"""Reads DF40 from its folders: a method, what it was made from, and frames named as those clips are.

    DF40_train/blendface/frames/000_003/000.png         FaceForensics++'s clip 000 with the face of 003
    DF40/simswap/ff/frames/000_003/000.png
    DF40/simswap/cdf/frames/id0_id1_0000/000.png        Celeb-DF's clip with the face of id1
    DF40/heygen/fake/..., DF40/heygen/real/...          methods that come with real pictures of their own

The real videos of the others are those of FaceForensics++ and Celeb-DF, which lie beside or elsewhere.
"""

import re
from collections.abc import Mapping

from deepfake.catalog.layouts.celeb_df import parse_people
from deepfake.catalog.media import is_image_name, remove_extension
from deepfake.catalog.provenance import FAKE, REAL, FolderListing, Provenance
from deepfake.io.listing import FileInfo

DATASET = "DF40"
METHODS = frozenset(
    name
    for names in (
        "fsgan faceswap simswap inswap inswapper blendface uniface mobileswap e4s facedancer deepfacelab",
        "fomm facevid2vid wav2lip mraa oneshot oneshotfree pirender tpsm lia dagan danet sadtalker mcnet",
        "hyperreenact heygen vqgan stylegan2 stylegan3 styleganxl sd21 ddim ddpm rddm pixart dit sit",
        "midjourney midjourney6 whichfaceisreal whichisreal collabdiff e4e stargan starganv2 styleclip",
    )
    for name in names.split()
)

# Below the data set's folder, perhaps with a folder a kind of method between; or by what was manipulated.
_PLACES = (
    re.compile(r"(?:^|/)DF40(?:_[a-z]+)?/(?P<method>[^/]+)/(?P<rest>.+)\Z", re.IGNORECASE),
    re.compile(r"(?:^|/)DF40(?:_[a-z]+)?/[^/]+/(?P<method>[^/]+)/(?P<rest>.+)\Z", re.IGNORECASE),
    re.compile(r"(?:^|/)(?P<method>[^/]+)/(?P<rest>(?:ff|cdf)/.+)\Z"),
)
_FFPP = re.compile(r"(\d{3})(?:_(\d{3}))?\Z")
_YOUTUBE = re.compile(r"\d{5}\Z")


def describe_df40(listing: FolderListing) -> Mapping[str, Provenance]:
    """What is known of the clips and pictures of its methods, by path."""
    found = {}
    for info in listing.footage:
        path = listing.locate(info)
        for pattern in _PLACES:
            match = pattern.search(path)
            if match is not None and re.sub(r"[\W_]", "", match["method"].lower()) in METHODS:
                found[info.path] = _make_provenance(match["method"], match["rest"], info)
                break
    return found


def _make_provenance(method: str, rest: str, info: FileInfo) -> Provenance:
    *folders, name = remove_extension(rest).split("/")
    real = "real" in (folder.lower() for folder in folders)
    if is_image_name(info.path) and not info.is_folder:  # a clip's frames lie in its folder
        name = folders[-1] if folders else ""
    target, source = _parse_people(name, rest) or (remove_extension(info.path), None)
    label = REAL if real else FAKE
    return Provenance(DATASET, target, label, "real" if real else method, source_id=source)


def _parse_people(name: str, rest: str) -> tuple[str, str | None] | None:
    if (people := parse_people(name)) is not None:
        return people
    if (clip := _FFPP.match(name)) is not None:
        return f"youtube/{clip[1]}", f"youtube/{clip[2]}" if clip[2] else None
    if _YOUTUBE.match(name) and rest.startswith("cdf/"):
        return f"celeb/youtube-real/{name}", None
    return None
