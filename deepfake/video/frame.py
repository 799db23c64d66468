"""One decoded frame, in whichever form it is asked for: whole, a part, small, in colour or grey."""

import itertools
import struct
from fractions import Fraction
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type as SideData

from deepfake.video.colour import is_standard, to_standard

# Planar 8-bit formats by their chroma steps across and down; of these a part, converted alone, has the
# pixels of the whole (4:2:2 does not: swscale filters it down the picture).
SUBSAMPLING = {"yuv420p": (2, 2), "yuvj420p": (2, 2), "yuv444p": (1, 1), "yuvj444p": (1, 1)}

# PyAV names the side data of FFmpeg 7 and raises at a picture with any other, such as EXIF since FFmpeg 8.
SideData._missing_ = classmethod(lambda kinds, value: kinds.VIDEO_HINT)  # type: ignore[method-assign,assignment]

FROM_RGB = {"bgr24": cv2.COLOR_RGB2BGR, "gray": cv2.COLOR_RGB2GRAY}


class Orientation(NamedTuple):
    """How a stored picture is shown: rows and columns change places, then each may be mirrored.

    All eight that a display matrix can ask for, as phones, front cameras and editors write them, in the
    container or in an SEI message of the stream.
    """

    transposed: bool = False
    mirrored: bool = False  # left and right
    upended: bool = False  # top and bottom

    def apply(self, image: np.ndarray) -> np.ndarray:
        """A stored picture (h, w, ...) as it is shown."""
        if self == UPRIGHT:
            return image
        shown = image.swapaxes(0, 1) if self.transposed else image
        return np.ascontiguousarray(shown[:: -1 if self.upended else 1, :: -1 if self.mirrored else 1])


UPRIGHT = Orientation()


def read_orientation(picture: Any) -> Orientation | None:
    """Of a decoded ``av.VideoFrame``; None where it says nothing.

    The container's word, which each picture has and has first, counts before that of the stream. An angle
    between quarter turns is taken to the nearest.
    """
    if SideData.DISPLAYMATRIX not in (found := picture.side_data):
        return None
    # By number: by kind, PyAV gives the last of several, and only its 18 lists them.
    several = (found[number] for number in itertools.count())
    data = next(one for one in several if one.type == SideData.DISPLAYMATRIX)
    # A stored place (x, y) is shown at (ax + cy, bx + dy): libavutil/display.h.
    a, b, _, c, d = struct.unpack("=5i", bytes(data)[:20])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


