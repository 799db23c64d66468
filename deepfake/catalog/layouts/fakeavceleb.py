"""Reads FakeAVCeleb from its folders and names, and its ``meta_data.csv`` where that is there.

    RealVideo-RealAudio/African/men/id00076/00109.mp4                      a clip of person id00076
    FakeVideo-FakeAudio/African/men/id00076/00109_2_id01236_wavtolip.mp4   with the face or words of id01236

The folders and the table state each person's race and gender, which ``catalog.groups`` may ask for.
Only pictures are judged here: ``RealVideo-FakeAudio`` shows real people and counts as real.
"""

import csv
import io
import logging
import re
from collections.abc import Mapping

from deepfake.catalog.media import remove_extension
from deepfake.catalog.provenance import FAKE, REAL, FolderListing, Provenance

DATASET = "FakeAVCeleb"
TABLE = "meta_data.csv"
GROUPS = ("race", "gender")  # as the data set itself states them

_CLIP = re.compile(
    r"(?:^|/)(?P<type>(?P<video>Real|Fake)Video-(?P<sound>Real|Fake)Audio)/"
    r"(?:(?P<race>[^/]+)/(?P<gender>men|women)/|(?:[^/]+/)*?)(?P<person>id\d{5})/(?P<rest>.+)\Z",
    re.IGNORECASE,
)
_OTHER = re.compile(r"_(id\d{5})(?=_|\Z)")
_METHOD = re.compile(r"_([A-Za-z][A-Za-z0-9-]*)\Z")
_METHODS = {"wavtolip": "wav2lip"}  # as file names have it, and as the table does

log = logging.getLogger(__name__)


def describe_fakeavceleb(listing: FolderListing) -> Mapping[str, Provenance]:
    """What is known of the clips, by path."""
    matches = {info.path: match for info in listing.footage if (match := _CLIP.search(listing.locate(info)))}
    told: dict[tuple[str, str, str], Mapping[str, str]] = {}
    for info in listing.files if matches else ():
        if info.path.rpartition("/")[2] == TABLE:
            told |= _read_table(listing.storage.read_text(info.uri))
    found = {path: _make_provenance(match, told) for path, match in matches.items()}
    if sound := [path for path, match in matches.items() if match["type"].lower() == "realvideo-fakeaudio"]:
        words = "%d clips count as real, since only their sound is fake, such as %s"
        log.info(words, len(sound), sound[0])
    return found


def _read_table(text: str) -> dict[tuple[str, str, str], Mapping[str, str]]:
    """``(type, person, file) -> row``; the column "path" has the file's name."""
    return {
        (row["type"].lower(), row["source"], row["path"]): row
        for row in csv.DictReader(io.StringIO(text))
        if all(row.get(name) for name in ("type", "source", "path", "method", "target1"))
    }


def _make_provenance(
    match: re.Match[str], told: Mapping[tuple[str, str, str], Mapping[str, str]]
) -> Provenance:
    person, name = match["person"].lower(), match["rest"].partition("/")[0]  # the clip's, of frames too
    label = REAL if match["video"].lower() == "real" else FAKE
    stem = remove_extension(name)
    row = told.get((match["type"].lower(), person, f"{stem}.mp4"), {})
    method, other = row.get("method"), row.get("target1")
    stated = {name: row.get(name) or match[name] for name in GROUPS}  # a table's word before a folder's name
    if method is None and (said := _METHOD.search(stem)) is not None:
        method = _METHODS.get(said[1], said[1])
    if other is None or not other.startswith("id"):
        named = _OTHER.search(stem)
        other = named[1] if named else None
    return Provenance(
        dataset=DATASET,
        target_id=f"fakeavceleb/{person}",
        label=label,
        method="real" if label == REAL else method or DATASET,
        source_id=f"fakeavceleb/{other}" if label == FAKE and other else None,
        groups={name: value for name, value in stated.items() if value},
    )
