"""Which of the known data sets a listing is.

One module a data set; each tells of the clips that it knows and is silent about the rest, so that several
data sets may lie in one folder.
"""

from collections.abc import Callable, Mapping

from deepfake.catalog.layouts import (
    celeb_df,
    deeperforensics,
    df40,
    dfd,
    dfdc,
    dfdc_preview,
    fakeavceleb,
    ffpp,
    wilddeepfake,
)
from deepfake.catalog.provenance import FolderListing, Provenance

LAYOUTS: Mapping[str, Callable[[FolderListing], Mapping[str, Provenance]]] = {
    "df40": df40.describe_df40,  # before FaceForensics++, whose methods it has too
    "ffpp": ffpp.describe_ffpp,
    "celeb_df": celeb_df.describe_celeb_df,
    "dfdc": dfdc.describe_dfdc,
    "dfd": dfd.describe_dfd,
    "dfdc_preview": dfdc_preview.describe_dfdc_preview,
    "fakeavceleb": fakeavceleb.describe_fakeavceleb,
    "deeperforensics": deeperforensics.describe_deeperforensics,
    "wilddeepfake": wilddeepfake.describe_wilddeepfake,
}
LOOKED_FOR = {
    "ffpp": "original_sequences/youtube/c23/videos/*.mp4, "
    "manipulated_sequences/Deepfakes/c23/videos/*.mp4 and the like, "
    "or original/000.mp4 and Deepfakes/000_003.mp4",
    "celeb_df": "folders Celeb-real, Celeb-synthesis and YouTube-real",
    "dfdc": 'clips beside a metadata.json that gives each a "label"',
    "df40": "DF40_train/blendface/frames/000_003/000.png, DF40/simswap/cdf/frames/id0_id1_0000/000.png",
    "dfdc_preview": "original_videos/643049/643049_A_001.mp4, "
    "method_B/1260311/1260311_C/1255229_1260311_C_001.mp4",
    "fakeavceleb": "FakeVideo-FakeAudio/African/men/id00076/00109_2_id01236_wavtolip.mp4",
    "deeperforensics": "manipulated_videos/end_to_end/000_W133.mp4",
    "wilddeepfake": "fake_train/12/fake/3/105.png",
    "dfd": "names such as 01_02__meeting_serious__YVGY8LOK.mp4 and 01__meeting_serious.mp4",
}


def describe_known(layout: str, listing: FolderListing) -> dict[str, Provenance]:
    """What the data sets' own names and tables say of each clip, by its path; ``auto`` asks all of them."""
    asked = LAYOUTS if layout == "auto" else {layout: LAYOUTS[layout]} if layout in LAYOUTS else {}
    known: dict[str, Provenance] = {}
    for tell in asked.values():
        known = {**tell(listing), **known}
    return known
