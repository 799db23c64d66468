"""A folder of pictures that are one video's frames: which they are, and their content as one."""

import hashlib
import math
import re

from deepfake.io.checksums import hash_file
from deepfake.io.listing import FileInfo
from deepfake.io.storage import Storage

IMAGE_EXTENSIONS = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".insp", ".png", ".apng", ".webp", ".bmp", ".dib",
        ".tif", ".tiff", ".heic", ".heif", ".hif", ".avif",
    }
)  # fmt: skip


def list_frames(uri: str, storage: Storage) -> list[FileInfo]:
    """The pictures directly in a folder, hidden ones and links apart, in the order of their numbers."""
    found = [
        info
        for info in storage.list_files(uri)
        if re.fullmatch(r"(?s)[^/.][^/]*\.[^/.]+", info.path) and not info.is_link
    ]
    pictures = [info for info in found if f".{info.path.rpartition('.')[2].lower()}" in IMAGE_EXTENSIONS]
    return sorted(pictures, key=lambda info: (read_numbers(info.path), info.path))


def read_numbers(name: str) -> list[int]:
    """The numbers in a picture's name."""
    return [int(number) for number in re.findall(r"[0-9]+", name.rpartition(".")[0])]


def hash_frames(frames: list[FileInfo], storage: Storage, until: float = math.inf) -> str:
    """The sha256 of the hashes of all frames, read by ``until`` as in ``hash_file``."""
    hasher = hashlib.sha256()
    for info in frames:
        with storage.open(info.uri) as file:
            hasher.update(hash_file(file, until).encode())
    return hasher.hexdigest()
