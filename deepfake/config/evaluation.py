"""What is measured of a bundle, on what."""

from typing import Literal

from pydantic import Field

from deepfake.config.base import Fraction, Section


class EvaluationConfig(Section):
    """What is measured, on what."""

    split: str = Field("test", description="value of the split column to evaluate; all: every crop")
    aggregation: Literal["mean", "median", "max", "top_k", "frame_max"] = Field(
        "mean",
        description="how the scores of faces become a video's; frame_max: the highest of each frame, then "
        "the mean",
    )
    top_k: int = Field(5, ge=1, description="frames averaged by top_k")
    threshold: Fraction | None = Field(
        None, description="score from which something is called fake (default: the bundle's, else 0.5)"
    )
    bootstrap: int = Field(1000, ge=0, description="bootstrap resamples for the intervals; 0: no intervals")
    bootstrap_over: Literal["videos", "identities"] = Field(
        "identities",
        description="what is resampled; identities are the groups that never cross a split, and each video "
        "where nobody is known",
    )
    prevalence: float = Field(
        0.01, gt=0, lt=1, description="share of fakes among your videos, for the precision to expect there"
    )
    also_split: str = Field("all", description="value of the split column to evaluate of the inputs in also")
    robustness: bool = Field(
        False, description="also score degraded copies: JPEG, resizing, blur, noise, fewer frames, video CRF"
    )
    robustness_crops: int = Field(
        512,
        ge=2,
        description="crops that are degraded, at most 8 per video, from as many real as fake videos",
    )
    robustness_videos: int = Field(
        20, ge=0, description="videos compressed again at each CRF, where the files can be reached; 0: none"
    )
    seed: int = Field(0, ge=0, description="seed of the bootstrap and of what learns without looking")
    heat_maps: int = Field(
        0,
        ge=0,
        description="show heat maps of this many of the worst errors, and measure how much of the heat "
        "falls on a known blending; 0: none",
    )
    allow_overlap: bool = Field(
        False, description="evaluate although the model was trained on the same identities (numbers will lie)"
    )
