"""A still image, a video of one frame; an animated WebP or PNG or a TIFF of pages, one of several."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

import cv2
import numpy as np
import pi_heif
from PIL import Image, ImageOps, UnidentifiedImageError

from deepfake.io.tables import Status
from deepfake.video.colour import is_standard, name_transfer, to_standard
from deepfake.video.errors import VideoError

pi_heif.register_heif_opener(decode_threads=1, thumbnails=False)  # Pillow reads HEIC by it

JPEG = b"\xff\xd8\xff"
MAGIC = (JPEG, b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*")

BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")  # of files that hold pictures, no sequences

SERIES = frozenset({"PNG", "WEBP", "TIFF"})  # in other kinds, further pictures are previews of the first
STREAM_BYTES = 16 * 2**20  # of which to tell a stream of JPEG pictures
PAGE_SECONDS = 1.0  # of a page, which has no time
HASTY_SECONDS = 0.1  # of a picture that is to be shown for no time: what browsers make of it


def is_image(head: bytes) -> bool:
    """Whether a file's first 16 bytes are those of an image."""
    if head[4:8] == b"ftyp":
        return head[8:12] in BRANDS
    return head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def is_jpeg_stream(file: BinaryIO) -> bool:
    """Whether JPEG pictures follow each other (bare Motion JPEG), and no list says that they are previews."""
    file.seek(0)
    data = file.read(STREAM_BYTES)
    return data.startswith(JPEG) and data.count(b"\xff\xd9\xff\xd8\xff") > 1 and b"MPF\0" not in data[: 2**16]


class ImageFile:
    """The pictures of an image file.

    Attributes
    ----------
    kind : str
        ``jpeg``, ``png``, ...
    width, height : int
        Of the first picture as it is stored.
    seconds : list of float
        How long each picture is shown; of a still image 0.
    notes, incomplete, transfer : str or None
        What was chosen, and what could not be read, in words; transfer characteristics of a wide picture.

    Raises ``VideoError`` where nothing can be read. ``check_size`` gets width and height before anything is
    unpacked, ``check_time`` is called with each picture of several; both may raise.
    """

    def __init__(
        self,
        file: BinaryIO,
        check_size: Callable[[int, int], None],
        check_time: Callable[[], None] = lambda: None,
    ) -> None:
        self._file, self._check_size, self._check_time = file, check_size, check_time
        self.notes: str | None = None
        self.transfer: str | None = None
        self.incomplete: str | None = None
        try:
            # Only the header: an image that would unpack to gigabytes is refused before it does.
            with Image.open(file) as header:
                (self.width, self.height), kind = header.size, header.format or "image"
                check_size(self.width, self.height)
                self._is_series = kind in SERIES and getattr(header, "n_frames", 1) > 1
        except Image.DecompressionBombError as error:
            raise VideoError(Status.UNSUPPORTED, str(error)) from error
        except UnidentifiedImageError as error:  # whose words name an object by its address
            raise VideoError(Status.UNREADABLE, "not an image that can be read: of no known kind") from error
        except (OSError, ValueError) as error:
            raise VideoError(Status.UNREADABLE, f"not an image that can be read: {error}") from error
        self.kind = kind.lower()
        if not self._is_series:
            self.seconds = [0.0]
            self._still = self._read_still()
            return
        shown = HASTY_SECONDS if kind != "TIFF" else PAGE_SECONDS
        self.seconds = [picture.info.get("duration", 0) / 1000 or shown for picture in self._read_series()]
        if not self.seconds:
            raise VideoError(Status.DECODE_ERROR, self.incomplete or f"the {self.kind} image has no picture")
        if kind == "TIFF":
            self.notes = f"{len(self.seconds)} pages, taken as frames {PAGE_SECONDS:g} s apart"

    def read_pictures(self, indices: set[int]) -> Iterator[tuple[int, np.ndarray]]:
        """``(index, (h, w, 3) uint8 RGB)`` of these pictures, in order."""
        if not self._is_series:
            yield from [(0, self._still)] if 0 in indices else []
            return
        for index, picture in enumerate(self._read_series()):
            if index in indices:
                yield index, _make_rgb(picture)
            if index >= max(indices, default=0):
                return

    def _read_still(self) -> np.ndarray:
        self._file.seek(0)
        if self.kind in ("heif", "avif", "tiff"):
            try:
                if self.kind == "heif" and (wide := self._read_wide()) is not None:
                    return wide
                self._file.seek(0)
                with Image.open(self._file) as opened:
                    return _make_rgb(opened)
            except (OSError, SyntaxError, EOFError, ValueError) as error:
                raise VideoError(Status.DECODE_ERROR, f"the {self.kind} image is damaged: {error}") from error
        bgr = cv2.imdecode(np.frombuffer(self._file.read(), np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise VideoError(Status.DECODE_ERROR, f"the {self.kind} image is damaged")
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)

    def _read_wide(self) -> np.ndarray | None:
        """A HEIC photograph of high dynamic range as a standard display shows it; None of another."""
        opened = pi_heif.open_heif(self._file, convert_hdr_to_8bit=False)
        profile = opened.info.get("nclx_profile") or {}
        transfer, primaries = profile.get("transfer_characteristics", 2), profile.get("color_primaries", 2)
        if is_standard(transfer, primaries):
            return None
        self.transfer = name_transfer(transfer)
        signal = np.asarray(opened)[..., :3]  # a higher depth than 8 bits fills 16
        if signal.dtype == np.uint8:
            signal = signal.astype(np.uint16) * 257
        return to_standard(signal, transfer, primaries)

    def _read_series(self) -> Iterator[Image.Image]:
        """Each picture, whole, as a viewer shows it; the next takes its place."""
        self._file.seek(0)
        with Image.open(self._file) as opened:
            # What stands for an animation where animations are not known is none of its pictures.
            first = int(getattr(opened, "default_image", False))
            for number in range(first, getattr(opened, "n_frames", 1)):
                self._check_time()
                try:
                    opened.seek(number)
                    self._check_size(*opened.size)
                    opened.load()
                except (OSError, SyntaxError, EOFError, ValueError) as error:
                    self.incomplete = f"damaged from picture {number - first} on: {error}"
                    return
                yield opened


def _make_rgb(picture: Image.Image) -> np.ndarray:
    """(h, w, 3) uint8 RGB of a picture, turned as its EXIF says; transparency is dropped."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I;16"):
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    return np.asarray(picture.convert("RGB"))
