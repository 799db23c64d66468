"""Reads DeepFakeDetection's actors where they lie outside FaceForensics++'s tree, by their file names.

    DFD_original sequences/01__meeting_serious.mp4
    DFD_manipulated_sequences/01_02__meeting_serious__YVGY8LOK.mp4     actor 01's clip with the face of 02

In FaceForensics++'s tree the same names are read by ``ffpp``, to the same identities.
"""

import re
from collections.abc import Mapping

from deepfake.catalog.layouts.ffpp import normalise_compression
from deepfake.catalog.media import get_stem
from deepfake.catalog.provenance import FAKE, REAL, FolderListing, Provenance

DATASET, METHOD = "actors", "DeepFakeDetection"

_REAL = re.compile(r"(\d{2})__[a-z_]+\Z")
_FAKE = re.compile(r"(\d{2})_(\d{2})__[a-z_]+__[A-Z0-9]{8}\Z")
_COMPRESSION = re.compile(r"(?:^|/)(raw|c0|c23|c40)(?:/|\Z)")


def describe_dfd(listing: FolderListing) -> Mapping[str, Provenance]:
    """What the names tell, by path; nothing unless a clip has a fake's name, which nothing else has.

    Where only the originals are listed, the folder must say so: a name such as ``01__walking`` is too common.
    """
    fakes = {info.path: match for info in listing.footage if (match := _FAKE.match(get_stem(info.path)))}
    if not fakes and "dfd" not in listing.root.rpartition("/")[2].lower():
        return {}
    found = {}
    for info in listing.footage:
        fake, real = fakes.get(info.path), _REAL.match(get_stem(info.path))
        if fake is None and real is None:
            continue
        stated = _COMPRESSION.search(listing.locate(info).rpartition("/")[0])
        match = fake or real
        assert match is not None
        found[info.path] = Provenance(
            dataset=DATASET,
            target_id=f"{DATASET}/{match[1]}",
            label=REAL if fake is None else FAKE,
            method="real" if fake is None else METHOD,
            compression=normalise_compression(stated[1]) if stated else None,
            source_id=f"{DATASET}/{fake[2]}" if fake is not None else None,
        )
    return found
