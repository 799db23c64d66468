"""Folders on local disk, listed: their files, and where their links lead."""

import logging
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from deepfake.io.uri import make_local_uri, make_readable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileInfo:
    """One listed file."""

    path: str  # relative to the listed root, POSIX separators, always valid Unicode
    uri: str
    size: int
    modified: datetime | None
    etag: str | None = None  # of an S3 object, where it was asked for by name: changes with its bytes
    is_link: bool = False

    @property
    def is_folder(self) -> bool:
        """Whether it stands for all files of a folder together."""
        return self.uri.endswith("/")


class Archive(NamedTuple):
    """What lies below a folder."""

    files: list[FileInfo]  # sorted by path
    left_out: list[str]  # links that lead out of it and were not followed, by their paths, sorted
    is_empty: bool  # whether the folder holds nothing at all


def list_local(root: Path) -> Iterator[FileInfo]:
    """Every file below a folder; links to folders are not followed."""
    for folder, folders, names in os.walk(root, onerror=log_unlisted):
        folders.sort()
        for name in names:
            place = Path(folder, name)
            path = place.relative_to(root).as_posix()
            if (info := _describe_file(str(place), path, place.is_symlink())) is not None:
                yield info


def list_local_archive(root: str, follow_links: bool) -> Archive:
    """Folders that are links come after all others, so that a folder has its own path where it has one."""
    inside = os.path.realpath(root).rstrip("/") + "/"
    files: list[FileInfo] = []
    left_out: list[str] = []
    listed: set[tuple[int, int]] = set()  # folders, by device and inode
    folders: list[str] = [""]
    links: list[str] = []
    is_empty = False
    while folders or links:
        if not folders:
            links.sort(reverse=True)
        below = (folders or links).pop()
        try:
            status = os.stat(f"{root}/{below}")  # noqa: PTH116 (keeps odd bytes)
            if (status.st_dev, status.st_ino) in listed:
                continue
            listed.add((status.st_dev, status.st_ino))
            with os.scandir(f"{root}/{below}" if below else root) as found:
                entries = list(found)
        except OSError as error:
            log_unlisted(error)
            continue
        is_empty = is_empty or not (below or entries)
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.name.startswith("."):
                continue
            is_link = entry.is_symlink()
            is_folder = os.path.isdir(entry.path) if is_link else entry.is_dir()  # noqa: PTH112
            if is_link and not follow_links and not _leads_inside(entry.path, inside):
                left_out.append(make_readable(path))
            elif is_folder:
                (links if is_link else folders).append(path)
            elif (info := _describe_file(entry.path, path, is_link)) is not None:
                files.append(info)
    return Archive(sorted(files, key=lambda info: info.path), sorted(left_out), is_empty)


def _leads_inside(link: str, inside: str) -> bool:
    """Whether a link leads to a place below the folder ``inside``, or to that, or nowhere."""
    real = os.path.realpath(link)
    return f"{real}/".startswith(inside) or not os.path.exists(real)  # noqa: PTH110


def _describe_file(place: str, path: str, is_link: bool) -> FileInfo | None:
    """The file at ``place``, listed as ``path``; None for pipes and devices, which may never answer."""
    name, uri = make_readable(path), make_local_uri(place)
    try:
        status = os.stat(place)  # noqa: PTH116 (keeps odd bytes)
    except OSError:  # a dangling or looping link: listed, so that it gets a status
        return FileInfo(name, uri, 0, None, is_link=is_link)
    if not stat.S_ISREG(status.st_mode):
        return None
    return FileInfo(name, uri, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), is_link=is_link)


@lru_cache(maxsize=256)
def list_normal_forms(folder: str) -> dict[str, str]:
    """The names in a folder, by their composed form."""
    try:
        return {unicodedata.normalize("NFC", name): name for name in os.listdir(folder)}  # noqa: PTH208
    except OSError:
        return {}


def log_unlisted(error: OSError) -> None:
    """Warn of a folder that is left out, unless it is simply gone."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        log.warning("%s: left out of the listing: %s", error.filename, error.strerror)
