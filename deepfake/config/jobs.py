"""The configuration of each job: its own keys, and the sections that it takes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from deepfake.config.augmentation import AugmentConfig
from deepfake.config.base import Fraction
from deepfake.config.benchmark import BenchmarkConfig
from deepfake.config.budget import Budget
from deepfake.config.catalog import CatalogConfig
from deepfake.config.evaluation import EvaluationConfig
from deepfake.config.execution import RayConfig
from deepfake.config.faces import CropConfig, DetectorConfig
from deepfake.config.foreign import ForeignConfig
from deepfake.config.io import StorageConfig
from deepfake.config.leakcheck import LeakcheckConfig
from deepfake.config.model import ModelConfig
from deepfake.config.report import PageConfig, ReportConfig, ThumbnailPageConfig, UndecodedReportConfig
from deepfake.config.scoring import (
    InferenceConfig,
    ScoringConfig,
    VerdictConfig,
    WatchConfig,
    WatchScoringConfig,
)
from deepfake.config.tracking import TrackingConfig
from deepfake.config.training import FaultsConfig, TrainingConfig
from deepfake.config.video import SamplingConfig


def _make_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


AS_TYPED = BeforeValidator(_make_list)  # of a list in whose items a comma is no end, or of one text
Bundles = Annotated[list[str], AS_TYPED]


class JobConfig(BaseModel):
    """What every job takes besides its sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    row_sections: ClassVar[tuple[str, ...]] = ()  # the sections that decide what rows come out
    common: ClassVar[tuple[str, ...]] = ("ray.workers",)  # keys of sections that most people want to know

    output: str = Field(..., description="URI of the folder that the job writes")
    dry_run: bool = Field(
        False, alias="dry-run", description="print the resolved configuration and the plan, then exit"
    )
    max_failed: Fraction = Field(
        0.05, alias="max-failed", description="share of videos that may fail before the exit status is 3"
    )
    storage: StorageConfig = Field(default_factory=StorageConfig)
    ray: RayConfig = Field(default_factory=RayConfig)


PRICE: float | None = Field(
    None,
    ge=0,
    alias="price-core-hour",
    description="price of a core for an hour, in any currency: a machine's price divided by its cores; the "
    "summary then says what the run cost",
)
LIMIT: int | None = Field(None, ge=1, description="take only the first N videos")
RETRY_FAILED: bool = Field(
    False,
    alias="retry-failed",
    description="process all videos again that failed in an earlier run, not only those whose failure "
    "may be the machine's",
)
REMOVE_GONE: bool = Field(
    False,
    alias="remove-gone",
    description="remove what the output has of videos that the input no longer has: rows, crops and pages",
)


class CropJobConfig(JobConfig):
    """What jobs that cut crops from videos take."""

    row_sections: ClassVar[tuple[str, ...]] = ("catalog", "sampling", "detector", "crop")
    common: ClassVar[tuple[str, ...]] = (
        "catalog.splits_dir",
        "sampling.every_n",
        "detector.name",
        "detector.keep",
        "crop.margin",
        "ray.workers",
    )

    input: str = Field(..., description="URI of an FF++ root, a folder, a bucket or a manifest")
    limit: int | None = LIMIT
    catalog: CatalogConfig = Field(default_factory=CatalogConfig)
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    detector: DetectorConfig = Field(default_factory=DetectorConfig)
    crop: CropConfig = Field(default_factory=CropConfig)


class PreprocessJobConfig(CropJobConfig):
    """Videos to face crops."""

    retry_failed: bool = RETRY_FAILED
    remove_gone: bool = REMOVE_GONE
    price_core_hour: float | None = PRICE