class Frame:
    """One decoded frame as a standard display shows it: upright, of square pixels, in BT.709's colours.

    It is converted only as far as is asked for.
    """

    def __init__(
        self,
        index: int,
        time_s: float,
        picture: av.VideoFrame | np.ndarray,
        pixel_aspect: Fraction | None = None,
        orientation: Orientation | None = None,
    ) -> None:
        """``pixel_aspect`` is the width of a stored pixel over its height; of what is shown it is 1.

        ``orientation`` is that of a decoded picture which says nothing of its own.
        """
        self.index = index
        self.time_s = time_s
        self._picture: Any = picture
        self._stored = (
            (picture.shape[0], picture.shape[1])
            if isinstance(picture, np.ndarray)
            else square_size(picture.width, picture.height, pixel_aspect)[::-1]
        )
        self._shown = UPRIGHT
        if not isinstance(picture, np.ndarray):
            self._shown = read_orientation(picture) or orientation or UPRIGHT
        self._rgb: np.ndarray | None = picture if isinstance(picture, np.ndarray) else None

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` in square pixels, upright: boxes and crops are in these."""
        height, width = self._stored
        return (width, height) if self._shown.transposed else (height, width)

    def to_rgb(self) -> np.ndarray:
        """The whole frame: (h, w, 3) uint8 RGB."""
        if self._rgb is None:
            how: dict[str, Any] = {}
            if not self._has_square_pixels:
                how = {"width": self._stored[1], "height": self._stored[0], "interpolation": "BICUBIC"}
            self._rgb = self._shown.apply(_convert(self._picture, "rgb24", **how))
        return self._rgb

    @property
    def _has_square_pixels(self) -> bool:
        return self._stored == (self._picture.height, self._picture.width)

    def cut_region(self, left: int, top: int, right: int, bottom: int) -> np.ndarray:
        """``to_rgb()[top:bottom, left:right]`` of a part inside the frame, converted alone where possible."""
        layout = None
        if self._rgb is None and self._shown == UPRIGHT and self._has_square_pixels:
            layout = SUBSAMPLING.get(self._picture.format.name)
        if layout is None:
            return self.to_rgb()[top:bottom, left:right]
        across, down = layout
        if self._picture.width % across or self._picture.height % down:
            return self.to_rgb()[top:bottom, left:right]  # swscale goes another way for the whole
        x, y = left - left % across, top - top % down
        width, height = self._picture.width, self._picture.height
        w, h = min(width, right + -right % across) - x, min(height, bottom + -bottom % down) - y
        part = _cut_planes(self._picture, x, y, w, h, across, down)
        return _convert(part, "rgb24")[top - y : bottom - y, left - x : right - x]

    def to_picture(self, width: int, height: int) -> av.VideoFrame:
        """The whole frame as an encoder of H.264 takes it, 4:2:0, of this size; by way of RGB if need be."""
        stored = self._picture
        if (
            isinstance(stored, np.ndarray)
            or self._shown != UPRIGHT
            or not self._has_square_pixels
            or not is_standard(stored.color_trc, stored.color_primaries)
        ):
            stored = av.VideoFrame.from_ndarray(self.to_rgb(), format="rgb24")
        picture = stored.reformat(width, height, "yuv420p", threads=1)
        picture.pict_type = 0  # the encoder's own choice of key frames
        return picture

    def shrink_bgr(self, rows: int) -> tuple[np.ndarray, float]:
        """``(image, scale)``: (h', w', 3) uint8 BGR, its short side at most ``rows``; scale = h' / h."""
        return self._small(rows, "bgr24")

    def shrink_grey(self, rows: int) -> tuple[np.ndarray, float]:
        """``(image, scale)``: (h', w') uint8 luma, its short side at most ``rows``; scale = h' / h."""
        return self._small(rows, "gray")

    def _small(self, rows: int, pixel_format: str) -> tuple[np.ndarray, float]:
        height, width = self.size
        scale = min(1.0, rows / min(height, width))
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        if isinstance(self._picture, np.ndarray):
            image = cv2.cvtColor(self._picture, FROM_RGB[pixel_format])
            if scale < 1.0:
                image = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
            return image, scale
        height, width = shape[::-1] if self._shown.transposed else shape
        small = _convert(self._picture, pixel_format, width=width, height=height, interpolation="AREA")
        return self._shown.apply(small), scale


def square_size(width: int, height: int, pixel_aspect: Fraction | None) -> tuple[int, int]:
    """``(width, height)`` of a picture once its pixels are square: the side that is too short is longer."""
    if not pixel_aspect or pixel_aspect <= 0:
        return width, height
    if pixel_aspect > 1:
        return round(width * pixel_aspect), height
    return width, round(height / pixel_aspect)


def _convert(picture: Any, pixel_format: str, **how: Any) -> np.ndarray:
    """A picture as an array of "rgb24", "bgr24" or "gray", perhaps of another size, by this thread alone.

    Unasked, swscale starts a thread for each CPU and each picture, for less than a millisecond's work.
    """
    if is_standard(picture.color_trc, picture.color_primaries):
        return picture.reformat(format=pixel_format, threads=1, **how).to_ndarray()
    signal = picture.reformat(format="rgb48le", threads=1, **how).to_ndarray()
    rgb = to_standard(signal, picture.color_trc, picture.color_primaries)
    return rgb if pixel_format == "rgb24" else cv2.cvtColor(rgb, FROM_RGB[pixel_format])


def _cut_planes(picture: Any, x: int, y: int, w: int, h: int, across: int, down: int) -> Any:
    """A rectangle of a planar 8-bit picture as a picture; x and y are multiples of the chroma steps."""
    part = av.VideoFrame(w, h, picture.format.name)
    for name in ("colorspace", "color_range", "color_trc", "color_primaries"):
        setattr(part, name, getattr(picture, name))
    for number, (source, target) in enumerate(zip(picture.planes, part.planes, strict=True)):
        sx, sy = (across, down) if number else (1, 1)
        rows = np.frombuffer(source, np.uint8).reshape(-1, source.line_size)
        cut = np.frombuffer(target, np.uint8).reshape(-1, target.line_size)[: target.height, : target.width]
        cut[:] = rows[y // sy : y // sy + target.height, x // sx : x // sx + target.width]
    return part
