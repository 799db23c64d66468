"""Sections on what is measured, scored and shown."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from deepfake.config.base import Fraction, Section


class EvaluationConfig(Section):
    """What is measured, on what."""

    split: str = Field("test", description="value of the split column to evaluate; all: every crop")
    aggregation: Literal["mean", "median", "max", "top_k"] = Field(
        "mean", description="how frame scores become a video's score"
    )
    top_k: int = Field(5, ge=1, description="frames averaged by top_k")
    threshold: Fraction | None = Field(
        None, description="score from which something is called fake (default: the bundle's, else 0.5)"
    )
    bootstrap: int = Field(1000, ge=0, description="bootstrap resamples for the intervals; 0: no intervals")
    bootstrap_over: Literal["videos", "identities"] = Field(
        "videos", description="what is resampled; identities are the groups that never cross a split"
    )
    prevalence: float = Field(
        0.01, gt=0, lt=1, description="share of fakes among your videos, for the precision to expect there"
    )
    also_split: str = Field("all", description="value of the split column to evaluate of the inputs in also")
    robustness: bool = Field(
        False, description="also score crops made worse: JPEG, resizing, blur, noise, fewer frames, video CRF"
    )
    robustness_crops: int = Field(
        512, ge=2, description="crops that are made worse, at most 8 of a video, as many real as fake videos"
    )
    robustness_videos: int = Field(
        20, ge=0, description="videos compressed again at each CRF, where the files can be reached; 0: none"
    )
    seed: int = Field(0, ge=0, description="seed of the bootstrap")
    heat_maps: int = Field(
        0,
        ge=0,
        description="show heat maps of so many of the worst errors, and measure how much of the heat falls "
        "on a blending that is known; 0: none",
    )
    allow_overlap: bool = Field(
        False, description="evaluate although the model was trained on the same identities (numbers will lie)"
    )


class ScoringConfig(Section):
    """How an archive is scored."""

    runtime: Literal["auto", "tensorflow", "openvino"] = Field(
        "auto",
        description="what computes the scores; auto: OpenVINO on CPUs where it gives TensorFlow's scores, "
        "TensorFlow on GPUs",
    )
    batch_size: int | None = Field(
        None, ge=1, description="crops that TensorFlow scores at once (default: 32 on CPUs, 256 on GPUs)"
    )
    aggregation: Literal["mean", "median", "max", "top_k"] = Field(
        "mean", description="how frame scores become a track's and a video's score"
    )
    top_k: int = Field(5, ge=1, description="scores averaged by top_k")
    over_tracks: Literal["faces", "mean", "max", "top_k"] = Field(
        "faces",
        description="faces: a video's score is made of all its faces; mean, max, top_k: of its tracks' "
        "scores, so that one faked person among several counts (with detector.keep all or track)",
    )
    threshold: Fraction | None = Field(
        None, description="score that divides real from fake, in place of an operating point"
    )
    operating_point: Literal["default", "balanced", "fpr_0.01", "fpr_0.001"] = Field(
        "default",
        description="which of the bundle's thresholds, chosen on validation videos: balanced errors, or a "
        "false positive rate of 1 % or 0.1 %; default: balanced where the bundle has it",
    )
    uncertain: Fraction | None = Field(
        None,
        description="scores nearer to the threshold than this get the verdict uncertain (default: the band "
        "that the bundle found on validation videos, else 0.05)",
    )
    smooth_seconds: float = Field(
        3.0, ge=0, description="window over which a track's scores are averaged to find its segments"
    )
    min_faces: int = Field(1, ge=1, description="fewer faces than this give status too_short")
    first_pass: int = Field(
        0,
        ge=0,
        description="look at so many key frames of each video first, and at the whole only where their score "
        "is near the threshold; 0: always at the whole",
    )
    first_pass_margin: Fraction = Field(
        0.25, description="a first score further from the threshold than this stands"
    )
    keep_crops: bool = Field(
        False,
        description="write the crops too: the output can then be the --input of another bundle's job, "
        "which decodes nothing",
    )
    use_gpu: bool = Field(False, description="score on GPUs")

    @property
    def crops_at_once(self) -> int:
        """``batch_size``, or its default; an H200 is 1.6 times as fast by 256 as by 32 (docs/scoring.md)."""
        return self.batch_size or (256 if self.use_gpu else 32)

    @model_validator(mode="after")
    def _first_pass_is_for_cpus(self) -> ScoringConfig:
        if self.first_pass and self.use_gpu:
            raise ValueError("first_pass works on CPUs only; leave out use_gpu")
        return self


class ReportConfig(Section):
    """The pages and plots written for people."""

    title: str | None = Field(None, description="heading of the page")
    rows: int = Field(
        250_000, ge=1, description="videos in the page's table, most suspicious first; the files hold all"
    )
    max_thumbnails: int = Field(500, ge=0, description="thumbnails embedded, most suspicious first")
    pages: int = Field(
        100,
        ge=0,
        description="videos with a page of their own: likely fake or uncertain, highest score first",
    )
    frames: int = Field(4, ge=0, description="frames shown on such a page")
    heat_maps: bool = Field(
        True, description="and where in the faces the network looked; takes TensorFlow's start"
    )
    checksums: bool = Field(
        False, description="write SHA256SUMS of the output's files, for sha256sum --check and for signing"
    )
    prevalence: list[Fraction] = Field(
        [0.5, 0.1, 0.01, 0.001],
        description="shares of fakes among all videos for which the page says how many alarms are right",
    )


class BenchmarkConfig(Section):
    """How often everything is measured."""

    runs: int = Field(3, ge=1, description="runs; everything is measured in turn in each, medians count")
    copies: int = Field(3, ge=1, description="times that the clips are taken over in a run")
    only: list[str] = Field(
        [], description="what to measure, by its names in the table, such as floor; empty: everything"
    )


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
    max_hash_distance: int = Field(
        6, ge=0, le=7, description="bits of 64 in which the perceptual hashes of near duplicates may differ"
    )
    max_pixel_difference: float = Field(
        0.03, ge=0, le=2, description="and 1 - correlation of their 16x16 thumbnails, at most"
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
