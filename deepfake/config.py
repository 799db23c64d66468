"""Typed configuration of every job: sections, their keys, defaults and meaning.

Plain pydantic models and nothing else; ``deepfake.cli`` reads them from YAML and the command line.
A key that is not here is an error, so each key is documented here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from deepfake.budget import Budget

SPLITS = ("train", "val", "test")
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of every section: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CatalogConfig(Section):
    """Which videos there are, and what is known of them."""

    layout: Literal["auto", "ffpp", "celeb_df", "dfdc", "dfd", "folders", "manifest"] = Field(
        "auto",
        description="ffpp: the FaceForensics++ tree; celeb_df: Celeb-DF v1 or v2; dfdc: parts with their "
        "metadata.json; dfd: DeepFakeDetection's actors outside FF++'s tree; folders: labels from folder "
        "names, if any; manifest: a CSV or Parquet table; auto: whichever fits the input",
    )
    splits_dir: str | None = Field(
        None, description="folder with the official train.json, val.json and test.json pair lists"
    )
    split_fractions: tuple[Fraction, Fraction, Fraction] = Field(
        (0.72, 0.14, 0.14), description="train, val, test shares where no official split applies"
    )
    split_seed: int = Field(0, description="seed of the split by identity group")
    assign_splits: dict[str, Literal["train", "val", "test"]] = Field(
        {},
        description='splits by hand, as glob pattern of video_id -> split, e.g. {"real/a*": "val"}',
    )
    datasets: list[str] | None = Field(None, description="keep only these FF++ datasets (youtube, actors)")
    methods: list[str] | None = Field(None, description="keep only these manipulation methods")
    compressions: list[str] | None = Field(None, description="keep only these compressions (raw, c23, c40)")
    dedupe: bool = Field(
        True, description="files with the same bytes are decoded once; copies get status skipped_duplicate"
    )

    @model_validator(mode="after")
    def _fractions_sum_to_one(self) -> CatalogConfig:
        if abs(sum(self.split_fractions) - 1.0) > 1e-6:
            raise ValueError(f"catalog.split_fractions must sum to 1, got {self.split_fractions}")
        return self


class SamplingConfig(Section):
    """Which frames of a video are looked at, and the limits a video must keep."""

    policy: Literal["every_n", "per_second", "count", "keyframes"] = Field(
        "every_n",
        description="every_n: each n-th frame; per_second: n a second of presentation time; "
        "count: n spread evenly; keyframes: key frames only (fast first look)",
    )
    every_n: int = Field(30, ge=1, description="distance in frames for every_n")
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
        4096, ge=256, description="memory that such a child may take for one video, in MiB"
    )
    long_video_mb: float = Field(
        256.0, gt=0, description="videos larger than this, in MB, are cut into pieces that workers share"
    )
    piece_seconds: float = Field(
        600.0, gt=0, description="length of such a piece; it ends at the next key frame that allows it"
    )


class DetectorConfig(Section):
    """How faces are found, and which of them are kept."""

    name: Literal["auto", "haar", "yunet"] = Field(
        "auto", description="auto: yunet where its model file is given or cached, haar otherwise"
    )
    yunet_model: str | None = Field(
        None, description="path or URI of face_detection_yunet_2023mar.onnx (checksum verified)"
    )
    rows: int = Field(360, ge=64, description="frames are searched with the short side bounded to this")
    min_face: float = Field(
        0.125, gt=0, le=1, description="smallest face looked for, as a share of the frame's height"
    )
    yunet_threshold: float = Field(0.6, ge=0, le=1, description="lowest YuNet score that counts as a face")
    haar_neighbors: int = Field(5, ge=1, description="overlapping hits that make a Haar detection")
    keep: Literal["largest", "all", "track"] = Field(
        "largest",
        description="largest: one face a frame, that of the most prominent person (largest, "
        "surest, longest seen); all: every face; track: every face seen in min_track_frames sampled frames",
    )
    min_track_frames: int = Field(2, ge=1, description="shorter tracks are dropped when keep is track")
    boxes: Literal["own", "from_original"] = Field(
        "own",
        description="from_original: fakes of FF++ are cropped where their frame-aligned original "
        "has its faces, so that crop geometry cannot tell real from fake",
    )


class CropConfig(Section):
    """How a face box becomes a stored image."""

    size: int = Field(224, ge=32, le=1024, description="side of the square crop in pixels")
    margin: float = Field(0.3, ge=0, le=2, description="added to each side, as a share of the box side")
    align: Literal["none", "eyes"] = Field(
        "none",
        description="eyes: faces are turned about the centre of their box until the eyes are level; needs a "
        "detector with landmarks (yunet)",
    )
    format: Literal["png", "webp", "jpeg"] = Field(
        "png", description="png and webp are lossless; jpeg uses one quality for both classes"
    )
    jpeg_quality: int = Field(95, ge=1, le=100, description="quality when format is jpeg")


class ModelConfig(Section):
    """EfficientNetB0 and its head."""

    weights: str = Field(
        "imagenet", description="imagenet, none, or the path of a backbone .weights.h5 file (no top)"
    )
    dense_units: int = Field(256, ge=1, description="width of the hidden dense layer")
    l2: float = Field(1e-3, ge=0, description="L2 penalty on the hidden dense layer's kernel")
    dropout: Fraction = Field(0.5, description="dropout before the hidden layer")
    head_dropout: Fraction = Field(0.3, description="dropout before the output")
    drop_connect: Fraction = Field(
        0.2, description="stochastic depth of the backbone's last block; off where the backbone is frozen"
    )


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
    brightness: Fraction = Field(0.1, description="largest relative change of brightness")
    contrast: Fraction = Field(0.1, description="largest relative change of contrast")
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


class TrainingConfig(Section):
    """The distributed training loop."""

    epochs: int = Field(12, ge=1, description="most epochs trained, both phases together")
    head_epochs: int = Field(
        1,
        ge=0,
        description="the first so many epochs train the head alone; at least one is left to fine-tuning",
    )
    head_learning_rate: float = Field(1e-3, gt=0, description="learning rate while the head trains alone")
    fine_tune: Literal["none", "top", "all"] = Field(
        "all",
        description="what else learns after that: nothing (the head goes on to the end), the last blocks "
        "of the backbone, or all of it",
    )
    fine_tune_blocks: int = Field(
        2, ge=1, le=7, description="how many of EfficientNetB0's seven blocks fine_tune: top takes"
    )
    learning_rate: float = Field(3e-4, gt=0, description="learning rate of fine-tuning")
    freeze_batch_norm: bool = Field(
        True, description="keep the backbone's BatchNorm statistics and scales as loaded"
    )
    schedule: Literal["plateau", "cosine"] = Field(
        "cosine",
        description="cosine: from the phase's rate to min_learning_rate over the phase's epochs; plateau: "
        "reduced where val_loss gets no better",
    )
    warmup_epochs: float = Field(
        0.5, ge=0, description="the rate rises linearly over so much of the first epochs of each phase"
    )
    reduce_lr_patience: int = Field(3, ge=0, description="plateau: epochs before the rate is reduced")
    reduce_lr_factor: float = Field(0.2, gt=0, lt=1, description="plateau: by this factor")
    min_learning_rate: float = Field(1e-6, ge=0, description="the rate never falls below this")
    early_stopping_patience: int = Field(
        5, ge=0, description="epochs without a better val_loss that end a phase"
    )
    workers: int = Field(1, ge=1, description="Ray Train worker processes")
    use_gpu: bool = Field(False, description="one GPU for each worker")
    threads_per_worker: int | None = Field(
        None, ge=1, description="TensorFlow threads of a CPU worker (default: cores divided by workers)"
    )
    global_batch: int = Field(32, ge=1, description="crops an update over all workers together")
    accumulate: int = Field(
        1,
        ge=1,
        description="each worker takes its share of a batch in so many parts, one after the other, which "
        "needs less memory and gives the same update; the backbone's BatchNorm must be frozen",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="labels are this share nearer to 0.5 in the loss",
    )
    weight_decay: float = Field(
        0.0, ge=0, description="AdamW's decay of kernels, a step and unit of learning rate; 0: Adam"
    )
    clip_norm: float | None = Field(
        None, gt=0, description="longest gradient, by the norm over all weights and the global batch"
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="validate and save an exponential moving average of the weights with this momentum, "
        "such as 0.999; 0: the weights themselves",
    )
    balance: Literal["none", "class", "method", "paired"] = Field(
        "method",
        description="none: every crop once an epoch; class: as many fakes as reals, others of the larger "
        "class in the next epoch; method: and as many of each manipulation method; paired: each real beside "
        "a fake of the same frame, in one batch and augmented alike",
    )
    shuffle_row_groups: int = Field(
        16, ge=1, description="row groups of the crops (64 each) that are shuffled and held at once"
    )
    mixed_precision: Literal["none", "mixed_bfloat16", "mixed_float16"] = Field(
        "none", description="compute type of the network's layers"
    )
    jit_compile: bool = Field(
        False, description="compile the training step with XLA; one worker only, and slower on most CPUs"
    )
    seed: int = Field(0, ge=0, description="seeds weights, order, augmentation and dropout")
    train_split: str = Field("train", description="value of the split column to train on")
    val_split: str = Field("val", description="value of the split column for model choice")
    allow_overlap: bool = Field(
        False, description="train although identities are shared between the splits (numbers will lie)"
    )
    max_failures: int = Field(3, ge=-1, description="worker failures survived before the job fails")
    resume: bool = Field(
        True, description="go on from the output's last checkpoint; false: replace what the output holds"
    )
    deterministic: bool = Field(True, description="use deterministic TensorFlow kernels")

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> TrainingConfig:
        if self.jit_compile and self.workers > 1:
            raise ValueError(
                f"training.jit_compile works with one worker only, training.workers is {self.workers}: XLA "
                "cannot compile the sums over workers inside the step"
            )
        if self.accumulate > 1 and self.fine_tune != "none" and not self.freeze_batch_norm:
            raise ValueError(
                f"training.accumulate {self.accumulate} needs training.freeze_batch_norm true: statistics "
                "of parts of a batch are not those of the batch"
            )
        return self


class FaultsConfig(Section):
    """Known mistakes of other recipes, to show what they do to numbers; never for a detector to be used."""

    frame_split: bool = Field(
        False,
        description="validate on a random fifth of the training split's crops, not on other people: both "
        "show the same videos",
    )
    rotate_fakes: bool = Field(
        False,
        description="before the split, copy every fake, turned by 5 degrees, which leaves black corners",
    )
    divide_by_255: bool = Field(
        False, description="divide crops by 255 before a network that rescales them itself"
    )
    bgr: bool = Field(False, description="show the network blue for red and red for blue")

    def names(self) -> list[str]:
        """The mistakes that are switched on."""
        return [name for name, is_on in self if is_on]


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
    batch_size: int = Field(32, ge=1, description="crops that TensorFlow scores at once")
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

    @model_validator(mode="after")
    def _first_pass_is_for_cpus(self) -> ScoringConfig:
        if self.first_pass and self.use_gpu:
            raise ValueError("first_pass works on CPUs only; leave out use_gpu")
        return self


class ReportConfig(Section):
    """The pages and plots written for people."""

    title: str | None = Field(None, description="heading of the page")
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


class StorageConfig(Section):
    """How URIs are reached. Credentials come from the standard chain only, never from here."""

    endpoint_url: str | None = Field(
        None, description="S3 endpoint (default: AWS_ENDPOINT_URL, then AWS itself)"
    )
    region: str | None = Field(None, description="S3 region (default: the standard chain)")
    anonymous: bool = Field(False, description="unsigned S3 requests, for public buckets")
    max_attempts: int = Field(5, ge=1, description="tries of one S3 request, with backoff")


class RayConfig(Section):
    """Where the work runs."""

    address: str | None = Field(
        None,
        description="a running cluster (auto, host:port, ray://...); default: RAY_ADDRESS, "
        "else an embedded Ray on this machine",
    )
    num_cpus: int | None = Field(None, ge=1, description="CPUs of an embedded Ray (default: all)")
    object_store_mb: int = Field(512, ge=80, description="object store of an embedded Ray, in MiB")
    workers: int | None = Field(
        None, ge=1, description="parallel workers of the job (default: one a CPU of the cluster)"
    )


class JobConfig(BaseModel):
    """What every job takes besides its sections."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    row_sections: ClassVar[tuple[str, ...]] = ()  # the sections that decide what rows come out

    output: str = Field(..., description="URI of the folder that the job writes")
    limit: int | None = Field(None, ge=1, description="take only the first N videos")
    dry_run: bool = Field(
        False, alias="dry-run", description="print the resolved configuration and the plan, then exit"
    )
    max_failed: Fraction = Field(
        0.05, alias="max-failed", description="share of videos that may fail before the exit status is 3"
    )
    storage: StorageConfig = Field(default_factory=StorageConfig)
    ray: RayConfig = Field(default_factory=RayConfig)


