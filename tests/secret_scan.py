"""Where in logs, tables and pages a secret can be found."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq


def files_with(secret: str, folders: Iterable[Path]) -> list[Path]:
    """Files below the folders that hold a secret; of Parquet files, in what is packed in them too."""
    return [
        path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and secret.encode() in _unpacked(path)
    ]


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        data += str(table.schema.metadata).encode() + str(table.to_pydict()).encode()
    return data
