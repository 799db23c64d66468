"""A detector that was made elsewhere: what it takes, and what its answer means."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from deepfake.config.base import Section

Values = Literal["bytes", "unit", "signed"]
RANGES: Mapping[Values, tuple[float, float]] = {"bytes": (0, 255), "unit": (0, 1), "signed": (-1, 1)}


class ForeignConfig(Section):
    """How a crop becomes a detector's input, and its output a score; a wrong value still gives scores."""

    values: Values | None = Field(
        None,
        description="from black to white: bytes: 0 to 255, unit: 0 to 1, signed: -1 to 1 [required]",
    )
    order: Literal["RGB", "BGR"] = Field("RGB", description="the order of its input's colours")
    mean: list[float] = Field(
        [], description="subtracted from each colour, in that order, after values; none or three"
    )
    std: list[float] = Field([], description="what each colour is divided by after that; none or three")
    size: int | None = Field(
        None, ge=16, le=1024, description="side of its input in pixels (default: what its file says)"
    )
    share: float = Field(
        1.0, gt=0, le=1, description="the middle of the crop that it is shown, as a share of the crop's side"
    )
    output: Literal["probability", "logit"] = Field(
        "probability",
        description="what it gives: a probability for each face (of two classes: for each), or a number "
        "before the sigmoid (or softmax)",
    )
    fake: int | None = Field(
        None,
        ge=0,
        le=1,
        description="which class is fake: of one output 1, where high means fake, or 0, where low does; of "
        "two outputs the place of fake [required]",
    )
    source: str = Field("", description="where it is from, in words, for the model card")
    licence: str = Field("", description="its licence, in words, for the model card")
    trained_on: str = Field("", description="what it was trained on, in words, for the model card")

    @model_validator(mode="after")
    def _three_colours(self) -> "ForeignConfig":
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (0, 3):
                raise ValueError(f"foreign.{name} takes three numbers, one for each colour")
        if 0.0 in self.std:
            raise ValueError("foreign.std must not be 0")
        return self

    def compute_scale(self) -> tuple[list[float], list[float]]:
        """Factors and offsets of the three colours, in ``order``, that make the input of 0..255."""
        assert self.values is not None  # the job asks for it
        low, high = RANGES[self.values]
        mean, std = self.mean or [0.0] * 3, self.std or [1.0] * 3
        factors = [(high - low) / 255 / one for one in std]
        return factors, [(low - middle) / one for middle, one in zip(mean, std, strict=True)]
