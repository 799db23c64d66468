"""What counts as a leak between splits."""

from typing import Literal

from pydantic import Field

from deepfake.config.base import Section


class LeakcheckConfig(Section):
    """What counts as a leak between splits, and which leaks make the job fail."""

    conversion_dict: str | None = Field(
        None,
        description="FaceForensics++'s conversion_dict.json, which tells the upload of each clip "
        "(default: the one in catalog.splits_dir, if there)",
    )
    fail_on: list[Literal["identity", "duplicate", "upload", "near_duplicate", "label_conflict", "probe"]] = (
        Field(["identity", "duplicate"], description="findings that give exit status 1; all others only warn")
    )
    pixels: bool = Field(True, description="look at the pictures; false: tables and file hashes only")
    timeout_seconds: float = Field(
        600.0, gt=0, description="a file whose picture takes longer than this is one that cannot be read"
    )
    max_hash_distance: int = Field(
        6,
        ge=0,
        le=7,
        description="largest number of bits (of 64) in which the perceptual hashes of near duplicates differ",
    )
    max_pixel_difference: float = Field(
        0.03, ge=0, le=2, description="largest 1 - correlation of their 16x16 thumbnails"
    )
    probe_auc: float = Field(
        0.6, ge=0.5, le=1, description="a probe with a higher AUC warns, if its interval is above 0.5"
    )
    probe_min_videos: int = Field(
        20, ge=5, description="with fewer real or fake videos than this no probe says anything"
    )
    crops_per_video: int = Field(8, ge=1, description="crops of each video that the probes learn from")
    bootstrap: int = Field(1000, ge=0, description="bootstrap resamples for the probes' intervals")
    seed: int = Field(0, ge=0, description="seed of folds, probes and bootstrap")
