"""What layouts are asked, and what a path says of a clip, as plain values; how paths are read is theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deepfake.io.listing import FileInfo
from deepfake.io.storage import Storage

REAL, FAKE = 0, 1


@dataclass(frozen=True)
class Provenance:
    """The provenance columns of one catalog row; the group is final only with the whole catalog."""

    dataset: str | None
    target_id: str
    label: int | None = None
    method: str | None = None
    compression: str | None = None
    split: str | None = None
    source_id: str | None = None
    group_id: str | None = None  # what a split should keep together although nobody is known
    groups: Mapping[str, str] | None = None  # what the data set itself states, of which a catalog keeps some


@dataclass(frozen=True)
class FolderListing:
    """What lies in a folder."""

    files: Sequence[FileInfo]
    footage: Sequence[FileInfo]  # those of the files that are videos or pictures, or stand for some
    root: str  # path of the folder
    storage: Storage

    def locate(self, info: FileInfo) -> str:
        """The whole path of a file."""
        return f"{self.root}/{info.path}"
