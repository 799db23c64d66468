"""One file that pins a finished output: the sha256 of each of its files, as ``sha256sum`` writes them.

Whoever signs that file (``gpg --detach-sign SHA256SUMS``) has signed the output.
"""

import errno
import hashlib
import math
import time
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from deepfake.io.listing import FileInfo
from deepfake.io.run_record import RECORD_FILE
from deepfake.io.storage import Storage
from deepfake.io.uri import join

FILE = "SHA256SUMS"
_BLOCK_BYTES = 2**20
_READERS = 8  # files read at once; matters on S3 only


def write_checksums(root: str, storage: Storage) -> str:
    """Write ``SHA256SUMS`` below an output; its URI. Bookkeeping (names with ``_``) is left out."""
    files = [info for info in storage.list_files(root) if not _is_left_out(info)]
    with ThreadPoolExecutor(_READERS) as pool:
        digests = pool.map(lambda info: _hash_listed(info, storage), files)
        lines = [f"{digest}  {info.path}\n" for info, digest in zip(files, digests, strict=True)]
    uri = join(root, FILE)
    storage.write_text(uri, "".join(lines))
    return uri


def _is_left_out(info: FileInfo) -> bool:
    if info.path in (FILE, f"{FILE}.asc", f"{FILE}.sig"):
        return True
    return any(part.startswith((".", "_")) for part in info.path.split("/")) and info.path != RECORD_FILE


def _hash_listed(info: FileInfo, storage: Storage) -> str:
    with storage.open(info.uri) as file:
        return hash_file(file)


def hash_file(file: BinaryIO, until: float = math.inf) -> str:
    """The sha256 of an open file from its start, in hexadecimal; leaves it at its end.

    ``TimeoutError``, which is an ``OSError``, where ``time.monotonic()`` reaches ``until`` before that.
    """
    file.seek(0)
    digest = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        if time.monotonic() > until:
            raise TimeoutError(errno.ETIMEDOUT, "takes too long to be read whole")
        digest.update(block)
    return digest.hexdigest()
