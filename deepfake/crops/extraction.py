"""One video to face crops: open, sample, find, track, choose, cut. A plain function; Ray is elsewhere.

Preprocess and score both go through here, so a face is cropped alike for training and for judgement.
"""

import errno
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.errors import AddressError, UsageError
from deepfake.faces import cropping, encoding, tracking
from deepfake.faces.detectors.base import Detection, Detector, detect_faces
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import PROVENANCE_COLUMNS, Status
from deepfake.io.tables.videos import make_video_row
from deepfake.outcome import get_clock
from deepfake.video.credentials import read_credentials
from deepfake.video.errors import VideoError
from deepfake.video.frame import Frame
from deepfake.video.source import VideoSource, open_frames, open_video

log = logging.getLogger(__name__)

LONGEST_TEXT = 2000  # letters of what a row says of itself

CANDIDATES = 3  # faces a frame that may turn out to be the most prominent person's


@dataclass(frozen=True)
class ExtractConfig:
    """What decides which crops come out of a video."""

    sampling: SamplingConfig
    detector: DetectorConfig
    crop: CropConfig
    crops_kept: bool = True  # whether it is worth it to make their bytes few; the pixels are the same
    trust_list: str | None = None  # PEM, may be "": content credentials are read; None: they are not

    def __post_init__(self) -> None:
        if self.crop.align != "none" and self.detector.name == "haar":
            raise UsageError(
                f"crop.align {self.crop.align} needs landmarks, which haar does not give; use "
                "--detector.name yunet, or --crop.align none"
            )


