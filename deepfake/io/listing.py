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
    for folder, folders, names in os.walk(root, onerror=log_unlisted):
        folders.sort()
        for name in names:
            path = Path(folder, name)
            try:
                status = path.stat()
            except OSError:  # a dangling or looping link: listed, so that it gets a status
                status = None
            if status is not None and not stat.S_ISREG(status.st_mode):
                continue  # a pipe or a device: opening one may wait for ever
            relative = make_readable(path.relative_to(root).as_posix())
            yield FileInfo(
                relative,
                make_local_uri(str(path)),
                status.st_size if status else 0,
                datetime.fromtimestamp(status.st_mtime, UTC) if status else None,
                is_link=path.is_symlink(),
            )


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
            elif (info := _describe_entry(entry, path)) is not None:
                files.append(info)
    return Archive(sorted(files, key=lambda info: info.path), sorted(left_out), is_empty)


def _leads_inside(link: str, inside: str) -> bool:
    """Whether a link leads to a place below the folder ``inside``, or to that, or nowhere."""
    real = os.path.realpath(link)
    return f"{real}/".startswith(inside) or not os.path.exists(real)  # noqa: PTH110


def _describe_entry(entry: os.DirEntry[str], path: str) -> FileInfo | None:
    """A file; None for a pipe or a device, opening which may wait for ever."""
    try:
        status = entry.stat()
    except OSError:  # a dangling or looping link: listed, so that it gets a status
        return FileInfo(make_readable(path), make_local_uri(entry.path), 0, None, is_link=True)
    if not stat.S_ISREG(status.st_mode):
        return None
    modified = datetime.fromtimestamp(status.st_mtime, UTC)
    uri = make_local_uri(entry.path)
    return FileInfo(make_readable(path), uri, status.st_size, modified, is_link=entry.is_symlink())


@lru_cache(maxsize=256)
def list_normal_forms(folder: str) -> dict[str, str]:
    """The names in a folder, by their composed form."""
    try:
        return {unicodedata.normalize("NFC", name): name for name in os.listdir(folder)}  # noqa: PTH208
    except OSError:
        return {}


def log_unlisted(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        log.warning("%s: left out of the listing: %s", error.filename, error.strerror)
