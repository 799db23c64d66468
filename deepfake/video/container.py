"""A video container: opened so that it can do no harm, and its packets listed without decoding them."""

from array import array
from collections.abc import Callable
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
from av.stream import Discard, Disposition

from deepfake.io.tables import Status
from deepfake.video.errors import VideoError
from deepfake.video.mp4 import MediaFile
from deepfake.video.packets import Packets

# Demuxers that read one self-contained file. Playlists, concat lists, image sequences and devices,
# which make FFmpeg open other files or connections, are not among them.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,flv,asf,ogg,h264,hevc,m4v,mjpeg,"
    "mxf,wtv,rm,dv,ivf,obu,av1,nut,gif,yuv4mpegpipe,vob,vc1,h263,swf,nsv,rawvideo"
)

# Titles and comments, which nothing here reads, may be in any encoding. PyAV 19 keeps such bytes as they are
# and has no choice of what becomes of them; 18 raises unless told.
_METADATA = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


def open_stream(file: BinaryIO | MediaFile, parse: bool = True) -> tuple[Any, Any]:
    """``(container, its video stream)`` of a file at its start, with a decoder of one thread.

    ``parse`` false: FFmpeg does not look into the packets, whose content may be hidden.
    """
    # Nothing inside a container can make FFmpeg open another file or a connection.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    if not parse:
        options["fflags"] = "noparse"
    try:
        # the mode would else be taken from the file, and a temporary one is open for both
        opened = av.open(file, mode="r", options=options, **_METADATA)
    except (av.error.FFmpegError, ValueError) as error:  # an OSError that is none of them: see ``attempt``
        raise VideoError(
            Status.UNREADABLE, f"not a video that can be read: {describe_error(error)}"
        ) from error
    try:
        return opened, _choose_stream(opened)
    except VideoError:
        opened.close()
        raise


def _choose_stream(opened: Any) -> Any:
    """The stream to decode; no other is read."""
    streams = [stream for stream in opened.streams.video if not stream.disposition & Disposition.attached_pic]
    if not streams:
        covers = " beside a cover picture" if opened.streams.video else ""
        raise VideoError(Status.UNSUPPORTED, f"there is no video stream{covers}")
    best = opened.streams.best("video")
    stream = best if best in streams else streams[0]
    context = stream.codec_context
    if context is None:
        raise VideoError(Status.UNSUPPORTED, "there is no decoder for its codec")
    context.thread_count = 1
    context.thread_type = "NONE"
    for other in opened.streams:
        if other.index != stream.index:
            other.discard = Discard.all  # sound is not even read, where the container allows that
    return stream


def list_packets(opened: Any, stream: Any, check_time: Callable[[], None]) -> tuple[Packets, str | None]:
    """Every packet of a stream, read from where the container stands, and what was lost on the way.

    ``check_time`` is called now and then, and may raise.
    """
    stamps: list[int | None] = []
    keys, shown, offsets, sizes = bytearray(), bytearray(), array("q"), array("q")
    last_duration = 0
    incomplete = None
    try:
        for packet in opened.demux(stream):
            if packet.size == 0 and packet.pts is None:
                continue
            stamps.append(packet.pts)
            keys.append(packet.is_keyframe)
            shown.append(not packet.is_discard)
            offsets.append(-1 if packet.pos is None else packet.pos)
            sizes.append(packet.size)
            last_duration = packet.duration or last_duration
            if len(stamps) % 256 == 0:
                check_time()
    except av.error.FFmpegError as error:
        incomplete = f"ended early while reading: {describe_error(error)}"
    if not any(shown):
        raise VideoError(Status.DECODE_ERROR, incomplete or "there are no frames in the stream")
    base = stream.time_base or Fraction(1, 1000)
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    is_shown = np.frombuffer(shown, np.uint8).astype(bool)
    times = [stamp for stamp, visible in zip(stamps, shown, strict=True) if visible]
    stamped = (
        # AVI numbers its packets in the order of decoding; FFmpeg passes that on as a time of showing.
        opened.format.name != "avi"
        and all(stamp is not None for stamp in stamps)
        and len(set(times)) == len(times)
    )
    # Without usable stamps the order of decoding is all there is.
    usable = [stamp or 0 for stamp in stamps] if stamped else range(len(stamps))
    packets = Packets(
        stamps=np.array(usable, np.int64),
        keys=np.frombuffer(keys, np.uint8).astype(bool),
        shown=is_shown,
        offsets=np.frombuffer(offsets, np.int64),
        sizes=np.frombuffer(sizes, np.int64),
        stamped=stamped,
        time_base=base if stamped else 1 / rate,
        last_seconds=last_duration * base if stamped and last_duration else 1 / rate,
    )
    return packets, incomplete


def describe_error(error: BaseException) -> str:
    """An FFmpeg error without the object addresses that would make two runs differ."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
