"""Reads Celeb-DF, version 1 or 2, from its folders, names and list of test videos.

    Celeb-real/id0_0000.mp4              a clip of person id0
    Celeb-synthesis/id0_id1_0000.mp4     id0's clip 0000 with the face of id1
    YouTube-real/00000.mp4               some person
    List_of_testing_videos.txt           lines "1 YouTube-real/00170.mp4": 1 is real, 0 is fake

The list is the official test split; all else is ``train``. It keeps clips apart and not people: nearly every
person is in both. The leak check says so, and refuses to train and test on them.
"""

import re
from collections.abc import Mapping

from deepfake.catalog.media import drop_level, remove_extension
from deepfake.catalog.provenance import FAKE, REAL, FolderListing, Provenance
from deepfake.errors import UsageError
from deepfake.io.storage import Storage

TEST_LIST = "List_of_testing_videos.txt"
FOLDERS = {"celeb-real": REAL, "celeb-synthesis": FAKE, "youtube-real": REAL}
DATASET = "Celeb-DF"

_CELEB = re.compile(r"(?:.*/)?(id\d+)(?:_(id\d+))?_\d+(?:_\d+)?\Z")  # of a frame, its number behind


def parse_people(name: str) -> tuple[str, str | None] | None:
    """Target and source that a name or path tells: ``celeb/id0``, ``celeb/id1``; None for other names."""
    match = _CELEB.match(remove_extension(name))
    if match is None:
        return None
    return f"celeb/{match[1]}", f"celeb/{match[2]}" if match[2] else None


def describe_celeb_df(listing: FolderListing) -> Mapping[str, Provenance]:
    """What is known of the clips in the three folders, by path; nothing where only YouTube-real is there."""
    placed = {
        info.path: parts
        for info in listing.footage
        if (parts := _split_path(drop_level(listing.locate(info)))) is not None
    }
    if not any(folder.startswith("celeb") for _, folder, _ in placed.values()):
        return {}
    places = ((listing.locate(info).rpartition("/"), info) for info in listing.files)
    lists = {
        above: _read_test_list(info.uri, listing.storage)
        for (above, _, name), info in places
        if name == TEST_LIST
    }
    found = {}
    for path, (above, folder, name) in placed.items():
        label = FOLDERS[folder]
        listed = lists.get(above)
        key = f"{folder}/{remove_extension(name).lower()}"
        split = None
        if listed is not None:
            split = "test" if key in listed else "train"
            if listed.get(key, label) != label:
                raise UsageError(f"{above}/{TEST_LIST}: lists {name} with the label opposite to its folder's")
        target, source = parse_people(name) or (f"celeb/{folder}/{remove_extension(name)}", None)
        found[path] = Provenance(
            dataset=above.rpartition("/")[2] or DATASET,
            target_id=target,
            label=label,
            method="real" if label == REAL else "Celeb-synthesis",
            split=split,
            source_id=source,
        )
    return found


def _split_path(path: str) -> tuple[str, str, str] | None:
    """Path of the data set's folder, which of its folders, in lower case, and the clip's name."""
    above, _, name = path.rpartition("/")
    above, _, folder = above.rpartition("/")
    return (above, folder.lower(), name) if folder.lower() in FOLDERS else None


def _read_test_list(uri: str, storage: Storage) -> dict[str, int]:
    """``folder/name`` in lower case, without extension -> label."""
    listed = {}
    for number, line in enumerate(storage.read_text(uri).splitlines(), 1):
        words = line.split(maxsplit=1)
        if not words:
            continue
        if len(words) != 2 or words[0] not in ("0", "1") or "/" not in words[1]:
            raise UsageError(
                f"{uri}: line {number} is {line!r:.80}, expected such as '1 YouTube-real/00170.mp4'"
            )
        listed[remove_extension(words[1].strip()).lower()] = REAL if words[0] == "1" else FAKE
    return listed
