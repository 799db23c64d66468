"""Sections on where videos are, and how they become crops."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from deepfake.config.base import Fraction, Section


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
