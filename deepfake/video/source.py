"""A video's bytes, wherever they lie: read whole and hashed or, of a large file, only where wanted."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from deepfake.config import SamplingConfig
from deepfake.io.checksums import hash_file
from deepfake.io.frame_files import hash_frames
from deepfake.io.ranged_file import RangedFile
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.io.uri import split_uri
from deepfake.outcome import get_clock
from deepfake.video.decoder import Listing, VideoFile
from deepfake.video.errors import VideoError
from deepfake.video.frame_folder import FrameFolder
from deepfake.video.mp4 import REMOTE_BOXES, find_media_ranges

SPOOL_BYTES = 64 * 2**20  # a remote file larger than this goes to a temporary file on disk
PARTIAL_BYTES = 64 * 2**20  # of a file larger than this, only a part may be read ...
PARTIAL_SHARE = 0.5  # ... where that is less than this share of it

NO_ROOM = "larger than half of what is free in {}, where it would be kept for a while"
REPLACED = "it was replaced while it was read"


@dataclass
class VideoSource:
    """An open video, and what is known of its bytes; use as a context manager."""

    video: VideoFile
    file: BinaryIO
    size_bytes: int
    content_sha256: str | None  # null where not all bytes were read
    etag: str | None  # the S3 object's, in that case

    def require_unchanged(self, uri: str, storage: Storage) -> None:
        """Raise ``VideoError`` where an object of which parts were read is another one by now."""
        if self.etag is not None and storage.get_info(uri).etag != self.etag:
            raise VideoError(Status.UNREADABLE, REPLACED, retry=True)

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.video.close()
        self.file.close()


def open_video(uri: str, storage: Storage, sampling: SamplingConfig) -> VideoSource:
    """Open a video for sampling.

    A small file is read whole, once. Of a large one whose index tells where the sampled frames lie, and
    these are less than half of it, nothing else is read. Which of the two depends on the file and on
    ``sampling`` alone, not on where the file lies. A URI with a slash at its end is a folder of frames.
    """
    if uri.endswith("/"):
        folder = FrameFolder(uri, storage, sampling)
        size = sum(info.size for info in folder.files)
        return VideoSource(folder, io.BytesIO(), size, hash_frames(folder.files, storage), None)
    size, etag = _read_facts(uri, storage)
    partial = open_partly(uri, storage, size) if size > PARTIAL_BYTES else None
    if isinstance(partial, RangedFile) and find_media_ranges(partial, REMOTE_BOXES) is None:
        partial = None
    if partial is None:
        file, digest, size = read_whole(uri, storage)
        with _closed_on_error(file):
            return VideoSource(VideoFile(file, sampling), file, size, digest, None)
    partial.seek(0)
    with _closed_on_error(partial):
        return _plan_source(VideoFile(partial, sampling), partial, uri, storage, size, etag)


@contextmanager
def open_frames(uri: str, storage: Storage, sampling: SamplingConfig) -> Iterator[VideoFile]:
    """A video, or a folder of frames, of which some frames are wanted again; its bytes are not hashed."""
    if uri.endswith("/"):
        yield FrameFolder(uri, storage, sampling)
        return
    with storage.open(uri) as file:
        seekable = file if file.seekable() else io.BytesIO(file.read())
        with VideoFile(seekable, sampling) as video:
            yield video


def open_listed(uri: str, storage: Storage, sampling: SamplingConfig, listing: Listing) -> VideoSource:
    """Open a video whose packets were listed before, to decode a part of it; its bytes are not hashed."""
    size, etag = _read_facts(uri, storage)
    file = open_partly(uri, storage, size)
    with _closed_on_error(file):
        return VideoSource(VideoFile(file, sampling, listing=listing), file, size, None, etag)


def open_partly(uri: str, storage: Storage, size: int) -> BinaryIO:
    """A file that fetches what is read of it and no more."""
    if split_uri(uri)[0] == "file":
        return _CountedFile(cast(io.BufferedReader, storage.open(uri)).detach())
    return cast(BinaryIO, RangedFile(lambda ranges: storage.read_ranges(uri, ranges), size))


def read_whole(uri: str, storage: Storage) -> tuple[BinaryIO, str, int]:
    """``(seekable file at its start, sha256 of its bytes, size)``; remote files are fetched once."""
    clock = get_clock()
    with clock.on("read"):
        found = _fetch_whole(uri, storage)
    clock.count(bytes_read=found[2])
    return found


def _fetch_whole(uri: str, storage: Storage) -> tuple[BinaryIO, str, int]:
    source = storage.open(uri)
    if split_uri(uri)[0] == "file":
        digest = hash_file(source)
        size = source.tell()
        source.seek(0)
        return source, digest, size
    hasher, folder = hashlib.sha256(), tempfile.gettempdir()
    spool: Any = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 (the caller closes it)
    with source, _closed_on_error(spool):
        while block := source.read(8 * 2**20):
            hasher.update(block)
            # As much stays free as this file takes: however many do so at once, the disk is never full.
            taken = spool.tell() + len(block)
            written = len(block) if spool.tell() > SPOOL_BYTES else taken  # the first time all at once
            if taken > SPOOL_BYTES and shutil.disk_usage(folder).free < taken + written:
                raise VideoError(Status.UNSUPPORTED, NO_ROOM.format(folder), retry=True)
            spool.write(block)
    size = spool.tell()
    spool.seek(0)
    return spool, hasher.hexdigest(), size


class _CountedFile(io.BufferedReader):
    """A local file, of which what is read is accounted for."""

    def read(self, size: int | None = -1) -> bytes:
        with get_clock().on("read"):
            data = super().read(size)
        get_clock().count(bytes_read=len(data))
        return data


def _plan_source(
    video: VideoFile, file: BinaryIO, uri: str, storage: Storage, size: int, etag: str | None
) -> VideoSource:
    """The source of a large file: as it is where little of it is wanted, else read whole after all."""
    ranges = video.list_ranges(video.choose_frames())
    if ranges is not None and sum(stop - start for start, stop in ranges) < PARTIAL_SHARE * size:
        return VideoSource(video, file, size, None, etag)
    whole, digest, size = read_whole(uri, storage)
    file.close()
    video.read_from(whole)
    return VideoSource(video, whole, size, digest, None)


@contextmanager
def _closed_on_error(file: BinaryIO) -> Iterator[None]:
    """Close the file where the block raises."""
    try:
        yield
    except BaseException:
        file.close()
        raise


def _read_facts(uri: str, storage: Storage) -> tuple[int, str | None]:
    """``(size in bytes, ETag)`` of a file."""
    scheme, path = split_uri(uri)
    if scheme == "file":
        status = os.stat(path)  # noqa: PTH116 (keeps odd bytes)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise VideoError(Status.UNSUPPORTED, "not a regular file")
        return status.st_size, None
    info = storage.get_info(uri)
    return info.size, info.etag
