"""The files of a finished output, as its manifest lists them."""

import json
import re
from collections.abc import Sequence

import pyarrow as pa

from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.run_record import RECORD_FILE
from deepfake.io.storage import Storage
from deepfake.io.uri import join

_PART = re.compile(r"[^/\0]+\.parquet")
PARTS_KEY = b"deepfake.parts"  # in the manifest's metadata: file names by table


def read_output_manifest(
    root: str, storage: Storage, columns: Sequence[str] | None = None
) -> pa.Table | None:
    """The videos of a finished output, from its manifest; None where there is none."""
    uri = join(root, "_manifest.parquet")
    return tables.read_table(storage, uri, "videos", columns) if storage.exists(uri) else None


def read_part_names(root: str, storage: Storage) -> dict[str, list[str]]:
    """File names of each table that finished runs wrote, from the manifest; empty where there is none."""
    uri = join(root, "_manifest.parquet")
    if not storage.exists(uri):
        return {}
    try:
        with tables.open_table(storage, uri, None) as file:
            metadata = file.schema_arrow.metadata or {}
    except tables.TableError as error:
        raise UsageError(str(error)) from None
    try:
        found = json.loads(metadata.get(PARTS_KEY, b"{}"))
        if not all(_PART.fullmatch(name) for names in found.values() for name in names):
            raise ValueError("a file of another name")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{uri}: its list of files makes no sense ({error}); make that output again"
        ) from None
    return dict(found)


def list_part_files(root: str, storage: Storage, folder: str = "") -> list[str]:
    """URIs of the final files of a table, in order: crops, or the table that ``folder`` is named after.

    Files of a run that has not finished are left out. Raises ``UsageError`` where there are no others.
    """
    where = join(root, folder) if folder else root
    if not storage.exists(where):
        raise UsageError(f"{where}: no such folder")
    listed = read_part_names(root, storage)
    claimed = not listed and storage.exists(join(root, RECORD_FILE))
    unfinished = claimed and storage.is_folder(join(root, "_work"))
    found = [
        info.uri
        for info in storage.list_files(where)
        if info.path.endswith(".parquet") and not any(p.startswith(("_", ".")) for p in info.path.split("/"))
        and (not listed or info.path in listed.get(folder or "crops", ()))
    ]  # fmt: skip
    if unfinished:
        raise UsageError(f"{where}: the job that writes it has not finished; run it again to go on")
    if not found:
        raise UsageError(f"{where}: no Parquet files there; is it the right folder?")
    return found


def read_parts(root: str, storage: Storage, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """A whole table of a finished output, in the folder of its name; raises as ``list_part_files``."""
    files = list_part_files(root, storage, name)
    return pa.concat_tables([tables.read_table(storage, uri, name, columns) for uri in files])
