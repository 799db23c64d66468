"""What layouts are asked about a folder, and the columns that they fill."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from deepfake.catalog.provenance import FolderListing, Provenance
from deepfake.io.storage import Storage
from deepfake.io.tables import PROVENANCE_COLUMNS


def test_a_listed_file_is_located_where_it_can_be_opened(tmp_path: Path) -> None:
    storage = Storage()
    storage.write_bytes(str(tmp_path / "a b" / "metadata.json"), b"{}")
    files = storage.list_files(str(tmp_path))
    listing = FolderListing(files, [], str(tmp_path), storage)
    assert [storage.read_bytes(listing.locate(info)) for info in files] == [b"{}"]


def test_a_layout_tells_every_provenance_column_and_no_other() -> None:
    assert {field.name for field in fields(Provenance)} == set(PROVENANCE_COLUMNS)
