"""Which folders of pictures are one video each, whose frames somebody has taken out of it.

    real/000/0001.png, real/000/0002.png                        the video real/000
    original_sequences/youtube/c23/frames/000/012.png           the video frames/000
    real/0001.png, fake/stylegan/0001.png                       pictures, each by itself

Names alone are looked at. Where they leave it open, it is a guess, which the log tells; ``frame_folders`` of
the catalog's configuration decides otherwise.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deepfake.catalog.layouts.folders import (
    CONTAINERS,
    FAKE_WORDS,
    REAL_WORDS,
    SPLIT_FOLDERS,
    Placement,
    read_folder,
    read_label,
    split_words,
)
from deepfake.catalog.media import FRAMES, drop_level, get_stem, is_image_name, remove_extension
from deepfake.catalog.provenance import REAL
from deepfake.io.listing import FileInfo

log = logging.getLogger(__name__)

# Words of folders that are no video.
_NO_VIDEO = (REAL_WORDS | FAKE_WORDS | CONTAINERS | SPLIT_FOLDERS.keys()) - {"video"}
_SHARDED = 100  # pictures from which on folders whose numbers go on from one to the next are no videos
_DIGITS = re.compile(r"\d+")
_CAMERA = re.compile(r"(?:IMG|DSC|DSCN|DSCF|PXL|MVI|SAM|P|DJI|GOPR|Screenshot|WhatsApp Image|WIN)[\W_\d]")
_MOST = 3000  # pictures in a folder that may be a video's frames where the names do not say so
# In an unlabelled archive, in which pictures are often numbered: what programs call frames.
_FRAME_WORD = re.compile(r"(?:.*[\W_])?(?:f|fr|frame|frames|out|output|thumb)[\W_]*#", re.IGNORECASE)
# Trees of data sets of videos, whose folders do not name the classes in words.
_VIDEOS = re.compile(
    r"(?:^|/)(?:(?:Real|Fake)Video-(?:Real|Fake)Audio|DF40(?:_[a-z]+)?|ff|cdf|manipulated_videos|original_videos|"
    r"method_[AB]|dfdc_train_part_\d+)/",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Folder:
    path: str
    pictures: list[FileInfo]
    skeleton: str  # what all names have in common, with # for a number


def gather_frames(
    footage: Sequence[FileInfo], how: Literal["auto", "always", "never"], root_name: str
) -> list[FileInfo]:
    """The footage, sorted by path, with each folder of frames in place of its pictures.

    Such an entry has the folder's path, its URI with a slash at its end, and the size of all pictures. Frames
    of a video that is there as a file are left out.
    """
    pictures: dict[str, list[FileInfo]] = defaultdict(list)
    other, videos = set(), set()
    for info in footage:
        folder = info.path.rpartition("/")[0]
        if is_image_name(info.path):
            pictures[folder].append(info)
        else:
            other.add(folder)
            videos.add(drop_level(remove_extension(info.path)))
    folders = [
        _Folder(path, several, skeleton)
        for path, several in pictures.items()
        if path and path not in other and (skeleton := _find_skeleton(path, several)) is not None
    ]
    if how == "never":
        return list(footage)
    doubled = {
        folder.path
        for folder in folders
        if drop_level(folder.path) in videos and not _CAMERA.match(folder.skeleton)
    }
    rest = [folder for folder in folders if folder.path not in doubled]
    chosen = rest if how == "always" else _choose_folders(rest, pictures, root_name)
    if not (chosen or doubled):
        return list(footage)
    if doubled:
        words = "%d folders of frames are left out, since their videos are there too, such as %s"
        log.info(words, len(doubled), min(doubled))
    gathered = doubled.union(folder.path for folder in chosen)
    kept = [info for info in footage if info.path.rpartition("/")[0] not in gathered]
    kept += [_join(folder) for folder in chosen]
    return sorted(kept, key=lambda info: (info.path, info.uri))


def _find_skeleton(path: str, pictures: Sequence[FileInfo]) -> str | None:
    """What the names have in common where they differ in numbers alone, and the folder names no class."""
    name = path.rpartition("/")[2]
    words = split_words(name)
    if any(info.is_link for info in pictures) or (words and words <= _NO_VIDEO and not _DIGITS.search(name)):
        return None
    stem = get_stem(pictures[0].path)
    skeleton = _DIGITS.sub("#", stem)
    if "#" not in skeleton:
        return None
    alike = (_DIGITS.sub("#", get_stem(info.path)) == skeleton for info in pictures)
    return skeleton if all(alike) else None


def _choose_folders(
    folders: Sequence[_Folder], pictures: dict[str, list[FileInfo]], root_name: str
) -> list[_Folder]:
    """The folders that hold frames, as far as names tell.

    Below a folder that says ``frames`` they do. Real videos have no methods: numbered pictures in folders
    below one that says ``real`` are frames, and so are those below its fakes; but where pictures lie in
    ``real`` itself, the folders below ``fake`` are methods. Without labels pictures are pictures, but where
    their names say ``frame`` or the like.
    """
    above_all = f"{root_name}/" if read_label(root_name) is not None else ""

    def read(path: str) -> Placement:
        return read_folder(f"{above_all}{path}")

    sure: list[_Folder] = []
    guessed: list[_Folder] = []
    left: list[_Folder] = []
    plain = set(pictures) - {folder.path for folder in folders}
    placed = {folder.path: read(folder.path.rpartition("/")[0]) for folder in folders}
    real_in_folders = any(where.label == REAL for where in placed.values())
    real_by_itself = any(read(path).label == REAL for path in plain)
    shards = _find_shards(folders)
    for folder in folders:
        above = folder.path.rpartition("/")[0]
        level = above.rpartition("/")[2]
        where = placed[folder.path]
        single = _CAMERA.match(get_stem(folder.pictures[0].path)) is not None
        if FRAMES.fullmatch(level) and level.lower().startswith("frames"):
            sure.append(folder)
        elif above in shards or len(folder.pictures) > _MOST:
            left.append(folder)
        elif where.label is None and not _VIDEOS.search(f"{root_name}/{folder.path}"):
            frames = _FRAME_WORD.fullmatch(folder.skeleton) and len(folder.pictures) > 1
            (guessed if frames and not single else left).append(folder)
        elif where.label in (REAL, None) or where.method != "fake" or where.group is not None:
            (left if single else guessed).append(folder)
        else:
            (guessed if real_in_folders or not real_by_itself else left).append(folder)
    for several, what, other in (
        (guessed, "the frames of one video each", "never takes each picture by itself"),
        (left, "pictures, each by itself", "always takes each folder for one video"),
    ):
        if several:
            words = "%d folders of numbered pictures are taken for %s, such as %s; --catalog.frame_folders %s"
            log.info(words, len(several), what, several[0].path, other)
    return sure + guessed


def _find_shards(folders: Sequence[_Folder]) -> set[str]:
    """Folders below which each number is that of one picture of many, as in FFHQ: 00000/00000.png."""
    numbers: dict[str, list[str]] = defaultdict(list)
    several: dict[str, int] = defaultdict(int)
    for folder in folders:
        above = folder.path.rpartition("/")[0]
        numbers[above] += [_DIGITS.findall(info.path)[-1] for info in folder.pictures]
        several[above] += 1
    return {
        above
        for above, found in numbers.items()
        if several[above] > 1 and len(found) >= _SHARDED and len(set(found)) == len(found)
    }


def _join(folder: _Folder) -> FileInfo:
    times = [info.modified for info in folder.pictures if info.modified is not None]
    uri = folder.pictures[0].uri.rpartition("/")[0]
    size = sum(info.size for info in folder.pictures)
    return FileInfo(folder.path, f"{uri}/", size, max(times, default=None))