class TrainJobConfig(JobConfig):
    """Crops to a model bundle, or several recipes side by side."""

    row_sections: ClassVar[tuple[str, ...]] = ("model", "augment", "training", "faults")
    common: ClassVar[tuple[str, ...]] = (
        "model.backbone",
        "model.weights",
        "augment.fakes",
        "training.epochs",
        "training.learning_rate",
        "training.global_batch",
        "training.balance",
        "training.workers",
        "training.use_gpu",
        "training.seed",
    )

    input: str = Field(..., description="URI of a crops folder written by preprocess")
    limit: int | None = LIMIT
    model: ModelConfig = Field(default_factory=ModelConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    faults: FaultsConfig = Field(default_factory=FaultsConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)
    price_core_hour: float | None = PRICE
    compare: list[str] = Field(
        [],
        description="two or more recipes (YAML files, or recipe:NAME): train each, and show its numbers on "
        "its own split beside those on people it has not seen; other options apply to all of them",
    )

    @model_validator(mode="after")
    def _seeds_are_for_comparing(self) -> TrainJobConfig:
        if self.training.seeds and not self.compare:
            raise ValueError("training.seeds is for --compare; a training by itself takes training.seed")
        if len(set(self.training.seeds)) < len(self.training.seeds):
            raise ValueError(f"training.seeds has a seed twice: {self.training.seeds}")
        return self

    @model_validator(mode="after")
    def _losses_of_the_sphere_have_one(self) -> TrainJobConfig:
        for name in ("uniformity", "alignment"):
            if getattr(self.training, name) and self.model.head != "sphere":
                raise ValueError(
                    f"training.{name} needs --model.head sphere, whose features have unit length"
                )
        return self

    @model_validator(mode="after")
    def _faults_are_of_plain_recipes(self) -> TrainJobConfig:
        if self.faults.frame_split or self.faults.rotate_fakes:
            if self.training.balance == "paired":
                raise ValueError(
                    "faults.frame_split and rotate_fakes tear apart what training.balance paired pairs"
                )
            if self.augment.fakes != "real":
                raise ValueError(
                    f"faults are shown on real fakes only, augment.fakes is {self.augment.fakes}"
                )
        return self


class EvaluateJobConfig(JobConfig):
    """A bundle's numbers on labelled crops."""

    row_sections: ClassVar[tuple[str, ...]] = ("evaluation",)
    common: ClassVar[tuple[str, ...]] = (
        "evaluation.split",
        "evaluation.aggregation",
        "evaluation.robustness",
        "scoring.use_gpu",
    )

    input: str = Field(..., description="URI of a crops folder, or of a labelled score table")
    also: list[str] = Field([], description="URIs of other data sets, each measured beside the input")
    limit: int | None = LIMIT
    bundle: Bundles = Field(
        [], description="URI of the model bundle, or of several (not needed for score tables)"
    )
    against: Bundles = Field(
        [],
        description="URI of another bundle, or of several as one, measured on the same faces, to see whether "
        "the difference is more than chance",
    )
    labels: str | None = Field(
        None,
        description="URI of a CSV file with video_id and label (real, fake, unsure) in place of the input's "
        "labels, such as the review that a page of scores saves",
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    scoring: InferenceConfig = Field(default_factory=InferenceConfig)
    report: PageConfig = Field(default_factory=PageConfig)


class ScoreJobConfig(JobConfig):
    """Scores for every video of an archive."""

    row_sections: ClassVar[tuple[str, ...]] = ("catalog", "sampling", "detector", "crop", "scoring")
    common: ClassVar[tuple[str, ...]] = (
        "sampling.every_n",
        "detector.keep",
        "scoring.operating_point",
        "scoring.aggregation",
        "scoring.keep_crops",
        "scoring.use_gpu",
        "report.pages",
        "ray.workers",
    )

    input: str = Field(
        ...,
        description="URI of a folder, a bucket or a manifest of videos; or of crops that preprocess or an "
        "earlier score job kept",
    )
    limit: int | None = LIMIT
    bundle: Bundles = Field(
        ...,
        min_length=1,
        description="URI of the model bundle; of several the score is the mean of what each says, calibrated",
    )
    retry_failed: bool = RETRY_FAILED
    remove_gone: bool = REMOVE_GONE
    price_core_hour: float | None = PRICE
    budget: str | None = Field(
        None,
        description="stop after this much new work, such as 2h, 90m or '500 videos'; the tables then "
        "hold what was done, and the same command continues",
    )
    compare_with: str | None = Field(
        None,
        alias="compare-with",
        description="URI of another output of this job; what changed since then is written and summarised",
    )
    catalog: CatalogConfig = Field(default_factory=CatalogConfig)
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    detector: DetectorConfig | None = Field(
        None, description="default: the detector that the bundle was trained with"
    )
    crop: CropConfig | None = Field(None, description="default: the crops that the bundle was trained on")
    scoring: ScoringConfig = Field(default_factory=ScoringConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)

    @model_validator(mode="after")
    def _no_crops_without_faces(self) -> ScoreJobConfig:
        if self.scoring.keep_crops and not self.report.faces:
            raise ValueError("scoring.keep_crops keeps pictures of faces, which report.faces false refuses")
        return self

    @field_validator("budget")
    @classmethod
    def _budget_is_understood(cls, text: str | None) -> str | None:
        if text is not None:
            Budget.parse(text)
        return text


class WatchJobConfig(JobConfig):
    """A file, a camera or a stream as it plays: the running score of each face, and an annotated video."""

    common: ClassVar[tuple[str, ...]] = (
        "watch.every_frame",
        "watch.window_seconds",
        "watch.max_seconds",
        "watch.video_side",
        "scoring.operating_point",
    )

    input: str = Field(
        ...,
        description="what is watched: a file (local or s3://), a camera's device (/dev/video0), or a stream "
        "(rtsp, rtmp, udp, srt, http, ...)",
    )
    bundle: Bundles = Field(..., min_length=1, description="URI of the model bundle, or of several")
    detector: DetectorConfig | None = Field(
        None, description="default: the detector that the bundle was trained with"
    )
    watch: WatchConfig = Field(default_factory=WatchConfig)
    scoring: WatchScoringConfig = Field(default_factory=WatchScoringConfig)


class VerifyJobConfig(JobConfig):
    """Some videos of a finished output scored again, from the source files: what differs is reported."""

    verify: str = Field(..., description="URI of the score job's output to verify")
    output: str = Field("", description="URI of the folder for the report (default: VERIFY/verification)")
    bundle: Bundles = Field([], description="URI of the bundle, or of each (default: where it was then)")
    sample: int = Field(20, ge=1, description="videos to score again, chosen at random")
    seed: int = Field(0, ge=0, description="seed of that choice")
    tolerance: float = Field(1e-3, ge=0, description="largest difference between two scores that is accepted")
    runtime: Literal["auto", "tensorflow", "openvino"] = Field("auto", description="see scoring.runtime")

    @model_validator(mode="before")
    @classmethod
    def _output_beside_what_is_verified(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("verify") and not values.get("output"):
            return {**values, "output": f"{str(values['verify']).rstrip('/')}/verification"}
        return values


class VerdictsJobConfig(JobConfig):
    """Verdicts made again from the face scores of a finished output, under another rule.

    Nothing is decoded or scored. Keys of the section scoring that are not given stay as that output has them.
    """

    common: ClassVar[tuple[str, ...]] = (
        "scoring.operating_point",
        "scoring.threshold",
        "scoring.uncertain",
        "scoring.aggregation",
        "scoring.over_tracks",
        "report.pages",
    )

    input: str = Field(..., description="URI of a finished output of the score job")
    bundle: Bundles = Field(
        [],
        description="URI of a bundle of the same network, with other thresholds or another calibration "
        "(default: that of the input)",
    )
    limit: int | None = LIMIT
    scoring: VerdictConfig = Field(default_factory=VerdictConfig)
    report: UndecodedReportConfig = Field(default_factory=UndecodedReportConfig)


class RemoveJobConfig(JobConfig):
    """Some videos, or all of some people, taken out of a finished output of preprocess or score.

    What stays is as a job on the rest would have made it. Files of the same bytes leave with a video.
    """

    common: ClassVar[tuple[str, ...]] = ()

    output: str = Field(..., description="URI of the output that they are taken out of")
    videos: list[str] = Field([], description="videos, by their video_id")
    people: list[str] = Field(
        [], description="identities: every video leaves that has one as its target_id or source_id"
    )
    bundles: list[str] = Field([], description="URIs of bundles that may have been trained on them")
    report: ThumbnailPageConfig = Field(default_factory=ThumbnailPageConfig)


class ExportJobConfig(JobConfig):
    """A bundle's network as ONNX, OpenVINO, LiteRT or SavedModel, compared with the bundle first."""

    common: ClassVar[tuple[str, ...]] = ()

    bundle: str = Field(..., description="URI of the model bundle")
    format: Literal["onnx", "openvino", "litert", "saved_model"] = Field(
        "onnx", description="what is written; onnx takes the extra 'export'"
    )
    output: str = Field("", description="URI of the folder that is written (default: BUNDLE/export/FORMAT)")
    input: str | None = Field(
        None, description="URI of a crops folder to compare on (default: made pictures, which are no faces)"
    )
    split: str = Field("val", description="split of the crops that are compared")
    crops: int = Field(64, ge=1, description="how many crops are compared")

    @model_validator(mode="before")
    @classmethod
    def _output_beside_the_bundle(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("bundle") and not values.get("output"):
            where = f"{str(values['bundle']).rstrip('/')}/export/{values.get('format', 'onnx')}"
            return {**values, "output": where}
        return values


class AdoptJobConfig(JobConfig):
    """A detector that was made elsewhere, an ONNX or Keras file, to a bundle that the other jobs take."""

    common: ClassVar[tuple[str, ...]] = (
        "foreign.values",
        "foreign.order",
        "foreign.mean",
        "foreign.std",
        "foreign.share",
        "foreign.output",
        "foreign.fake",
        "crop.margin",
    )

    input: str = Field(..., description="URI of the detector: a file *.onnx, or *.keras without own layers")
    calibrate: str | None = Field(
        None,
        description="URI of labelled crops, cut as the detector takes them, that thresholds, calibration and "
        "the numbers of the model card come from (default: none, and no verdicts)",
    )
    split: str = Field("val", description="the split of calibrate")
    limit: int | None = LIMIT
    known: str | None = Field(
        None,
        description="URI of what it was trained on: crops, a manifest, or a folder of the videos; evaluate "
        "then refuses to test on these people",
    )
    known_splits: list[str] = Field(
        [], description="the splits of known that it was trained on (default: all, and what has no split)"
    )
    foreign: ForeignConfig = Field(default_factory=ForeignConfig)
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    detector: DetectorConfig = Field(default_factory=DetectorConfig)
    crop: CropConfig = Field(default_factory=CropConfig)


class LeakcheckJobConfig(JobConfig):
    """What the splits of a data set share, and what gives fakes away without looking at faces."""

    row_sections: ClassVar[tuple[str, ...]] = ("catalog", "leakcheck")
    common: ClassVar[tuple[str, ...]] = ("catalog.splits_dir", "leakcheck.fail_on", "leakcheck.pixels")

    input: str = Field(
        ..., description="URI of a crops folder written by preprocess, or of anything preprocess takes"
    )
    limit: int | None = LIMIT
    catalog: CatalogConfig = Field(default_factory=CatalogConfig)
    leakcheck: LeakcheckConfig = Field(default_factory=LeakcheckConfig)
    report: ThumbnailPageConfig = Field(default_factory=ThumbnailPageConfig)


class BenchmarkJobConfig(CropJobConfig):
    """How fast preprocessing is, beside the naive loop and beside decoding alone, on a few clips."""

    common: ClassVar[tuple[str, ...]] = (
        "benchmark.runs",
        "benchmark.copies",
        "benchmark.only",
        *CropJobConfig.common,
    )

    benchmark: BenchmarkConfig = Field(default_factory=BenchmarkConfig)


class DemoJobConfig(JobConfig):
    """Every job in turn, on a small data set made on the spot."""

    output: str = Field("demo_output", description="local folder that the demo writes")
    seed: int = Field(0, ge=0, description="seed of the data set and of training")
    identities: int = Field(16, ge=2, description="identities made for each split, of one or two people")
    every_n: int = Field(4, ge=1, description="distance in frames between the crops")
    epochs: int = Field(30, ge=1, description="at most so many epochs")
    workers: int = Field(1, ge=1, description="training workers; 2 or more: processes of Ray Train")