@dataclass(frozen=True)
class ExtractionResult:
    """A row of table ``videos`` and what was found in the video: a table ``crops``.

    Of a long video that is cut: table ``packets`` from its survey, table ``pieces`` from a piece.
    """

    video: dict[str, Any]
    table: pa.Table

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of the table."""
        return self.table.to_pylist()


@dataclass(frozen=True)
class EncodedFace:
    """A finished crop."""

    crop: bytes
    sharpness: float
    surround: bytes | None = None


@dataclass
class SampledFrame:
    """One sampled frame: what was found, and the finished crops of the faces that may be kept."""

    index: int
    time_s: float
    size: tuple[int, int]
    faces: list[Detection]
    images: dict[int, EncodedFace]  # by position in ``faces``


def extract(
    entry: Mapping[str, Any], config: ExtractConfig, detector: Detector, storage: Storage
) -> ExtractionResult:
    """Crops of one catalog row. Whatever is wrong with the file becomes a status, never an exception."""
    found: list[dict[str, Any]] = []

    def work(video: dict[str, Any]) -> None:
        with get_clock().on("decode"):
            source = open_video(entry["uri"], storage, config.sampling)
        with source:
            video |= list_source_facts(source, config)
            look = make_face_finder(entry, config, detector, storage)
            kept = find_faces(source.video.sample(), config, look)
            source.require_unchanged(entry["uri"], storage)
        found.extend(make_crop_rows(video, kept, source.video.incomplete, config))

    video = attempt(entry, detector.name, work)
    return ExtractionResult(video, tables.from_rows("crops", found if video["status"] == Status.OK else []))


Work = Callable[[dict[str, Any]], None]


def attempt(entry: Mapping[str, Any], detector: str, work: Work) -> dict[str, Any]:
    """The row of table ``videos`` that ``work`` completes; what is wrong with the file becomes a status."""
    clock = get_clock()
    columns = {"decode_seconds": ("read", "decode"), "detect_seconds": ("detect",), "crop_seconds": ("crop",)}
    before = {name: clock.read(*stages) for name, stages in columns.items()}
    video = make_video_row(entry) | {"detector": detector}
    try:
        work(video)
    except VideoError as error:
        video |= describe_failure(error.status, str(error), error.retry)
    except AddressError as error:  # is one everywhere
        video |= describe_failure(Status.UNREADABLE, str(error), retry=False)
    except OSError as error:
        video |= describe_failure(Status.UNREADABLE, _describe_error(error), retry=True)
    except (MemoryError, cv2.error) as error:
        video |= describe_failure(Status.DECODE_ERROR, _describe_error(error), retry=False)
    spent = {name: clock.read(*stages) - before[name] for name, stages in columns.items()}
    video = spent | video  # pieces that are joined bring their own
    if video["status"] != Status.OK:
        log.info("%s: %s: %s", entry["video_id"], video["status"], video.get("status_detail"))
    return video


def describe_failure(status: Status, words: str, retry: bool) -> dict[str, Any]:
    """The columns of table ``videos`` that say what became of a video without crops."""
    return {
        "status": status, "status_detail": words[:LONGEST_TEXT], "retry": retry, "frames_with_face": 0,
        "faces": 0,
    }  # fmt: skip


def make_crop_rows(
    video: dict[str, Any], kept: list[SampledFrame], incomplete: str | None, config: ExtractConfig
) -> list[dict[str, Any]]:
    """Rows of table ``crops`` for the faces that the policy keeps, and the video's row completed.

    ``kept`` are all frames that were looked at, in order. Raises ``VideoError`` where there are none.
    """
    video["frames_sampled"] = len(kept)
    video["status_detail"] = incomplete
    if not kept:
        raise VideoError(Status.DECODE_ERROR, incomplete or "no frame could be decoded")
    video["height"], video["width"] = kept[0].size
    rows = [_make_crop_row(video, *face, config.crop) for face in _choose_faces(kept, config.detector)]
    video["frames_with_face"] = len({row["frame_index"] for row in rows})
    video["faces"] = len(rows)
    video["status"] = Status.OK if rows else Status.NO_FACE
    return rows


def list_source_facts(source: VideoSource, config: ExtractConfig) -> dict[str, Any]:
    """What an open video says of itself, for its row of table ``videos``."""
    read = {name: getattr(source, name) for name in ("content_sha256", "etag", "size_bytes")}
    if config.trust_list is not None:
        read |= read_credentials(source.file, source.content_sha256 is not None, config.trust_list)
    return {**read, **vars(source.video.info)}


FaceFinder = Callable[[Frame], list[Detection]]


def make_face_finder(
    entry: Mapping[str, Any],
    config: ExtractConfig,
    detector: Detector,
    storage: Storage,
    indices: np.ndarray | None = None,
) -> FaceFinder:
    """What finds the faces of a frame: the detector, or the faces of the frame-aligned original.

    ``indices`` ``(k,)`` integers are the frames that will be looked at; default: whatever is sampled.
    """
    original, detect = entry.get("original_uri"), partial(detect_faces, detector=detector)
    if config.detector.boxes == "own" or original is None:
        return detect
    with open_frames(original, storage, config.sampling) as source:
        wanted = source.choose_frames()
        if indices is not None:
            wanted = np.intersect1d(wanted, indices)
        looked = find_faces(source.decode_frames(wanted), config, detect)
        found = {kept.index: (kept.size, kept.faces) for kept in looked}

    def look(frame: Frame) -> list[Detection]:
        size, faces = found.get(frame.index, (frame.size, []))
        if size != frame.size:
            raise VideoError(
                Status.UNSUPPORTED,
                f"frames of {frame.size[1]}x{frame.size[0]} pixels, those of its original are "
                f"{size[1]}x{size[0]}: its boxes do not fit (detector.boxes from_original)",
            )
        return faces

    return look


def find_faces(frames: Iterator[Frame], config: ExtractConfig, look: FaceFinder) -> list[SampledFrame]:
    """Look at every frame; of each only the finished crops are kept, not the frame. In order."""
    kept: list[SampledFrame] = []
    clock = get_clock()
    while True:
        with clock.on("decode"):
            frame = next(frames, None)
        if frame is None:
            return sorted(kept, key=lambda frame: frame.index)
        with clock.on("detect"):
            faces = look(frame)
        with clock.on("crop"):
            kept.append(cut_faces(frame, faces, config))


def cut_faces(frame: Frame, faces: list[Detection], config: ExtractConfig) -> SampledFrame:
    """Crop at once, so that no frame outlives its turn. Who is most prominent is known only at the end."""
    wanted = list(range(len(faces)))
    if config.detector.keep == "largest":
        wanted = sorted(wanted, key=lambda i: -faces[i].area * faces[i].score)[:CANDIDATES]
    encoded = {i: _encode_face(cropping.cut_face(frame, faces[i], config.crop), config) for i in wanted}
    return SampledFrame(frame.index, frame.time_s, frame.size, faces, encoded)


def _encode_face(cut: cropping.CutFace, config: ExtractConfig) -> EncodedFace:
    surround = None
    if not config.crops_kept:
        crop = encoding.encode_temporary(cut.crop, config.crop)
    else:
        crop = encoding.encode_crop(cut.crop, config.crop)
        if config.crop.surround:
            surround = encoding.encode_surround(cut.wide, config.crop)
    # Last, and not by chance: right after ISA-L has compressed, FFmpeg needs twice its time for the frames
    # that follow (1080p: 2.1 s instead of 1.1), as if it left the vector registers' upper halves in use;
    # after a filter of OpenCV it does not.
    return EncodedFace(crop, cropping.measure_sharpness(cut.crop), surround)


def _choose_faces(kept: list[SampledFrame], config: DetectorConfig) -> list[tuple[SampledFrame, int, int]]:
    """``(frame, face_index, track_id)`` of the faces that the policy keeps."""
    faces = [frame.faces for frame in kept]
    numbers = tracking.assign_tracks(faces)
    weight = tracking.measure_prominence(faces, numbers)
    lengths = Counter(number for frame_numbers in numbers for number in frame_numbers)
    chosen = []
    for frame, frame_numbers in zip(kept, numbers, strict=True):
        indices = sorted(frame.images)
        if config.keep == "largest":
            indices = sorted(indices, key=lambda i: -weight[frame_numbers[i]])[:1]
        elif config.keep == "track":
            indices = [i for i in indices if lengths[frame_numbers[i]] >= config.min_track_frames]
        chosen += [(frame, i, frame_numbers[i]) for i in indices]
    return chosen


def _make_crop_row(
    video: Mapping[str, Any], frame: SampledFrame, face_index: int, track_id: int, config: CropConfig
) -> dict[str, Any]:
    face, image = frame.faces[face_index], frame.images[face_index]
    square = cropping.place_square((face.x, face.y, face.w, face.h), frame.size, config, face.landmarks)
    return {
        "video_id": video["video_id"],
        "frame_index": frame.index,
        "time_s": frame.time_s,
        "face_index": face_index,
        "track_id": track_id,
        "box": {"x": face.x, "y": face.y, "w": face.w, "h": face.h},
        "detector": video["detector"],
        "detector_score": face.score,
        "landmarks": None if face.landmarks is None else list(face.landmarks),
        "frame_width": frame.size[1],
        "frame_height": frame.size[0],
        "sharpness": image.sharpness,
        "padded": square.padded,
        "shift": square.shift,
        "shrink": square.shrink,
        "crop": image.crop,
        "crop_format": config.format,
        "surround": image.surround,
        **{name: video[name] for name in PROVENANCE_COLUMNS},
    }


def _describe_error(error: BaseException) -> str:
    """An error without the path, which the row names already."""
    if isinstance(error, MemoryError):
        return "more memory is needed than sampling.max_memory_mb, or than a worker's share of its machine"
    if isinstance(error, FileNotFoundError):  # of S3 it says the name alone
        return error.strerror or os.strerror(errno.ENOENT)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
