"""Several "identities" out of one person: the face warped a little, other colours, another background.

Parameters are drawn once from a seed; the rest is a pure function of them.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from deepfake.pipelines.demo.people import Image, Person

# Points of a face that are pushed about, in shares of its box: eyes, cheeks, nose, mouth corners, chin.
CONTROL_POINTS = np.array(
    [
        [0.31, 0.38],
        [0.69, 0.38],
        [0.18, 0.62],
        [0.82, 0.62],
        [0.5, 0.55],
        [0.37, 0.77],
        [0.63, 0.77],
        [0.5, 0.97],
    ]
)
PUSH = 0.05  # largest displacement, as a share of the box
REACH = 0.17  # of each push, as a share of the box
STEP = 4  # smooth fields are made at a quarter of the size


@dataclass(frozen=True)
class Identity:
    """One made-up identity: a person and how it is changed."""

    person: Person
    push: NDArray[np.float64]  # (points, 2) displacements in shares of the box
    gain: NDArray[np.float64]  # (3,) factor of R, G, B
    gamma: float
    saturation: float
    backdrop: NDArray[np.float64]  # (3, 4, 3) factors of a coarse colour field behind the head
    phase: int  # first frame of the person's footage
    _looks: dict[int, Image] = field(default_factory=dict)  # frames made so far

    def look_up_frame(self, index: int) -> tuple[Image, NDArray[np.float64]]:
        """``(image, face box)`` at a time: the footage is played forward and back without end."""
        last = len(self.person.frames) - 1
        position = (index + self.phase) % (2 * last) if last else 0
        position = min(position, 2 * last - position)
        box = self.person.boxes[position]
        if position not in self._looks:
            self._looks[position] = self.change(self.person.frames[position], box)
        return self._looks[position], box

    def change(self, image: Image, box: NDArray[np.float64]) -> Image:
        """The person's frame as this identity; (height, width, 3) uint8 RGB in and out."""
        return self._coloured(self._warped(image, box), box)

    def _warped(self, image: Image, box: NDArray[np.float64]) -> Image:
        height, width = image.shape[:2]
        ys, xs = np.mgrid[0:height:STEP, 0:width:STEP].astype(np.float32)
        moves = np.zeros((*xs.shape, 2), np.float32)
        for point, push in zip(CONTROL_POINTS * box[2:] + box[:2], self.push * box[2:], strict=True):
            near = np.exp(-((xs - point[0]) ** 2 + (ys - point[1]) ** 2) / (2 * (REACH * box[2]) ** 2))
            moves += near[..., None] * push.astype(np.float32)
        moves = cv2.resize(moves, (width, height), interpolation=cv2.INTER_CUBIC)
        ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
        return cv2.remap(
            image, xs - moves[..., 0], ys - moves[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )

    def _coloured(self, image: Image, box: NDArray[np.float64]) -> Image:
        light = (np.arange(256) / 255.0) ** self.gamma * 255.0
        table = np.clip(light[:, None] * self.gain, 0, 255).astype(np.float32)
        pixels = cv2.LUT(image, table[None])
        grey = pixels.mean(axis=-1, keepdims=True)
        pixels = grey + self.saturation * (pixels - grey)
        behind = self._behind(box, *image.shape[:2])
        pixels *= cv2.resize(behind, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        return np.clip(pixels, 0, 255).astype(np.uint8)

    def _behind(self, box: NDArray[np.float64], height: int, width: int) -> NDArray[np.float32]:
        """The backdrop's factors of colours at a quarter of the size: 1 on the head, theirs well away."""
        x, y, w, h = box
        ys, xs = np.mgrid[0:height:STEP, 0:width:STEP].astype(np.float32)
        distance = np.hypot((xs - (x + w / 2)) / (0.7 * w), (ys - (y + h / 2)) / (0.85 * h))
        away = np.clip((distance - 1.0) / 0.5, 0.0, 1.0)[..., None]
        backdrop = cv2.resize(self.backdrop.astype(np.float32), xs.shape[::-1], interpolation=cv2.INTER_CUBIC)
        return np.asarray(1.0 + (backdrop - 1.0) * away, np.float32)


def draw_identity(person: Person, rng: np.random.Generator) -> Identity:
    """A new identity of a person."""
    return Identity(
        person=person,
        push=rng.uniform(-PUSH, PUSH, CONTROL_POINTS.shape),
        gain=rng.uniform(0.92, 1.08, 3),
        gamma=float(rng.uniform(0.85, 1.2)),
        saturation=float(rng.uniform(0.75, 1.15)),
        backdrop=rng.uniform(0.7, 1.15, (3, 4, 1)) * rng.uniform(0.9, 1.1, (3, 4, 3)),
        phase=int(rng.integers(0, 2 * len(person.frames))),
    )
