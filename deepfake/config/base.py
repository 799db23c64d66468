"""What every section of a configuration is made from."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SPLITS = ("train", "val", "test")
_SECRET = re.compile(r"(?<=://)[^/?#\s@]*:[^/?#\s@]*@")  # RFC 3986, 3.2.1
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def hide_secrets(text: str) -> str:
    """Text in which addresses such as ``http://user:password@host`` do not show who they let in."""
    return _SECRET.sub("***@", text)


def require_no_secret(value: str | None) -> str | None:
    """The same address; ``ValueError`` where it holds a password."""
    if value is not None and hide_secrets(value) != value:
        raise ValueError(
            "holds a password, which would be stored and shown; leave it out: credentials come from the "
            "environment"
        )
    return value


class Section(BaseModel):
    """Base of every section: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
