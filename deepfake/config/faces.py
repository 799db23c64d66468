"""How faces are found, and become crops."""

from typing import Literal

from pydantic import Field

from deepfake.config.base import Section


class DetectorConfig(Section):
    """How faces are found, and which of them are kept."""

    name: Literal["auto", "haar", "yunet"] = Field(
        "auto",
        description="auto: that of the begun output or of the bundle; else yunet, whose file is fetched "
        "on first use, or haar, with a warning, where it cannot be had",
    )
    yunet_model: str | None = Field(
        None,
        description="path or URI of face_detection_yunet_2023mar.onnx or _2026may.onnx (checksum verified)",
    )
    rows: int = Field(360, ge=64, description="frames are searched with the short side bounded to this")
    min_face: float = Field(
        0.125, gt=0, le=1, description="smallest face looked for, as a share of the frame's short side"
    )
    min_face_pixels: int = Field(
        224,
        ge=24,
        description="a face of so many pixels counts even where it is a smaller share than min_face",
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

    size: int = Field(
        224,
        ge=32,
        le=1024,
        description="side of the square crop in pixels, which a network that is trained on them takes",
    )
    margin: float = Field(
        0.15, ge=0, le=2, description="what is added on each side, as a share of the box side"
    )
    reach: float = Field(
        0.35,
        ge=0,
        le=2,
        description="how far beyond the box the stored surroundings reach, as a share of the box side; "
        "training moves and zooms in them; no more than margin: none are stored",
    )
    align: Literal["none", "eyes"] = Field(
        "none",
        description="eyes: faces are turned about the centre of their box until the eyes are level; needs a "
        "detector with landmarks (yunet)",
    )
    format: Literal["png", "webp", "jpeg"] = Field(
        "png", description="png and webp are lossless; jpeg uses one quality for both classes"
    )
    jpeg_quality: int = Field(95, ge=1, le=100, description="quality when format is jpeg")

    @property
    def surround(self) -> int:
        """Pixels that are stored on each side of the crop."""
        return max(0, round(self.size * (self.reach - self.margin) / (1.0 + 2.0 * self.margin)))