class PreprocessJobConfig(JobConfig):
    """Videos to face crops."""

    row_sections: ClassVar[tuple[str, ...]] = ("catalog", "sampling", "detector", "crop")

    input: str = Field(..., description="URI of an FF++ root, a folder, a bucket or a manifest")
    catalog: CatalogConfig = Field(default_factory=CatalogConfig)
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    detector: DetectorConfig = Field(default_factory=DetectorConfig)
    crop: CropConfig = Field(default_factory=CropConfig)


class TrainJobConfig(JobConfig):
    """Crops to a model bundle."""

    row_sections: ClassVar[tuple[str, ...]] = ("model", "augment", "training", "faults")

    input: str = Field(..., description="URI of a crops folder written by preprocess")
    model: ModelConfig = Field(default_factory=ModelConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    faults: FaultsConfig = Field(default_factory=FaultsConfig)
    compare: list[str] = Field(
        [],
        description="two or more recipes (YAML files): train each, and show its numbers on its own split "
        "beside those on people it has not seen; other options apply to all of them",
    )

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

    input: str = Field(..., description="URI of a crops folder, or of a labelled score table")
    also: list[str] = Field([], description="URIs of other data sets, each measured beside the input")
    bundle: str | None = Field(None, description="URI of the model bundle (not needed for score tables)")
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    scoring: ScoringConfig = Field(default_factory=ScoringConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)


class ScoreJobConfig(JobConfig):
    """Scores for every video of an archive."""

    row_sections: ClassVar[tuple[str, ...]] = ("catalog", "sampling", "detector", "crop", "scoring")

    input: str = Field(
        ...,
        description="URI of a folder, a bucket or a manifest of videos; or of crops that preprocess or an "
        "earlier score job kept",
    )
    bundle: str = Field(..., description="URI of the model bundle")
    budget: str | None = Field(
        None,
        description="stop after so much new work, as in 2h, 90m or '500 videos'; the tables then hold what "
        "was done, and the same command goes on",
    )
    compare_with: str | None = Field(
        None,
        alias="compare-with",
        description="URI of another output of this job; what changed against it is written and summed up",
    )
    catalog: CatalogConfig = Field(default_factory=CatalogConfig)
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    detector: DetectorConfig | None = Field(
        None, description="default: the detector that the bundle was trained with"
    )
    crop: CropConfig | None = Field(None, description="default: the crops that the bundle was trained on")
    scoring: ScoringConfig = Field(default_factory=ScoringConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)

    @field_validator("budget")
    @classmethod
    def _budget_is_understood(cls, text: str | None) -> str | None:
        if text is not None:
            Budget.parse(text)
        return text


class VerifyJobConfig(JobConfig):
    """Scores some videos of a finished output again, from the source files, and reports what differs."""

    verify: str = Field(..., description="URI of the score job's output to verify")
    output: str = Field("", description="URI of the folder for the report (default: VERIFY/verification)")
    bundle: str | None = Field(None, description="URI of the bundle (default: where it was then)")
    sample: int = Field(20, ge=1, description="videos to score again, chosen at random")
    seed: int = Field(0, ge=0, description="seed of that choice")
    tolerance: float = Field(1e-3, ge=0, description="largest difference between two scores that is none")
    runtime: Literal["auto", "tensorflow", "openvino"] = Field("auto", description="see scoring.runtime")

    @model_validator(mode="before")
    @classmethod
    def _output_beside_what_is_verified(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("verify") and not values.get("output"):
            return {**values, "output": f"{str(values['verify']).rstrip('/')}/verification"}
        return values


class LeakcheckJobConfig(JobConfig):
    """What the splits of a data set share, and what gives fakes away without looking at faces."""

    row_sections: ClassVar[tuple[str, ...]] = ("catalog", "leakcheck")

    input: str = Field(
        ..., description="URI of a crops folder written by preprocess, or of anything preprocess takes"
    )
    catalog: CatalogConfig = Field(default_factory=CatalogConfig)
    leakcheck: LeakcheckConfig = Field(default_factory=LeakcheckConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)


class BenchmarkJobConfig(PreprocessJobConfig):
    """The rate of preprocessing beside the naive loop and the decoding floor, on a few clips."""

    benchmark: BenchmarkConfig = Field(default_factory=BenchmarkConfig)


class DemoJobConfig(JobConfig):
    """Every job in turn, on a small data set made on the spot."""

    output: str = Field("demo_output", description="local folder that the demo writes")
    seed: int = Field(0, ge=0, description="seed of the data set and of training")
    identities: int = Field(4, ge=2, description="identities made out of each of the three people")
    every_n: int = Field(15, ge=1, description="distance in frames between the crops")
    epochs: int = Field(2, ge=1, description="most epochs trained")
    workers: int = Field(2, ge=1, description="Ray Train worker processes")


def sha256_of(value: Any) -> str:
    """Hash of a JSON-representable value, the same on every machine and in every process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


# Keys that say where a file lies or how long to wait, not which rows come out.
_NOT_IN_HASH = {
    "detector": {"yunet_model"},
    "evaluation": {"heat_maps", "prevalence", "robustness", "robustness_crops", "robustness_videos"},
    "scoring": {"runtime", "batch_size", "use_gpu"},  # every row names the runtime that scored it
    "sampling": {"timeout_seconds", "isolate", "max_memory_mb", "long_video_mb", "piece_seconds"},
}


def config_sha256(config: JobConfig) -> str:
    """Hash of those sections that decide which rows a job writes (not of where or how fast it runs)."""
    return sha256_of(
        {
            name: section.model_dump(mode="json", exclude=_NOT_IN_HASH.get(name))
            for name in config.row_sections
            if (section := getattr(config, name)) is not None
        }
    )
