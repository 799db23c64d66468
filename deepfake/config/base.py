"""What every section of a configuration is made from."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SPLITS = ("train", "val", "test")
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of every section: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
