"""YuNet through OpenCV's FaceDetectorYN: boxes, scores and five landmarks.

The model file (MIT licence, OpenCV Zoo) is not part of the package: it comes from a path or URI, from
the cache, or from an address; its checksum is pinned here.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from deepfake.config import DetectorConfig
from deepfake.errors import UsageError
from deepfake.faces.detectors.base import Detection, choose_looks
from deepfake.io.cache import FetchError, fetch_file, find_cache_folder
from deepfake.io.storage import Storage
from deepfake.io.uri import make_absolute
from deepfake.video.frame import Frame

FILE_NAME = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
SIZE = 232589
# The same weights for pictures of any size, which OpenCV 5 wants: accepted where somebody has it.
LATER_FILE_NAME = "face_detection_yunet_2026may.onnx"
LATER_SHA256 = "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0"
# Two hosts of that file, by commit: github.com/opencv/opencv_zoo keeps it in Git LFS, whose budget has run
# out at times, and its authors moved their models to Hugging Face.
ADDRESSES = (
    "https://media.githubusercontent.com/media/opencv/opencv_zoo/47534e27c9851bb1128ccc0102f1145e27f23f98/"
    f"models/face_detection_yunet/{FILE_NAME}",
    "https://huggingface.co/opencv/face_detection_yunet/resolve/3cc26e7f1014a5ee5d74a42acee58bafc9d0a310/"
    f"{FILE_NAME}",
)

_CARRIED = "data:application/octet-stream;base64,"  # RFC 2397


class YuNetDetector:
    """A detector from the bytes of the ONNX file.

    Where one face is wanted, a third of the rows is looked at first (a ninth of the pixels), then half of
    them, and all only where that finds nothing. The first look is taken only where its largest face has as
    many rows in that picture as the smallest has in the second, so that small faces are placed no worse.
    """

    name = "yunet"

    def __init__(self, config: DetectorConfig, model: bytes) -> None:
        rows, smallest = config.rows, config.min_face
        looks = [(rows // 3, smallest * 3 / 2), (rows // 2, smallest)] if config.keep == "largest" else []
        self._config = config
        self._quick = [_SizedNetwork(_make_network(config, model), *look) for look in looks]
        self._network = _make_network(config, model)

    def detect(self, frame: Frame) -> list[Detection]:
        """Faces of an upright frame in its pixels."""
        rows, smallest = choose_looks(self._config, frame)
        looks = [*self._quick, _SizedNetwork(self._network, rows, smallest)]
        return next((faces for look in looks if (faces := look.find_faces(frame, smallest))), [])


@dataclass(frozen=True)
class _SizedNetwork:
    """The network for pictures of one size: another size makes it lay out all its layers anew."""

    network: Any
    rows: int  # the short side of a frame is bounded to this
    enough: float  # the largest face must be of this share of the frame's short side, or none is taken

    def find_faces(self, frame: Frame, smallest: float) -> list[Detection]:
        """Faces of at least the share ``smallest`` of the frame's short side."""
        bgr, scale = frame.shrink_bgr(self.rows)
        height, width = bgr.shape[:2]
        self.network.setInputSize((width, height))
        _, rows = self.network.detect(bgr)
        found = [_make_detection(row) for row in (rows if rows is not None else ())]
        short = min(height, width)
        if not any(face.h >= self.enough * short for face in found):
            return []
        return [face.scale(1.0 / scale) for face in found if face.h >= smallest * short]


def _make_network(config: DetectorConfig, model: bytes) -> Any:
    return cv2.FaceDetectorYN.create(
        "onnx",
        np.frombuffer(model, np.uint8),
        np.empty(0, np.uint8),
        (320, 320),
        config.yunet_threshold,
        0.3,  # overlap at which the weaker of two boxes is dropped
        5000,
    )


def _make_detection(face: np.ndarray) -> Detection:
    """A row of FaceDetectorYN: x, y, w, h, five points, score."""
    x, y, w, h, *points, score = map(float, face)
    return Detection(x, y, w, h, score, tuple(points))


def locate_model(config: DetectorConfig, storage: Storage, insist: bool) -> str:
    """URI of a model file whose checksum is right: the configured one, the cached one, or one just fetched.

    Raises ``UsageError`` where a configured or cached file is absent or another one, and ``FetchError`` where
    it cannot be fetched; ``insist``: it is tried, however short ago it failed.
    """
    if config.yunet_model is not None:
        uri = make_absolute(config.yunet_model)
        try:
            _check_model(uri, storage.read_bytes(uri))
        except FileNotFoundError:
            raise UsageError(f"detector.yunet_model: {uri}: no such file") from None
        return uri
    for name in (FILE_NAME, LATER_FILE_NAME):
        cached = find_cache_folder() / name
        if cached.is_file():
            _check_model(str(cached), cached.read_bytes())
            return str(cached)
    return str(fetch_file(FILE_NAME, SHA256, SIZE, list_addresses(), insist))


def list_addresses() -> Sequence[str]:
    """Where the file is fetched from; DEEPFAKE_YUNET_URLS names others, separated by blanks, or none."""
    named = os.environ.get("DEEPFAKE_YUNET_URLS")
    return ADDRESSES if named is None else named.split()


def explain_absence(error: FetchError) -> str:
    """Why there is no model file, and how to get it."""
    return (
        f"YuNet's file {FILE_NAME} could not be fetched ({error}); get it from {ADDRESSES[-1]} and put it "
        f"into {find_cache_folder()}, or name it with --detector.yunet_model"
    )


def read_model(config: DetectorConfig, storage: Storage) -> bytes:
    """The bytes of the model that ``config`` names or, after ``carry_model``, holds."""
    if config.yunet_model is None:
        raise UsageError("detector.name yunet needs detector.yunet_model")
    if config.yunet_model.startswith(_CARRIED):
        return base64.b64decode(config.yunet_model.removeprefix(_CARRIED))
    return storage.read_bytes(config.yunet_model)


def carry_model(config: DetectorConfig, storage: Storage) -> DetectorConfig:
    """The configuration with the model's 230 kB in place of its name, for machines that lack the file."""
    text = base64.b64encode(read_model(config, storage)).decode()
    return config.model_copy(update={"yunet_model": _CARRIED + text})


def _check_model(uri: str, model: bytes) -> None:
    found = hashlib.sha256(model).hexdigest()
    if found not in (SHA256, LATER_SHA256):
        raise UsageError(f"{uri}: sha256 {found[:12]}..., expected {SHA256[:12]}...; it is not {FILE_NAME}")


if __name__ == "__main__":  # for the image: the file into the cache, unless there is nowhere to ask
    if list_addresses():
        locate_model(DetectorConfig(), Storage(), insist=True)
