"""URIs and local paths: their parts, joined, made absolute."""

import os
import re
from urllib.parse import quote, unquote_to_bytes

from deepfake.config.base import hide_secrets, require_endpoint
from deepfake.errors import AddressError, UsageError

SCHEMES = ("file", "s3")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*")  # RFC 3986, 3.1


def split_uri(uri: str) -> tuple[str, str]:
    """``(scheme, path)`` of a URI or a local path; local paths come back absolute."""
    scheme, separator, rest = uri.partition("://")
    if not uri:
        raise UsageError("an empty path was given; name a file or a folder ('.' is the current one)")
    if "\0" in uri:
        raise AddressError(f"{uri!r}: holds a zero byte, which no name may")
    if hide_secrets(uri) != uri:
        raise AddressError(
            f"{hide_secrets(uri)}: an address holds no password, which would be stored and shown; leave it "
            "out: credentials come from the environment or ~/.aws"
        )
    if not separator or not _SCHEME.fullmatch(scheme):
        return "file", os.path.abspath(os.path.expanduser(uri))  # noqa: PTH100, PTH111 (keeps odd bytes)
    if scheme == "file":
        path = os.fsdecode(unquote_to_bytes(rest.removeprefix("localhost")))
        if "\0" in path:
            raise AddressError(f"{uri!r}: holds a zero byte, which no name may")
        if not path.startswith("/"):
            raise AddressError(f"{uri}: a file:// URI holds an absolute path, as in file:///data")
        return "file", os.path.abspath(path)  # noqa: PTH100 (keeps odd bytes)
    if scheme not in SCHEMES:
        raise AddressError(f"{uri}: scheme {scheme!r} is not supported; use a local path, file:// or s3://")
    if not rest.partition("/")[0]:
        raise AddressError(f"{uri}: names no bucket, as in s3://bucket/folder")
    return scheme, rest.rstrip("/")


def join(uri: str, *parts: str) -> str:
    """A URI below another."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def make_absolute(uri: str) -> str:
    """The URI as any process can use it: local paths made absolute."""
    scheme, path = split_uri(uri)
    return make_local_uri(path) if scheme == "file" else f"{scheme}://{path}"


def make_local_uri(path: str) -> str:
    """The path itself, or a ``file://`` URI where its bytes are not valid Unicode."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(path))
    return path


def make_readable(path: str) -> str:
    """A path as valid Unicode; bytes that are not come out as ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def check_environment() -> None:
    """``UsageError`` where the environment names an S3 server by what is no address, or holds a password."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        try:
            require_endpoint(os.environ.get(name))
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
