"""What a job says of itself in its output: ``_config.json``, written once and read by who takes it further.

Hashes of configuration and bundle, the input's URI, the version, and the sections that decided the rows.
"""

import json
import reprlib
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from deepfake.config import ROWS_VERSION, CropConfig, Section
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.io.tables.files import SCHEMA_VERSION
from deepfake.io.uri import join

RECORD_FILE = "_config.json"
# What others take from a record, where it is there.
_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("config_sha256", "input", "bundle_sha256", "model_sha256"), (str, "text")),
    "bundle": ((str, list), "text or a list of it"),
    "report": (dict, "an object"),
}
SomeSection = TypeVar("SomeSection", bound=Section)


def read_record(root: str, storage: Storage) -> dict[str, Any] | None:
    """The record in an output folder; None where there is none.

    ``UsageError`` where it is damaged, or its rows are of another ``ROWS_VERSION``.
    """
    uri = join(root, RECORD_FILE)
    try:
        found = json.loads(storage.read_text(uri))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{uri}: not valid JSON ({error}); make that output again, into another folder"
        ) from None
    if not isinstance(found, dict):
        raise UsageError(f"{uri}: expected a JSON object, found a {type(found).__name__}")
    for key, (kind, words) in _KINDS.items():
        value = found.get(key)
        listed = value if isinstance(value, list) else ()
        if key in found and not (isinstance(value, kind) and all(isinstance(one, str) for one in listed)):
            raise UsageError(
                f"{uri}: {key} is {reprlib.repr(value)}, expected {words}; make that output again"
            )
    require_rows_version(found, uri, "make that output again, into another folder")
    return found


def require_rows_version(record: Mapping[str, Any], uri: str, remedy: str) -> None:
    """Refuse rows whose frames, boxes or crops were made otherwise than this version makes them."""
    version = record.get("rows_version", 1)
    if version != ROWS_VERSION:
        raise UsageError(
            f"{uri}: rows of version {version}, this program makes rows of version {ROWS_VERSION}, whose "
            "frames, boxes or crops differ under the same keys; "
            f"{remedy}, or use the version of deepfake that made it"
        )


def read_score_record(root: str, storage: Storage) -> dict[str, Any]:
    """The record of a score job's output, which names a bundle; ``UsageError`` where it is none."""
    return require_record(root, storage, "jobs/score.py", "bundle", "bundle_sha256")


def require_record(root: str, storage: Storage, job: str, *more: str) -> dict[str, Any]:
    """The record that a job left; ``UsageError`` where it is missing, or lacks what each has, or ``more``."""
    found, uri = read_record(root, storage), join(root, RECORD_FILE)
    if found is None:
        raise UsageError(f"{root}: not an output of {job}, {uri} is missing")
    if absent := [key for key in ("config_sha256", "input", *more) if not found.get(key)]:
        raise UsageError(f"{root}: not an output of {job}, {uri} has no {', '.join(absent)}")
    return found


def list_recorded_bundles(record: Mapping[str, Any]) -> list[str]:
    """The URIs of the bundles that a score job's record names."""
    found = record["bundle"]
    return [found] if isinstance(found, str) else list(found)


def parse_section(record: Mapping[str, Any], name: str, kind: type[SomeSection]) -> SomeSection | None:
    """One section of a record; None where it does not say, ``UsageError`` where it makes no sense."""
    found = record.get(name)
    if not isinstance(found, dict):
        return None
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, (name, *first["loc"])))
        raise UsageError(
            f"{RECORD_FILE}: {key} is {reprlib.repr(first['input'])}: {first['msg']}; make that output again"
        ) from None


def read_crop_size(record: Mapping[str, Any]) -> int:
    """Side in pixels of the crops that were made with a record; where it does not say, the default."""
    return (parse_section(record, "crop", CropConfig) or CropConfig()).size


def write_record(root: str, storage: Storage, record: Mapping[str, Any]) -> None:
    """Leave the record in an output folder, with the ``ROWS_VERSION`` of its rows."""
    versions = {"rows_version": ROWS_VERSION, "schema_version": SCHEMA_VERSION}
    storage.write_json(join(root, RECORD_FILE), {**versions, **record})
