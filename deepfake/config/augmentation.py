"""Random changes to training crops."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from deepfake.config.base import Fraction, Section


class AugmentConfig(Section):
    """Random changes to training crops; the same distribution for real and fake."""

    enabled: bool = Field(True, description="augment training crops")
    fakes: Literal["real", "sbi", "mix"] = Field(
        "real",
        description="real: the data set's fakes; sbi: self-blended images, a real and a fake made of each "
        "real crop, and none of the data set's fakes; mix: half of the fakes are self-blended",
    )
    flip: Fraction = Field(0.5, description="probability of a horizontal flip")
    rotation_degrees: float = Field(5.0, ge=0, le=45, description="largest rotation to either side")
    scale: Fraction = Field(0.05, description="largest relative change of scale")
    translation: Fraction = Field(0.05, description="largest shift to either side, as a share of the side")
    match_framing: bool = Field(
        True,
        description="show each crop as if its frame ended where that of a random crop of the other class "
        "does, so that how close faces are to the edges of their frames tells nothing",
    )
    mirror: Fraction = Field(
        0.05, description="probability that a border is mirrored, as where a face leaves its frame"
    )
    light: Fraction = Field(1.0, description="probability of a change of brightness and contrast")
    brightness: Fraction = Field(0.1, description="largest addition to brightness, as a share of the range")
    contrast: Fraction = Field(0.1, description="largest relative change of contrast")
    colour: Fraction = Field(1.0, description="probability of a change of hue, saturation and channels")
    hue_degrees: float = Field(5.0, ge=0, le=180, description="largest turn of the hue to either side")
    saturation: Fraction = Field(0.1, description="largest relative change of saturation")
    rgb_shift: float = Field(
        10.0, ge=0, le=128, description="largest change of each colour channel, in grey levels of 256"
    )
    jpeg: Fraction = Field(0.3, description="probability of JPEG compression")
    jpeg_quality: tuple[int, int] = Field((40, 100), description="range of its quality")
    blur: Fraction = Field(0.1, description="probability of a Gaussian blur")
    noise: Fraction = Field(0.1, description="probability of Gaussian noise")
    downscale: Fraction = Field(0.1, description="probability of scaling down and up again")
    cutout: Fraction = Field(0.0, description="probability of a grey rectangle")

    @model_validator(mode="after")
    def _quality_is_a_range(self) -> AugmentConfig:
        low, high = self.jpeg_quality
        if not 1 <= low <= high <= 100:
            raise ValueError(f"augment.jpeg_quality must be two numbers in 1..100, rising, got {low}, {high}")
        return self
