"""Open a video or a still image, list its frames, and decode only what is wanted.

Knows nothing of faces. Everything that can be wrong with a file surfaces as a ``VideoError`` that
carries the status for the tables.

How it decodes: a first pass reads the packets without decoding and gives every frame's presentation
time. A second pass sends the decoder only what the wanted frames need: nothing after the last wanted
frame of a group of pictures, no group without one, and, where the codec marks pictures that no other
picture refers to, none of those unless it is wanted itself. The pixels are those of a full decode.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from deepfake.config import SamplingConfig
from deepfake.sampling import choose
from deepfake.tables import Status

# Demuxers that read one self-contained file. Playlists, concat lists, image sequences and devices,
# which make FFmpeg open other files or connections, are not among them.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,flv,asf,ogg,h264,hevc,m4v,mjpeg,"
    "mxf,wtv,rm,dv,ivf,obu,av1,nut,gif,yuv4mpegpipe,vob,vc1,h263,swf,nsv,rawvideo"
)

# Codecs whose non-reference pictures the decoder can tell from the stream and no other picture needs.
# HEVC is absent: its "sub-layer non-reference" pictures may be referred to by higher sub-layers.
DISPOSABLE_CODECS = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3"})

# Planar 8-bit formats by their chroma steps across and down; of these a part, converted alone, has the
# pixels of the whole (4:2:2 does not: swscale filters it down the picture).
SUBSAMPLING = {
    "yuv420p": (2, 2),
    "yuvj420p": (2, 2),
    "yuv444p": (1, 1),
    "yuvj444p": (1, 1),
}

PROGRESSIVE = (0, 1)  # AV_FIELD_UNKNOWN, AV_FIELD_PROGRESSIVE

IMAGE_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\x00", b"MM\x00*")


class VideoError(Exception):
    """A file that gives no frames, with the status that says why."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class VideoInfo:
    """What the container says, after its packets were counted."""

    codec: str
    width: int  # pixels, before any rotation for display
    height: int
    duration_s: float
    frames_total: int


