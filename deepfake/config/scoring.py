"""How an archive is scored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from deepfake.config.base import Fraction, Section

Runtime = Literal["auto", "tensorflow", "openvino"]
RUNTIME: Runtime = Field(
    "auto",
    description="what computes the scores; auto: OpenVINO on CPUs where it gives TensorFlow's scores, "
    "TensorFlow on GPUs",
)
FLIP: bool = Field(
    False,
    description="a face's score is the mean of its crop's and the mirrored crop's, which takes twice as long",
)


class InferenceConfig(Section):
    """Where the network works, on how much at once, and how often it looks."""

    flip: bool = FLIP
    batch_size: int | None = Field(
        None, ge=1, description="crops that TensorFlow scores at once (default: 32 on CPUs, 256 on GPUs)"
    )
    use_gpu: bool = Field(False, description="score on GPUs; not tried yet with TensorFlow")

    @property
    def crops_at_once(self) -> int:
        """``batch_size``, or its default; an H200 is 1.6 times as fast with 256 (docs/benchmark.md)."""
        return self.batch_size or (256 if self.use_gpu else 32)


class RuleConfig(Section):
    """What makes the scores of faces into one score and a verdict."""

    aggregation: Literal["mean", "median", "max", "top_k", "frame_max"] = Field(
        "mean",
        description="how the scores of faces become a track's and a video's; frame_max: the highest of each "
        "frame, then the mean (with detector.keep all or track)",
    )
    top_k: int = Field(5, ge=1, description="scores averaged by top_k")
    threshold: Fraction | None = Field(
        None, description="score from which a video is called fake, in place of an operating point"
    )
    operating_point: Literal["default", "balanced", "fpr_0.01", "fpr_0.001"] = Field(
        "default",
        description="which of the bundle's thresholds, chosen on validation videos: balanced errors, or a "
        "false positive rate of 1 % or 0.1 %; unless told, balanced where the bundle has it",
    )
    uncertain: Fraction | None = Field(
        None,
        description="scores nearer to the threshold than this get the verdict uncertain (default: the band "
        "that the bundle found on validation videos, else 0.05)",
    )
    min_faces: int = Field(1, ge=1, description="fewer faces than this give status too_short")


class VerdictConfig(RuleConfig):
    """What makes the scores of faces into tracks, videos and verdicts."""

    over_tracks: Literal["faces", "mean", "max", "top_k"] = Field(
        "faces",
        description="faces: a video's score is made of all its faces; mean, max, top_k: of its tracks' "
        "scores, so that one faked person among several counts (with detector.keep all or track)",
    )
    smooth_seconds: float = Field(
        3.0, ge=0, description="window over which a track's scores are averaged to find its segments"
    )


class ScoringConfig(InferenceConfig, VerdictConfig):
    """How an archive is scored."""

    runtime: Runtime = RUNTIME
    first_pass: int = Field(
        0,
        ge=0,
        description="look at this many key frames of each video first, and process the whole video only "
        "where their score is near the threshold; 0: always process the whole video",
    )
    first_pass_margin: Fraction = Field(
        0.25, description="a first score further from the threshold than this is final"
    )
    keep_crops: bool = Field(
        False,
        description="also write the crops; the output can then be the --input of a job with another "
        "bundle, which decodes nothing",
    )

    credentials: bool = Field(
        False, description="read content credentials (C2PA) of each file; takes the extra 'credentials'"
    )
    trust_list: str | None = Field(
        None, description="URI of certificates (PEM) whose signatures are called trusted, with credentials"
    )

    @model_validator(mode="after")
    def _first_pass_is_for_cpus(self) -> ScoringConfig:
        if self.first_pass and self.use_gpu:
            raise ValueError("first_pass works on CPUs only; leave out use_gpu")
        return self


class WatchScoringConfig(RuleConfig):
    """How the faces of a source that plays are scored and judged."""

    flip: bool = FLIP
    runtime: Runtime = RUNTIME


class WatchConfig(Section):
    """How a source is played, and what is kept of it."""

    every_frame: bool = Field(
        False,
        description="look at every frame of a file, however long that takes; otherwise it plays at its own "
        "rate, and frames that come too fast are dropped",
    )
    window_seconds: float = Field(
        10.0, gt=0, description="the running score of a face is made of its last so many seconds"
    )
    max_seconds: float | None = Field(None, gt=0, description="stop after so many seconds")
    patience_seconds: float = Field(10.0, gt=0, description="a stream that sends nothing for so long is over")
    video_side: int = Field(
        1280, ge=0, description="longer side of the annotated video in pixels; 0: no video is written"
    )
