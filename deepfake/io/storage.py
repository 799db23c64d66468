"""The only place that turns a URI into a filesystem: local paths, ``file://`` and ``s3://``.

Writing is all or nothing: a local file is renamed into place, an S3 object appears with its last request.
Listing is sorted, so that two runs see the same archive in the same order.
"""

import errno
import io
import json
import os
import re
import secrets
import shutil
import stat
import unicodedata
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.fs

from deepfake.config import StorageConfig
from deepfake.errors import AddressError, JobError, UsageError
from deepfake.io.listing import Archive, FileInfo, list_local, list_local_archive, list_normal_forms
from deepfake.io.temporary import is_disk_full, make_temporary_folder
from deepfake.io.uri import check_environment, join, make_local_uri, make_readable, split_uri

_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")  # see ``_replacing``
MOST_BYTES = 2**40  # of a local file that is opened
MOST_TEXT_BYTES = 64 * 2**20  # of a file that is read as text at once
KEYS_A_REQUEST = 1000  # that S3 deletes at once


class ConditionsUnknown(Exception):
    """An S3 server that writes whatever a request says of what must be there."""


class Storage:
    """Files by URI. Cheap to make and to pickle; connections open on first use in each process."""

    def __init__(self, config: StorageConfig | None = None) -> None:
        self.config = config or StorageConfig()
        self._filesystems: dict[str, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (Storage, (self.config,))

    def locate(self, uri: str) -> tuple[Any, str]:
        """``(fsspec filesystem, path on it)`` of a URI; raises ``UsageError`` for any other scheme."""
        scheme, path = split_uri(uri)
        if scheme not in self._filesystems:
            self._filesystems[scheme] = self._connect(scheme)
        return self._filesystems[scheme], path

    def _connect(self, scheme: str) -> Any:
        if scheme == "file":
            return fsspec.filesystem("file")
        check_environment()
        client = {"region_name": self.config.region} if self.config.region else {}
        return import_s3().S3FileSystem(
            anon=self.config.anonymous,
            endpoint_url=self.config.endpoint_url,
            client_kwargs=client,
            config_kwargs={"retries": {"max_attempts": self.config.max_attempts, "mode": "standard"}},
            use_listings_cache=False,
        )

    def get_arrow_filesystem(self, uri: str) -> tuple[pa.fs.FileSystem, str]:
        """``(pyarrow filesystem, path on it)`` for readers that take those."""
        filesystem, path = self.locate(uri)
        if split_uri(uri)[0] == "file":
            return pa.fs.LocalFileSystem(), path
        return pa.fs.PyFileSystem(pa.fs.FSSpecHandler(filesystem)), path

    @contextmanager
    def _reaching(self, uri: str) -> Iterator[tuple[Any, str]]:
        """``locate``, with S3 failures in the block put in words that say what to do."""
        filesystem, path = self.locate(uri)
        if split_uri(uri)[0] == "file":
            yield filesystem, path
            return
        from deepfake.io import s3_errors

        try:
            yield filesystem, path
        except (UsageError, JobError):
            raise
        except Exception as error:
            explained = s3_errors.explain(
                error, uri, lambda bucket: filesystem.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1)
            )
            if explained is None:
                raise
            raise explained from error

    def open(self, uri: str) -> BinaryIO:
        """An open binary file, positioned at its start, that can seek."""
        with self._reaching(uri) as (filesystem, path):
            if split_uri(uri)[0] == "file":
                return open_regular(path)
            if "/" not in path:
                raise AddressError(f"{uri}: names a bucket, and no file in it")
            file: BinaryIO = filesystem.open(path, "rb")
        return io.BufferedReader(_RemoteFile(file, self, uri))

    def read_bytes(self, uri: str) -> bytes:
        """The whole content of a file."""
        with self._reaching(uri), self.open(uri) as file:
            return file.read()

    def read_at_most(self, uri: str, most: int) -> bytes:
        """The whole content of a file; ``UsageError`` where it has more bytes than that, or is no file.

        Raises ``FileNotFoundError`` where there is none.
        """
        try:
            with self._reaching(uri), self.open(uri) as file:
                data = file.read(most + 1)
        except (FileNotFoundError, NotADirectoryError, UsageError):
            raise
        except OSError as error:
            if split_uri(uri)[0] != "file":
                raise
            raise UsageError(f"{uri}: cannot be read ({(error.strerror or str(error)).lower()})") from error
        if len(data) > most:
            raise UsageError(f"{uri}: larger than the {most / 2**20:.3g} MiB that such a file may have")
        return data

    def read_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of several ``(start, stop)`` of a file, fetched at once; no others are read."""
        with self._reaching(uri) as (filesystem, path):
            starts, stops = [start for start, _ in ranges], [stop for _, stop in ranges]
            return list(filesystem.cat_ranges([path] * len(ranges), starts, stops, on_error="raise"))

    def read_text(self, uri: str) -> str:
        """The whole content of a UTF-8 file, less a byte order mark; ``UsageError`` where it is none."""
        try:
            return self.read_at_most(uri, MOST_TEXT_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"{uri}: is not in UTF-8; save it as UTF-8") from error

    def read_json(self, uri: str) -> Any:
        """The value in a JSON file; ``UsageError`` where it is none."""
        text = self.read_text(uri)
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{uri}: not valid JSON: {error}") from None

    def exists(self, uri: str) -> bool:
        """Whether a file or folder is there."""
        with self._reaching(uri) as (filesystem, path):
            try:
                filesystem.info(path)
            except (FileNotFoundError, NotADirectoryError) as error:
                if error.__cause__ is not None:  # a missing bucket is more than a missing file
                    raise
                return False
        return True

    def find_spelling(self, uri: str) -> str:
        """The URI of the local file whose name reads the same in another Unicode form; else as it is."""
        scheme, path = split_uri(uri)
        if scheme != "file" or os.path.lexists(path):
            return uri
        found = ""
        for part in path.strip("/").split("/"):
            below = f"{found}/{part}"
            if not os.path.lexists(below):
                name = list_normal_forms(found or "/").get(unicodedata.normalize("NFC", part))
                if name is None:
                    return uri
                below = f"{found}/{name}"
            found = below
        return make_local_uri(found)

    def is_folder(self, uri: str) -> bool:
        """Whether the URI is a folder (on S3: a prefix with objects below it)."""
        with self._reaching(uri) as (filesystem, path):
            return bool(filesystem.isdir(path))

    def list_files(self, root: str) -> list[FileInfo]:
        """Every file below a folder, sorted by path. Links to folders are not followed."""
        scheme, path = split_uri(root)
        if scheme == "file":
            return sorted(list_local(Path(path)), key=lambda info: info.path)
        prefix = path.rstrip("/") + "/"
        with self._reaching(root) as (filesystem, _):
            found = filesystem.find(path, detail=True)
        listed = [
            FileInfo(
                key.removeprefix(prefix), f"{scheme}://{key}", int(info["size"]), info.get("LastModified")
            )
            for key, info in found.items()
            if info["type"] == "file" and key.startswith(prefix) and not key.endswith("/")
        ]
        return sorted(listed, key=lambda info: info.path)

    def list_archive(self, root: str, follow_links: bool = False) -> Archive:
        """Every file below a folder that is not hidden, and where links lead.

        A link to a folder is followed, but each folder is listed once. A link that leads out of the archive
        is followed only if ``follow_links``. On S3 there are no links.
        """
        scheme, path = split_uri(root)
        if scheme != "file":
            files = self.list_files(root)
            return Archive(files, [], not files)
        return list_local_archive(path, follow_links)

    def find_odd_entry(self, root: str) -> str | None:
        """What is wrong with a local folder with a link or pipe in it, or below its ``_work`` and such."""
        scheme, path = split_uri(root)
        if scheme != "file" or not os.path.isdir(path):  # noqa: PTH112 (keeps odd bytes)
            return None
        folders = [path]
        while folders:
            with os.scandir(folders.pop()) as found:
                for entry in found:
                    where, is_nested = make_readable(entry.path), entry.path != f"{path}/{entry.name}"
                    if entry.is_symlink():
                        return f"{where}: a link in an output leads its files elsewhere; remove it"
                    if not entry.is_dir() and not entry.is_file():
                        return f"{where}: a pipe or device, which no output has; remove it"
                    if entry.is_dir() and (is_nested or entry.name.startswith("_")):
                        folders.append(entry.path)
        return None

    def remove_temporaries(self, root: str) -> int:
        """Remove what a job that was killed was writing below a local folder; how many files."""
        scheme, path = split_uri(root)
        found = 0
        for folder, _, names in os.walk(path) if scheme == "file" else ():
            for name in names:
                if _TEMPORARY.fullmatch(name):
                    with suppress(OSError):
                        os.unlink(f"{folder}/{name}")  # noqa: PTH108 (keeps odd bytes)
                        found += 1
        return found

    def get_info(self, uri: str) -> FileInfo:
        """Size and time of one file; raises ``FileNotFoundError``."""
        with self._reaching(uri) as (filesystem, path):
            found = filesystem.info(path)
        modified = found.get("LastModified")
        if modified is None and "mtime" in found:
            modified = datetime.fromtimestamp(found["mtime"], UTC)
        etag = (found.get("ETag") or "").strip('"') or None
        return FileInfo(PurePosixPath(path).name, uri, int(found["size"]), modified, etag)

    @contextmanager
    def writing(self, uri: str) -> Iterator[Path]:
        """A local path to write; when the block ends without an error the file is at ``uri``, whole."""
        scheme, path = split_uri(uri)
        if scheme == "file":
            target = Path(path)
            make_folder(target.parent)
            with _replacing(target) as temporary:
                yield temporary
            return
        with make_temporary_folder() as folder:
            local = folder / "upload"
            yield local
            with self._reaching(uri) as (filesystem, path):
                filesystem.put_file(str(local), path)

    def write_bytes(self, uri: str, data: bytes) -> None:
        """Write a file whole or not at all."""
        with self.writing(uri) as path:
            path.write_bytes(data)

    def write_text(self, uri: str, text: str) -> None:
        """Write a UTF-8 file whole or not at all."""
        self.write_bytes(uri, text.encode("utf-8"))

    def write_json(self, uri: str, value: Any) -> None:
        """Write a JSON file for people and programs, whole or not at all."""
        self.write_text(uri, json.dumps(value, indent=2) + "\n")

    def read_versioned(self, uri: str) -> tuple[bytes, str]:
        """The content of an S3 object and the ETag of that very content."""
        from s3fs.utils import FileExpired

        with self._reaching(uri) as (filesystem, path):
            while True:
                with filesystem.open(path, "rb") as file, suppress(FileExpired):  # written meanwhile
                    return file.read(), str(file.details["ETag"])

    def write_if(self, uri: str, data: bytes, etag: str | None) -> str:
        """Write an S3 object where there is none (``etag`` None), or in place of that one; its new ETag.

        Raises ``FileExistsError`` where something else is there, and ``ConditionsUnknown`` where the server
        says that it knows no conditions. One that does not say so, or an old client library, writes all the
        same: whoever relies on the condition sees whether a second write is refused.
        """
        from deepfake.io import s3_errors

        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        with self._reaching(uri) as (filesystem, path):
            bucket, _, key = path.partition("/")
            try:
                answer = filesystem.call_s3("put_object", Bucket=bucket, Key=key, Body=data, **condition)
            except OSError as error:
                if s3_errors.is_unmet_condition(error):
                    raise FileExistsError(f"{uri}: written by somebody else") from error
                if s3_errors.is_unknown_request(error):
                    raise ConditionsUnknown(f"{uri}: no conditional writes there") from error
                raise
        return str(answer["ETag"])

    def upload_folder(self, local: Path, uri: str) -> None:
        """Copy a local folder's files below a URI."""
        for file in sorted(p for p in local.rglob("*") if p.is_file()):
            self.write_bytes(join(uri, *file.relative_to(local).parts), file.read_bytes())

    def download_folder(self, uri: str, local: Path, wanted: Container[str] | None = None) -> None:
        """Copy the files below a URI, but links, into a local folder.

        ``wanted``: only what has such a name directly below the URI. Raises ``UsageError`` for an object's
        name that would lead elsewhere.
        """
        for info in self.list_files(uri):
            if info.is_link or (wanted is not None and info.path.partition("/")[0] not in wanted):
                continue
            if ".." in info.path.split("/") or info.path.startswith("/"):
                raise UsageError(f"{info.uri}: its name leads out of the folder that it is copied to")
            target = local / info.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read_bytes(info.uri))

    def remove(self, uri: str) -> None:
        """Remove a file or a whole folder; absent is fine."""
        with self._reaching(uri) as (filesystem, path):
            if split_uri(uri)[0] == "file":
                # Not filesystem.rm, which asks for the working directory: a submitted job may have lost it.
                if Path(path).is_dir() and not Path(path).is_symlink():
                    shutil.rmtree(path)
                else:
                    Path(path).unlink(missing_ok=True)
                return
            # Not filesystem.rm, which takes [, ? and * in names for patterns.
            keys = sorted(key.partition("/")[2] for key in filesystem.find(path))
            for start in range(0, len(keys), KEYS_A_REQUEST):
                batch = [{"Key": key} for key in keys[start : start + KEYS_A_REQUEST]]
                answer = filesystem.call_s3(
                    "delete_objects", Bucket=path.partition("/")[0], Delete={"Objects": batch, "Quiet": True}
                )
                for refused in answer.get("Errors", []):
                    raise UsageError(f"{uri}: {refused['Key']} is not removed: {refused.get('Message')}")


