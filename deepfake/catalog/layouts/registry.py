"""Which of the known data sets a listing is.

One module a data set; each tells of the clips that it knows and is silent about the rest, so that several
data sets may lie in one folder.
"""

from collections.abc import Callable, Mapping, Sequence

from deepfake.catalog.layouts import celeb_df, dfd, dfdc, ffpp
from deepfake.catalog.provenance import Provenance
from deepfake.io.storage import FileInfo, Storage

# all files, those that are footage, the path of the listed folder
Describe = Callable[[Sequence[FileInfo], Sequence[FileInfo], str, Storage], Mapping[str, Provenance]]

LAYOUTS: Mapping[str, Describe] = {
    "ffpp": ffpp.describe_ffpp,
    "celeb_df": celeb_df.describe_celeb_df,
    "dfdc": dfdc.describe_dfdc,
    "dfd": dfd.describe_dfd,
}
LOOKED_FOR = {
    "ffpp": "original_sequences/youtube/c23/videos/*.mp4, "
    "manipulated_sequences/Deepfakes/c23/videos/*.mp4 and the like, "
    "or original/000.mp4 and Deepfakes/000_003.mp4",
    "celeb_df": "folders Celeb-real, Celeb-synthesis and YouTube-real",
    "dfdc": 'clips beside a metadata.json that gives each a "label"',
    "dfd": "names such as 01_02__meeting_serious__YVGY8LOK.mp4 and 01__meeting_serious.mp4",
}


def describe_known(
    layout: str, files: Sequence[FileInfo], footage: Sequence[FileInfo], root: str, storage: Storage
) -> dict[str, Provenance]:
    """What the data sets' own names and tables say of each clip, by its path; ``auto`` asks all of them."""
    asked = LAYOUTS if layout == "auto" else {layout: LAYOUTS[layout]} if layout in LAYOUTS else {}
    known: dict[str, Provenance] = {}
    for tell in asked.values():
        known = {**tell(files, footage, root, storage), **known}
    return known
