"""Which frames of a video are looked at, and the limits a video must keep."""

from typing import Literal, Self

from pydantic import Field

from deepfake.config.base import Section

# What protects the machine, and is its user's to say.
LIMITS = ("max_pixels", "max_duration_seconds", "timeout_seconds", "isolate", "max_memory_mb")


class SamplingConfig(Section):
    """Which frames of a video are looked at, and the limits a video must keep."""

    policy: Literal["every_n", "per_second", "count", "keyframes"] = Field(
        "every_n",
        description="every_n: each n-th frame; per_second: n a second of presentation time; "
        "count: n spread evenly; keyframes: key frames only (fast first look)",
    )
    every_n: int = Field(30, ge=1, description="frames from one sampled frame to the next (policy every_n)")
    per_second: float = Field(1.0, gt=0, description="frames a second for per_second")
    count: int = Field(32, ge=1, description="frames a video for count")
    max_frames: int = Field(4096, ge=1, description="never look at more frames of one video than this")
    max_pixels: int = Field(8192 * 4320, ge=1, description="larger frames are refused (status unsupported)")
    max_duration_seconds: float = Field(
        12 * 3600.0, gt=0, description="longer videos are refused (status unsupported)"
    )
    timeout_seconds: float = Field(
        600.0, gt=0, description="a video that takes longer than this gets status timeout"
    )
    isolate: bool = Field(
        True,
        description="extract in child processes, so that a file that crashes or hangs the decoder "
        "costs that video and nothing else",
    )
    max_memory_mb: int = Field(
        4096,
        ge=256,
        description="memory limit of such a child for one video, in MiB; never more than its share of "
        "the machine",
    )
    long_video_mb: float = Field(
        256.0, gt=0, description="videos larger than this, in MB, are cut into pieces that workers share"
    )
    piece_seconds: float = Field(
        600.0, gt=0, description="length of such a piece; it ends at the next possible key frame"
    )

    def with_limits_of(self, own: Self) -> Self:
        """The same frames within another's limits: those in a bundle or a table decide nothing."""
        return self.model_copy(update={name: getattr(own, name) for name in LIMITS})