class Frame:
    """One decoded frame, upright; converted only as far as it is asked for."""

    def __init__(self, index: int, time_s: float, picture: av.VideoFrame | np.ndarray) -> None:
        self.index = index
        self.time_s = time_s
        self._picture: Any = picture
        self._turns = 0 if isinstance(picture, np.ndarray) else quarter_turns(picture.rotation)
        self._rgb: np.ndarray | None = picture if isinstance(picture, np.ndarray) else None

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` in pixels, upright."""
        if isinstance(self._picture, np.ndarray):
            return self._picture.shape[0], self._picture.shape[1]
        height, width = self._picture.height, self._picture.width
        return (width, height) if self._turns % 2 else (height, width)

    def rgb(self) -> np.ndarray:
        """The whole frame: (h, w, 3) uint8 RGB."""
        if self._rgb is None:
            self._rgb = self._upright(self._picture.reformat(format="rgb24").to_ndarray())
        return self._rgb

    def region(self, left: int, top: int, right: int, bottom: int) -> np.ndarray:
        """``rgb()[top:bottom, left:right]`` of a part inside the frame, converted alone where possible."""
        layout = None if self._rgb is not None or self._turns else SUBSAMPLING.get(self._picture.format.name)
        if layout is None:
            return self.rgb()[top:bottom, left:right]
        across, down = layout
        x, y = left - left % across, top - top % down
        width, height = self._picture.width, self._picture.height
        w, h = min(width, right + -right % across) - x, min(height, bottom + -bottom % down) - y
        part = _cut_planes(self._picture, x, y, w, h, across, down)
        return part.reformat(format="rgb24").to_ndarray()[top - y : bottom - y, left - x : right - x]

    def small_bgr(self, rows: int) -> tuple[np.ndarray, float]:
        """``(image, scale)``: (h', w', 3) uint8 BGR, its short side at most ``rows``; scale = h' / h."""
        return self._small(rows, "bgr24")

    def small_grey(self, rows: int) -> tuple[np.ndarray, float]:
        """``(image, scale)``: (h', w') uint8 luma, its short side at most ``rows``; scale = h' / h."""
        return self._small(rows, "gray")

    def _small(self, rows: int, pixel_format: str) -> tuple[np.ndarray, float]:
        height, width = self.size
        scale = min(1.0, rows / min(height, width))
        shape = (max(1, round(height * scale)), max(1, round(width * scale)))
        if isinstance(self._picture, np.ndarray):
            code = cv2.COLOR_RGB2BGR if pixel_format == "bgr24" else cv2.COLOR_RGB2GRAY
            image = cv2.cvtColor(self._picture, code)
            if scale < 1.0:
                image = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA)
            return image, scale
        height, width = shape[::-1] if self._turns % 2 else shape
        small = self._picture.reformat(width=width, height=height, format=pixel_format, interpolation="AREA")
        return self._upright(small.to_ndarray()), scale

    def _upright(self, image: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.rot90(image, self._turns)) if self._turns else image


def _cut_planes(picture: Any, x: int, y: int, w: int, h: int, across: int, down: int) -> Any:
    """A rectangle of a planar 8-bit picture as a picture; x and y are multiples of the chroma steps."""
    part = av.VideoFrame(w, h, picture.format.name)
    part.colorspace, part.color_range = picture.colorspace, picture.color_range
    for number, (source, target) in enumerate(zip(picture.planes, part.planes, strict=True)):
        sx, sy = (across, down) if number else (1, 1)
        rows = np.frombuffer(source, np.uint8).reshape(-1, source.line_size)
        wanted = rows[y // sy : y // sy + target.height, x // sx : x // sx + target.width]
        np.frombuffer(target, np.uint8).reshape(-1, target.line_size)[: target.height, : target.width] = (
            wanted
        )
    return part


def quarter_turns(rotation: float) -> int:
    """Counter-clockwise quarter turns for ``np.rot90`` that undo a display rotation in degrees."""
    return round(rotation / 90.0) % 4


class VideoFile:
    """A video or image on a seekable binary file, its frames listed; use as a context manager.

    Raises ``VideoError``: ``unreadable`` where the bytes are no video, ``unsupported`` where there is no
    video stream, no decoder, or a limit of ``config`` is passed, ``timeout`` past ``deadline``.
    """

    def __init__(
        self, file: BinaryIO, config: SamplingConfig, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = file
        self._config = config
        self._clock = clock
        self._deadline = clock() + config.timeout_seconds
        self._container: Any = None
        self.incomplete: str | None = None  # what was lost on the way, in words
        head = file.read(16)
        file.seek(0)
        if not head:
            raise VideoError(Status.UNREADABLE, "the file is empty")
        self._is_image = head.startswith(IMAGE_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        if self._is_image:
            self._open_image()
        else:
            self._open_video()

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the decoder."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def sample(self) -> Iterator[Frame]:
        """The frames that the sampling policy asks for; see ``frames``."""
        return self.frames(choose(self.times, self.keyframes, self._config))

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Frame]:
        """The frames with these indices (presentation order, from 0); one that is damaged is left out.

        They come in presentation order, but for those that had to be decoded a second time.
        """
        if self._is_image:
            if 0 in indices:
                yield Frame(0, 0.0, self._image)
            return
        yield from self._decode(np.asarray(indices, np.int64))

    # -- still images ---------------------------------------------------------------------------------

    def _open_image(self) -> None:
        data = self._file.read()
        try:
            # Only the header: an image that would unpack to gigabytes is refused before it does.
            with Image.open(self._file) as header:
                width, height, kind = *header.size, (header.format or "image").lower()
        except Image.DecompressionBombError as error:
            raise VideoError(Status.UNSUPPORTED, str(error)) from error
        except (UnidentifiedImageError, OSError, ValueError) as error:
            raise VideoError(Status.UNREADABLE, f"not an image that can be read: {error}") from error
        self._check_size(width, height)
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise VideoError(Status.DECODE_ERROR, f"the {kind} image is damaged")
        self._image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        height, width = self._image.shape[:2]
        self.times = np.zeros(1)
        self.keyframes = np.ones(1, bool)
        self.info = VideoInfo(kind, width, height, 0.0, 1)

    # -- videos ---------------------------------------------------------------------------------------

    def _open_video(self) -> None:
        stream = self._open_stream()
        context = stream.codec_context
        self._check_size(context.width, context.height)
        codec = context.name
        self._disposable = codec in DISPOSABLE_CODECS
        self._list_packets(stream)
        self.info = VideoInfo(codec, context.width, context.height, self._duration, len(self.times))

    def _open_stream(self) -> Any:
        """(Re)open the container at its start; the video stream, with a decoder of one thread."""
        self.close()
        self._file.seek(0)
        try:
            self._container = av.open(
                self._file,
                mode="r",  # else taken from the file, and a temporary one is open for both
                metadata_errors="ignore",
                # Nothing inside a container can make FFmpeg open another file or a connection.
                options={"format_whitelist": FORMATS, "protocol_whitelist": "none"},
            )
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise VideoError(Status.UNREADABLE, f"not a video that can be read: {_words(error)}") from error
        if not self._container.streams.video:
            raise VideoError(Status.UNSUPPORTED, "there is no video stream")
        stream = self._container.streams.best("video") or self._container.streams.video[0]
        context = stream.codec_context
        if context is None:
            raise VideoError(Status.UNSUPPORTED, "there is no decoder for its codec")
        context.thread_count = 1
        context.thread_type = "NONE"
        return stream

    def _list_packets(self, stream: Any) -> None:
        """Fill ``times``, ``keyframes`` and the packets' presentation stamps, without decoding."""
        stamps: list[int | None] = []
        keys: list[bool] = []
        last_duration = 0
        try:
            for packet in self._container.demux(stream):
                if packet.size == 0 and packet.pts is None:
                    continue
                stamps.append(packet.pts)
                keys.append(bool(packet.is_keyframe))
                last_duration = packet.duration or last_duration
                if len(stamps) % 256 == 0:
                    self._check_time()
        except (av.error.FFmpegError, OSError) as error:
            self.incomplete = f"ended early while reading: {_words(error)}"
        if not stamps:
            raise VideoError(Status.DECODE_ERROR, self.incomplete or "there are no frames in the stream")
        base = stream.time_base or Fraction(1, 1000)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self._stamped = (
            # AVI numbers its packets in the order of decoding; FFmpeg passes that on as a time of showing.
            self._container.format.name != "avi"
            and all(stamp is not None for stamp in stamps)
            and len(set(stamps)) == len(stamps)
        )
        if self._stamped:
            order = np.argsort(np.array(stamps, np.int64), kind="stable")
            ordered = np.array(stamps, np.int64)[order]
            self.times = (ordered - ordered[0]) * float(base)
            self.keyframes = np.array(keys)[order]
            self._stamps, self._order = np.array(stamps, np.int64), order
            last_seconds = float(last_duration * base) if last_duration else float(1 / rate)
        else:  # streams without usable stamps: the order of decoding is all there is
            self.times = np.arange(len(stamps)) / float(rate)
            self.keyframes = np.array(keys)
            last_seconds = float(1 / rate)
        self._packet_keys = np.array(keys)
        self._duration = float(self.times[-1]) + last_seconds
        if self._duration > self._config.max_duration_seconds:
            raise VideoError(
                Status.UNSUPPORTED,
                f"{self._duration:.0f} s long, sampling.max_duration_seconds is "
                f"{self._config.max_duration_seconds:.0f}",
            )

    def _decode(self, wanted: np.ndarray) -> Iterator[Frame]:
        if not len(wanted):
            return
        delivered = 0
        for frame in self._decode_stamped(wanted) if self._stamped else self._decode_all(wanted):
            delivered += 1
            yield frame
        if delivered < len(wanted) and self.incomplete is None:
            lost = len(wanted) - delivered
            self.incomplete = f"{lost} of {len(wanted)} sampled frames could not be decoded"

    def _decode_stamped(self, wanted: np.ndarray) -> Iterator[Frame]:
        """Decode what the wanted frames need, and pick them by their presentation stamp.

        Where what a container calls a key frame is not enough to start from (periodic intra refresh,
        damage), the decoder withholds frames; those are decoded again from the start of the file.
        """
        index_of = {int(self._stamps[self._order[i]]): int(i) for i in wanted}
        needed = needed_packets(self._stamps, self._packet_keys, set(index_of))
        yield from self._decode_needed(needed, index_of)
        if index_of and not needed[: int(np.flatnonzero(needed)[-1])].all():
            yield from self._decode_needed(np.ones(len(needed), bool), index_of)

    def _decode_needed(self, needed: np.ndarray, index_of: dict[int, int]) -> Iterator[Frame]:
        """Send the needed packets; frames whose stamp is in ``index_of`` come out, and leave it."""
        stream = self._open_stream()
        context = stream.codec_context
        skip_disposable = self._disposable and context.field_order in PROGRESSIVE
        wanted = set(index_of)
        previous = -1
        for position, packet in enumerate(self._packets(stream)):
            if position >= len(needed) or not needed[position]:
                continue
            if position != previous + 1:  # a gap: nothing before it may be referred to
                yield from self._picked(self._send(context, None), index_of)
                context.flush_buffers()
            previous = position
            context.skip_frame = "NONREF" if skip_disposable and packet.pts not in wanted else "DEFAULT"
            for picture in self._send(context, packet):
                if picture.interlaced_frame:  # fields may come in packets of their own
                    skip_disposable = False
                yield from self._picked([picture], index_of)
            if not index_of:
                return
            self._check_time()
        yield from self._picked(self._send(context, None), index_of)

    def _decode_all(self, wanted: np.ndarray) -> Iterator[Frame]:
        """Decode everything and count; for streams without usable stamps."""
        stream = self._open_stream()
        context = stream.codec_context
        chosen, last = set(wanted.tolist()), int(wanted[-1])
        index = -1
        for packet in [*self._packets(stream), None]:
            for picture in self._send(context, packet):
                index += 1
                if index in chosen and not picture.is_corrupt:
                    yield self._frame(index, float(self.times[index]), picture)
                if index >= last:
                    return
            self._check_time()

    def _picked(self, pictures: Sequence[Any], index_of: dict[int, int]) -> Iterator[Frame]:
        for picture in pictures:
            if picture.pts in index_of and not picture.is_corrupt:
                index = index_of.pop(picture.pts)
                yield self._frame(index, float(self.times[index]), picture)

    def _frame(self, index: int, time_s: float, picture: Any) -> Frame:
        self._check_size(picture.width, picture.height)
        return Frame(index, time_s, picture)

    def _packets(self, stream: Any) -> Iterator[Any]:
        try:
            for packet in self._container.demux(stream):
                if packet.size or packet.pts is not None:
                    yield packet
        except (av.error.FFmpegError, OSError) as error:
            self.incomplete = self.incomplete or f"ended early while reading: {_words(error)}"

    def _send(self, context: Any, packet: Any) -> list[Any]:
        """Decode one packet; damage is remembered, and decoding goes on with the next."""
        try:
            return list(context.decode(packet))
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self.incomplete = self.incomplete or f"damaged: {_words(error)}"
            return []

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._config.max_pixels:
            raise VideoError(
                Status.UNSUPPORTED,
                f"frames of {width}x{height} pixels, sampling.max_pixels is {self._config.max_pixels}",
            )

    def _check_time(self) -> None:
        if self._clock() > self._deadline:
            raise VideoError(
                Status.TIMEOUT, f"took longer than sampling.timeout_seconds {self._config.timeout_seconds:g}"
            )


def needed_packets(stamps: np.ndarray, keys: np.ndarray, wanted: set[int]) -> np.ndarray:
    """Which packets must be decoded so that the frames with the ``wanted`` stamps come out.

    Parameters
    ----------
    stamps, keys : (n,) int64, (n,) bool
        Presentation stamp and key flag of each packet, in decoding order.

    Returns
    -------
    (n,) bool: for each wanted packet everything from the last key frame that is shown no later than it.
    A frame that is decoded after a key frame but shown before it (an open group of pictures) thus starts
    from the key frame before.
    """
    needed = np.zeros(len(stamps), bool)
    key_positions = np.flatnonzero(keys)
    for position in np.flatnonzero([int(stamp) in wanted for stamp in stamps]):
        before = key_positions[: np.searchsorted(key_positions, position, side="right")]
        usable = before[stamps[before] <= stamps[position]]
        start = int(usable[-1]) if len(usable) else 0
        needed[start : position + 1] = True
    return needed


def _words(error: BaseException) -> str:
    """An FFmpeg error without the object addresses that would make two runs differ."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def open_local(path: str | Path, config: SamplingConfig) -> VideoFile:
    """A local file as a ``VideoFile`` (which then owns the open file)."""
    return VideoFile(open(path, "rb"), config)
