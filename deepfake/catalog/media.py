"""Which file names are footage, by their extension alone; nothing is opened here."""

import re
from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from deepfake.io.frame_files import IMAGE_EXTENSIONS

VIDEO_EXTENSIONS = frozenset(
    f".{name}"
    for names in (
        "mp4 m4v mov qt 3gp 3g2 3gpp f4p ismv mj2 mkv mk3d webm avi divx xvid wmv wm asf dvr-ms wtv flv f4v",
        "ogv ogm ogx mxf dv dif rm rmvb nut nsv ivf",  # containers
        "insv lrv lrf",  # MP4 of cameras that look all round, of action cameras and of drones
        "mpg mpeg mpe m1v m2v m2p mpv mpv2 vob evo vro ts mts m2ts m2t tp trp mod tod",  # MPEG streams
        "h264 264 avc h265 265 hevc h263 vc1 obu y4m mjpeg mjpg gif avifs heics",  # bare streams, animations
    )
    for name in names.split()
)

FOOTAGE_EXTENSIONS = VIDEO_EXTENSIONS | IMAGE_EXTENSIONS

# Pictures and videos that no decoder here reads whole, and what holds them packed: they are counted, so that
# none is missed in silence.
UNREAD_EXTENSIONS = frozenset(
    f".{name}"
    for names in (
        "jxl jxr jp2 j2k jpx psd dng cr2 cr3 nef nrw arw raf orf rw2 pef srw gpr x3f svg",  # pictures
        "tga ppm pgm pnm exr hdr dpx dcm",
        "braw r3d ari vid bik smk mve nuv swf amv dav m4s",  # videos
        "zip tar tgz gz bz2 xz zst 7z rar",
    )
    for name in names.split()
)


# The folder that holds folders of frames, one a video.
FRAMES = re.compile(r"(?:frames|faces|crops|images)(?:_[^/]+)?", re.IGNORECASE)


def drop_level(path: str) -> str:
    """The path less a level such as ``videos`` or ``frames`` above its name: a clip and its frames alike."""
    above, _, name = path.rpartition("/")
    outer, _, level = above.rpartition("/")
    if level.lower() != "videos" and not FRAMES.fullmatch(level):
        return path
    return f"{outer}/{name}" if outer else name


def get_stem(path: str) -> str:
    """The name of a file less its extension."""
    return remove_extension(path.rpartition("/")[2])


def get_extension(path: str) -> str:
    """The extension in lower case with its dot, or an empty string."""
    name = path[path.rfind("/") + 1 :]
    dot = name.rfind(".")
    return name[dot:].lower() if 0 < dot < len(name) - 1 else ""


def is_image_name(path: str) -> bool:
    """Whether the name is that of a still image, which counts as a video of one frame."""
    return get_extension(path) in IMAGE_EXTENSIONS


def are_images(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """``is_image_name`` of each of many names: a chunked array of booleans."""
    extensions = "|".join(name[1:] for name in sorted(IMAGE_EXTENSIONS))
    return pc.match_substring_regex(paths, rf"(?is)[^/]\.({extensions})\z")


def is_footage(path: str) -> bool:
    """Whether the name is that of a video or a still image, and nothing hidden (a part with a dot first)."""
    if path.startswith(".") or "/." in path:
        return False
    return get_extension(path) in FOOTAGE_EXTENSIONS


def is_unread(path: str) -> bool:
    """Whether the name may be that of media that is not read: by its extension, or with none."""
    if path.startswith(".") or "/." in path:
        return False
    extension = get_extension(path)
    return extension in UNREAD_EXTENSIONS or not extension


def remove_extension(path: str) -> str:
    """The path less the extension of footage."""
    extension = get_extension(path)
    return path[: -len(extension)] if extension in FOOTAGE_EXTENSIONS else path


def count_extensions(paths: Iterable[str], most: int = 6) -> str:
    """How many files of which extension, for messages: ``.txt (3), .json (1)``."""
    counts = Counter(get_extension(path) or "no extension" for path in paths)
    shown = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    more = f" and {len(shown) - most} more kinds" if len(shown) > most else ""
    return ", ".join(f"{name} ({count})" for name, count in shown[:most]) + more