def import_s3() -> Any:
    """The module ``s3fs``; raises ``UsageError`` where it is not installed."""
    try:
        import s3fs
    except ImportError as error:
        raise UsageError("s3:// needs the extra 's3': pip install 'deepfake[s3]'") from error
    return s3fs


def open_regular(path: str | Path) -> BinaryIO:
    """A local file, open; ``OSError`` where it is none (a pipe, a device), or larger than any video.

    Reading a pipe or ``/dev/zero`` would take for ever, and a sparse file of exabytes as good as that.
    """
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    status = os.fstat(file.fileno())
    # Files of /proc say to be empty, and some never end.
    is_file = stat.S_ISREG(status.st_mode) and (status.st_size > 0 or not os.pread(file.fileno(), 1, 0))
    if is_file and status.st_size <= MOST_BYTES:
        return file
    file.close()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if is_file:
        raise OSError(errno.EFBIG, f"larger than {MOST_BYTES >> 40} TiB", str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))


class _RemoteFile(io.RawIOBase):
    """An open remote file; what goes wrong while it is read is put in words too."""

    def __init__(self, file: BinaryIO, storage: Storage, uri: str) -> None:
        self._file, self._storage, self._uri = file, storage, uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._read(-1)

    def _read(self, size: int) -> bytes:
        with self._storage._reaching(self._uri):
            return self._file.read(size)

    def close(self) -> None:
        self._file.close()
        super().close()


def make_folder(folder: Path) -> None:
    """Make a local folder, and those above it; ``UsageError`` where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{folder}: cannot be a folder, since a file is in its place") from None
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise UsageError(f"{folder}: this folder may not be made here ({words})") from None


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A temporary path beside ``target`` that takes its place when the block ends without an error."""
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        if is_disk_full(error):
            raise JobError(
                f"{target}: no space is left there; free some, and run the same command again to go on"
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            words = f"{target}: may not be written ({(error.strerror or str(error)).lower()})"
            raise JobError(f"{words}; once it may, run the same command again to go on") from error
        raise
    finally:
        with suppress(OSError):  # a disk that has become read-only
            temporary.unlink(missing_ok=True)
