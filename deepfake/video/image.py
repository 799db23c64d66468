"""A still image, which counts as a video of one frame."""

from collections.abc import Callable
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from deepfake.io.tables import Status
from deepfake.video.errors import VideoError

MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*")


def is_image(head: bytes) -> bool:
    """Whether a file's first 16 bytes are those of an image."""
    return head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read_image(file: BinaryIO, check_size: Callable[[int, int], None]) -> tuple[str, np.ndarray]:
    """``(kind, (h, w, 3) uint8 RGB)``; raises ``VideoError`` where it cannot be read.

    ``check_size`` gets width and height before anything is unpacked, and may raise.
    """
    data = file.read()
    try:
        # Only the header: an image that would unpack to gigabytes is refused before it does.
        with Image.open(file) as header:
            width, height, kind = *header.size, (header.format or "image").lower()
    except Image.DecompressionBombError as error:
        raise VideoError(Status.UNSUPPORTED, str(error)) from error
    except UnidentifiedImageError as error:  # whose words name an object by its address
        raise VideoError(Status.UNREADABLE, "not an image that can be read: of no known kind") from error
    except (OSError, ValueError) as error:
        raise VideoError(Status.UNREADABLE, f"not an image that can be read: {error}") from error
    check_size(width, height)
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise VideoError(Status.DECODE_ERROR, f"the {kind} image is damaged")
    return kind, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
