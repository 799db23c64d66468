"""Reads WildDeepfake, whose archives unpack to sequences of faces, several of each video.

    deepfake_in_the_wild/fake_train/12/fake/3/105.png     of video 12, sequence 3
    deepfake_in_the_wild/real_test/0/real/7/1.png

Who is on a video is not told; all sequences of one are one identity.
"""

import re
from collections.abc import Mapping

from deepfake.catalog.provenance import FAKE, REAL, FolderListing, Provenance

DATASET = "WildDeepfake"

_SEQUENCE = re.compile(
    r"(?:^|/)(?P<part>(?P<label>real|fake)_(?P<split>train|test))/(?:extracted/)?(?P<video>\d+)/"
    r"(?:(?:real|fake)/)?\d+(?:/[^/]+)?\Z"
)


def describe_wilddeepfake(listing: FolderListing) -> Mapping[str, Provenance]:
    """What is known of the sequences, by path."""
    found = {}
    for info in listing.footage:
        match = _SEQUENCE.search(listing.locate(info))
        if match is not None:
            label = REAL if match["label"] == "real" else FAKE
            video = f"wilddeepfake/{match['part']}/{match['video']}"
            method = "real" if label == REAL else DATASET
            found[info.path] = Provenance(DATASET, video, label, method, split=match["split"])
    return found
