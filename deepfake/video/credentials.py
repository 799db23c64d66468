"""Content credentials (C2PA) of a file: who signed it, when, what they say was done, and whether that holds.

Nothing is fetched for it: a manifest that lies elsewhere is not followed, since the file chooses the address,
nor is anybody asked whether a certificate was revoked. Without a trust list a signature that holds is of
somebody, and nobody says who that is.
"""

import json
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.io.uri import make_absolute

MOST_LETTERS = 500  # of what a manifest says, for the file's maker chose it
# How a file begins that can hold a manifest; of others there is none.
_RIFF = {b"AVI ": "avi", b"WEBP": "webp"}
_BRANDS = {b"heic": "heic", b"heix": "heic", b"mif1": "heif", b"avif": "avif"}
_SETTINGS = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}


def read_trust_list(uri: str | None, storage: Storage) -> str:
    """Certificates as PEM, "" where there is no list.

    Raises ``UsageError`` where they are none, or the library that reads credentials is not installed.
    """
    if find_spec("c2pa") is None:
        raise UsageError("scoring.credentials takes an extra: pip install 'deepfake[credentials]'")
    if uri is None:
        return ""
    try:
        found = storage.read_text(make_absolute(uri))
    except FileNotFoundError:
        raise UsageError(f"{uri}: no such file, scoring.trust_list names it") from None
    if "-----BEGIN CERTIFICATE-----" not in found:
        raise UsageError(f"{uri}: holds no certificate as PEM, which scoring.trust_list is to")
    return found


def read_credentials(file: BinaryIO, whole: bool, trust_list: str) -> dict[str, Any]:
    """The columns ``credentials...`` of an open file, which stays where it was.

    ``whole`` is whether all its bytes were read anyway; ``trust_list`` has certificates as PEM, or "".
    """
    if not whole:
        return {"credentials": "unread"}
    position = file.tell()
    try:
        file.seek(0)
        kind = _find_kind(file.read(12))
        if kind is None:
            return {"credentials": "none"}
        file.seek(0)
        return _read_manifest(file, kind, trust_list)
    finally:
        file.seek(position)


def _find_kind(start: bytes) -> str | None:
    """What the reader calls a file that begins so."""
    if start[4:8] == b"ftyp":
        return _BRANDS.get(start[8:12], "mp4")
    if start[:4] == b"RIFF":
        return _RIFF.get(start[8:12])
    if start[:3] == b"\xff\xd8\xff":
        return "jpg"
    return "png" if start[:8] == b"\x89PNG\r\n\x1a\n" else None


def _read_manifest(file: BinaryIO, kind: str, trust_list: str) -> dict[str, Any]:
    import c2pa

    try:
        reader = c2pa.Reader.try_create(kind, file, context=_make_context(trust_list))
        if reader is None:
            return {"credentials": "none"}
        with reader:
            if not reader.is_embedded():
                return {"credentials": "none"}
            state, found = reader.get_validation_state(), json.loads(reader.json())
        manifest = found["manifests"][found["active_manifest"]]
        signature = manifest.get("signature_info") or {}
        problems = sorted({one["code"] for one in found.get("validation_status") or ()})
        signer = ", ".join(name for key in ("common_name", "issuer") if (name := signature.get(key)))
        return {
            "credentials": {"Trusted": "trusted", "Valid": "valid"}.get(state or "", "invalid"),
            "credentials_signer": _shorten(signer),
            "credentials_time": _shorten(signature.get("time") or ""),
            "credentials_actions": _shorten(", ".join(_list_actions(manifest))),
            "credentials_problem": _shorten(", ".join(problems)),
        }
    except (c2pa.C2paError, LookupError, ValueError, TypeError, AttributeError) as error:
        return {"credentials": "unread", "credentials_problem": _shorten(str(error))}


def _list_actions(manifest: dict[str, Any]) -> list[str]:
    """What the manifest says was done, in its order, with the kind of source where one is named."""
    found = []
    for assertion in manifest.get("assertions") or ():
        if str(assertion.get("label", "")).startswith("c2pa.actions"):
            for action in assertion["data"].get("actions") or ():
                source = PurePosixPath(str(action.get("digitalSourceType") or "")).name
                found.append(f"{action.get('action')} ({source})" if source else str(action.get("action")))
    return found


def _shorten(text: str) -> str | None:
    """Text as a column has it; null where there is none."""
    text = text.replace("\0", "")
    return f"{text[: MOST_LETTERS - 3]}..." if len(text) > MOST_LETTERS else text or None


def _make_context(trust_list: str) -> Any:
    """How files are read; made for each, since one is of no use in a process that was forked."""
    import c2pa

    trust = {"trust": {"trust_anchors": trust_list}} if trust_list else {}
    return c2pa.Context(c2pa.Settings.from_json(json.dumps({**_SETTINGS, **trust})))
