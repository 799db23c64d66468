"""What is known of crops and videos besides the faces, as numbers in named groups; probes learn from it.

Nothing here should tell fake from real. Where it does, a detector can learn it instead of the forgery.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deepfake.catalog.identity_overlap import read_identity_groups
from deepfake.crops.facts import choose_evenly, read_floats

# group -> its features; the group is what a warning names first
GROUPS: dict[str, tuple[str, ...]] = {
    "border pixels": ("corner_black", "edge_black", "edge_constant", "edge_repeated"),
    "box": ("box_x", "box_y", "box_aspect", "box_area", "box_outside"),
    "framing": ("padded", "shift", "shrink"),
    "source size": ("box_side",),
    "colour": ("brightness", "contrast", "red_minus_green", "blue_minus_green"),
    "sharpness": ("sharpness",),
    "compressed size": ("crop_bits_per_pixel",),
    "detection": ("detector_score", "share_with_face", "faces_per_frame"),
    "resolution": ("width", "height"),
    "codec": ("codec", "file_type"),
    "duration": ("duration_s", "frames_total", "frames_per_second"),
    "bit rate": ("bits_per_second", "bits_per_pixel"),
}
WORDS = {
    "corner_black": "share of black pixels in the corners",
    "edge_black": "share of black pixels at the edge",
    "edge_constant": "share of the edge that does not change along it",
    "edge_repeated": "share of the edge that repeats the pixels inside it",
    "box_x": "where the face is across the frame",
    "box_y": "where the face is down the frame",
    "box_aspect": "width of the face box over its height",
    "box_area": "share of the frame that the face box covers",
    "box_outside": "how far the face box leaves the frame",
    "padded": "share of the crop that is mirrored",
    "shift": "how far the crop was moved into the frame",
    "shrink": "how much smaller the crop was made to fit into the frame",
    "box_side": "size of the face in source pixels",
    "brightness": "mean grey level",
    "contrast": "standard deviation of the grey levels",
    "red_minus_green": "mean red less mean green",
    "blue_minus_green": "mean blue less mean green",
    "sharpness": "log of the variance of the Laplacian",
    "crop_bits_per_pixel": "bits a pixel of the stored picture",
    "detector_score": "the detector's confidence",
    "share_with_face": "share of the sampled frames with a face",
    "faces_per_frame": "faces a sampled frame",
    "width": "width of the video",
    "height": "height of the video",
    "codec": "codec",
    "file_type": "extension of the file name",
    "duration_s": "duration",
    "frames_total": "number of frames",
    "frames_per_second": "frame rate",
    "bits_per_second": "bit rate",
    "bits_per_pixel": "bits a pixel of the video",
}


@dataclass(frozen=True)
class Samples:
    """Labelled pictures for the probes, some of each video; arrays of one length, sorted by video."""

    values: dict[str, np.ndarray]  # feature -> (n,) float64, nan where not known
    label: np.ndarray  # (n,) int8, 0 real, 1 fake
    video: np.ndarray  # (n,) int64, number of the video
    group: np.ndarray  # (n,) int64, number of the identity group

    def count_videos(self, label: int) -> int:
        """How many videos of a class there are."""
        return len(np.unique(self.video[self.label == label]))


def collect_samples(pictures: pa.Table, videos: pa.Table, crops_per_video: int) -> Samples:
    """Samples of the labelled videos that were looked at, evenly over each video's crops.

    Where no picture was looked at at all, each video is one sample of what is known of its file.

    ``pictures`` is ``scan.PICTURES`` sorted by video; ``videos`` is table ``videos`` sorted by it.
    """
    known = videos.filter(pc.is_valid(videos["label"]))
    rows = pictures.filter(pc.is_in(pictures["video_id"], known["video_id"]))
    rows = rows.filter(rows["brightness"].is_valid())
    facts = _measure_videos(known)
    if pictures.num_rows:
        place = pc.index_in(rows["video_id"], known["video_id"].combine_chunks()).to_numpy().astype(np.int64)
        chosen = choose_evenly(place, crops_per_video)
        rows, place = rows.take(chosen), place[chosen]
        names = [name for group in GROUPS.values() for name in group if name not in facts]
        own = {name: read_floats(rows[name]) for name in names}
    else:
        place, own = np.arange(known.num_rows), {}
    of_video = {name: values[place] for name, values in facts.items()}
    group = np.unique(read_identity_groups(known), return_inverse=True)[1]
    label = known["label"].to_numpy().astype(np.int8)
    return Samples({**own, **of_video}, label[place], place, group[place].astype(np.int64))


def _measure_videos(videos: pa.Table) -> dict[str, np.ndarray]:
    """Features of whole files, one value a video."""
    size, duration, frames, width, height, sampled, with_face, faces = (
        read_floats(videos[name])
        for name in (
            "size_bytes", "duration_s", "frames_total", "width", "height", "frames_sampled",
            "frames_with_face", "faces",
        )
    )  # fmt: skip
    types = [PurePosixPath(name).suffix.lower() for name in videos["video_id"].to_pylist()]
    return {
        "width": width,
        "height": height,
        "codec": _encode_names(videos["codec"].to_pylist()),
        "file_type": _encode_names(types),
        "duration_s": duration,
        "frames_total": frames,
        "frames_per_second": _divide(frames, duration),
        "bits_per_second": _divide(8 * size, duration),
        "bits_per_pixel": _divide(8 * size, width * height * frames),
        "share_with_face": _divide(with_face, sampled),
        "faces_per_frame": _divide(faces, sampled),
    }


def _encode_names(names: Sequence[str | None]) -> np.ndarray:
    """Names as numbers, the most frequent first, so that a single cut can part the rare from the usual."""
    counts = Counter(name for name in names if name)
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    number = {name: float(index) for index, name in enumerate(ordered)}
    return np.array([number.get(name or "", np.nan) for name in names])


def _divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
