"""Reads DeeperForensics-1.0 from its folders, names and lists.

    manipulated_videos/end_to_end/000_W133.mp4     FaceForensics++'s clip 000 with the face of actor W133
    source_videos/W133/light_up/surprise/camera_down/W133_light_up_surprise_camera_down.mp4
    lists/splits/train.txt                         lines "000_W133.mp4"

The real videos that belong to the fakes are FaceForensics++'s, which lie beside or elsewhere. The actors' own
recordings are real too, but its authors advise against training on them.
"""

import logging
import re
from collections.abc import Mapping, Sequence

from deepfake.catalog.media import drop_level, get_stem, remove_extension
from deepfake.catalog.provenance import FAKE, REAL, FolderListing, Provenance
from deepfake.config import SPLITS
from deepfake.io.listing import FileInfo
from deepfake.io.storage import Storage

DATASET = "DeeperForensics"

_FAKE = re.compile(
    r"(?:^|/)(?P<variant>end_to_end(?:_[a-z0-9_]+)?|reenact_postprocess)/(\d{3})_([MW]\d{3})\Z"
)
_ACTOR = re.compile(r"(?:^|/)([MW]\d{3})/(?:[^/]+/)*\1_(?:light|BlendShape)_[A-Za-z_]*camera_[a-z]+\Z")
_LIST = re.compile(r"(?:^|/)lists/splits/(train|val|test)\.txt\Z")

log = logging.getLogger(__name__)


def describe_deeperforensics(listing: FolderListing) -> Mapping[str, Provenance]:
    """What is known of the clips, by path."""
    found: dict[str, Provenance] = {}
    fakes: dict[str, re.Match[str]] = {}
    for info in listing.footage:
        path = drop_level(remove_extension(listing.locate(info)))
        if (fake := _FAKE.search(path)) is not None:
            fakes[info.path] = fake
        elif (actor := _ACTOR.search(path)) is not None:
            found[info.path] = Provenance(DATASET, f"deeperforensics/{actor[1]}", REAL, "real")
    if found:
        words = (
            "%d recordings of actors, such as %s, count as real; DeeperForensics' authors advise against that"
        )
        log.warning(words, len(found), next(iter(found)))
    splits = _read_lists(listing.files, listing.storage) if fakes else {}
    for path, match in fakes.items():
        found[path] = Provenance(
            dataset=DATASET,
            target_id=f"youtube/{match[2]}",
            label=FAKE,
            method=match["variant"],
            split=splits.get(f"{match[2]}_{match[3]}"),
            source_id=f"deeperforensics/{match[3]}",
        )
    return found


def _read_lists(files: Sequence[FileInfo], storage: Storage) -> dict[str, str]:
    """The split of each fake, by its name without extension."""
    splits = {}
    for info in files:
        if (match := _LIST.search(info.path)) is not None and match[1] in SPLITS:
            for line in storage.read_text(info.uri).split():
                splits[get_stem(line)] = match[1]
    return splits
