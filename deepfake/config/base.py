"""What every section of a configuration is made from."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

SPLITS = ("train", "val", "test")
_SECRET = re.compile(r"(?<=://)[^/?#\s@]*:[^/?#\s@]*@")  # RFC 3986, 3.2.1
_QUERY = re.compile(r"(https?://[^\s?'\"]*\?)[^\s'\"]+", re.IGNORECASE)  # of a signed address
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_ENDPOINT = re.compile(
    rf"https?://(\[[0-9a-f:.]+\]|{_LABEL}(\.{_LABEL})*\.?)(:\d{{1,5}})?(/[^?#\s]*)?", re.IGNORECASE
)
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def hide_secrets(text: str) -> str:
    """Text in which ``http://user:password@host``, or a signed address, does not show whom it lets in."""
    return _QUERY.sub(r"\1***", _SECRET.sub("***@", text))


def require_no_secret(value: str | None) -> str | None:
    """The same address; ``ValueError`` where it holds a password."""
    if value is not None and hide_secrets(value) != value:
        raise ValueError(
            "holds a password, which would be stored and shown; leave it out: credentials come from the "
            "environment"
        )
    return value


def require_endpoint(value: str | None) -> str | None:
    """The same address of a server; ``ValueError``, which does not repeat it, where it is none."""
    if value is None or not require_no_secret(value):
        return value
    try:
        if _ENDPOINT.fullmatch(value) and urlsplit(value).port != 0:
            return value
    except ValueError:  # a port beyond 65535, an address of IPv6 that is none
        pass
    raise ValueError("is no address of a server, as in https://s3.example.org:9000")


class Section(BaseModel):
    """Base of every section: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
