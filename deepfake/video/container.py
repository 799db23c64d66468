"""A video container: opened so that it can do no harm, and its packets listed without decoding them."""

from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
from av.format import Flags
from av.stream import Discard, Disposition

from deepfake.io.tables import Status
from deepfake.video.errors import VideoError
from deepfake.video.mp4 import MediaFile
from deepfake.video.packets import Packets, join_timestamps

# Demuxers that read one self-contained file. Playlists, concat lists, image sequences and devices,
# which make FFmpeg open other files or connections, are not among them.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,flv,asf,ogg,h264,hevc,m4v,mjpeg,"
    "mxf,wtv,rm,dv,ivf,obu,av1,nut,gif,yuv4mpegpipe,vob,vc1,h263,swf,nsv,rawvideo"
)

# What a person may name on the command line of the job that watches, and what FFmpeg then may use for it.
LIVE_PROTOCOLS = {
    "rtsp": "rtsp,rtp,udp,tcp", "rtsps": "rtsp,rtp,udp,tcp,tls", "rtmp": "rtmp,tcp", "rtp": "rtp,udp",
    "udp": "udp", "tcp": "tcp", "srt": "srt", "http": "http,tcp", "https": "https,tls,tcp",
}  # fmt: skip
CAMERA = "video4linux2"
LIVE_FORMATS = f"{FORMATS},rtsp,sdp,rtp,video4linux2,v4l2"
PROBE = {"analyzeduration": "1000000"}  # a second, not five, until the first frame

# Where the clock steps back by more seconds, or jumps ahead by more, another part begins. The first two are
# FFmpeg's own (fftools/ffmpeg_demux.c), the second for formats whose clocks may be set anew at any place. In
# the others a frame may be meant to be shown for long, but not for as long as the third.
STEP_BACK, RESETTABLE_JUMP, JUMP = Fraction(1, 10), 10, 3600
# Their stamps are right, but some are in the order of decoding: they do not say which frame is which.
DECODING_ORDER = ("avi", "asf")
_WAITED = (av.error.ExitError, av.error.TimeoutError)
MANY_BYTES = 2**20  # of a file's end, which are worth a word
UNKNOWN = -(2**62)  # a time before all others

# Titles and comments, which nothing here reads, may be in any encoding. PyAV 19 keeps such bytes as they are
# and has no choice of what becomes of them; 18 raises unless told.
_METADATA = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


def open_live(address: str, patience: float) -> tuple[Any, Any]:
    """``(container, its video stream)`` of a camera's device or of a stream that a person named.

    ``patience``: seconds to wait for it, and then for each part of it. Raises ``VideoError``.
    """
    protocol = LIVE_PROTOCOLS.get(address.partition("://")[0])
    allowed = {"format_whitelist": LIVE_FORMATS, "protocol_whitelist": protocol or "file"}
    told = {"options": {**PROBE, **allowed}} if protocol else {"format": CAMERA}
    try:
        opened = av.open(address, mode="r", timeout=patience, **told, **_METADATA)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        words = f"nothing came within {patience:g} s" if isinstance(error, _WAITED) else describe_error(error)
        raise VideoError(Status.UNREADABLE, f"cannot be watched: {words}") from error
    try:
        return opened, _choose_stream(opened)
    except VideoError:
        opened.close()
        raise


def open_stream(
    file: BinaryIO | MediaFile, parse: bool = True, demuxer: str | None = None
) -> tuple[Any, Any]:
    """``(container, its video stream)`` of a file at its start, with a decoder of one thread.

    ``parse`` false: FFmpeg does not look into the packets, whose content may be hidden. ``demuxer``: FFmpeg's
    name of what reads it, where it is not to find out.
    """
    # Nothing inside a container can make FFmpeg open another file or a connection.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
    # Of a joined broadcast, a programme whose streams have moved to other places goes on.
    options["merge_pmt_versions"] = "1"
    if not parse:
        options["fflags"] = "noparse"
    try:
        # the mode would else be taken from the file, and a temporary one is open for both
        opened = av.open(file, mode="r", format=demuxer, options=options, **_METADATA)
    except (av.error.FFmpegError, ValueError) as error:  # an OSError that is none of them: see ``attempt``
        raise VideoError(
            Status.UNREADABLE, f"not a video that can be read: {describe_error(error)}"
        ) from error
    try:
        return opened, _choose_stream(opened)
    except VideoError:
        opened.close()
        raise


def list_video_streams(opened: Any) -> list[Any]:
    """The streams that are video and no cover picture."""
    return [stream for stream in opened.streams.video if not stream.disposition & Disposition.attached_pic]


def _choose_stream(opened: Any) -> Any:
    """The stream to decode; no other is read."""
    streams = list_video_streams(opened)
    tiles = sum(bool(stream.disposition & Disposition.dependent) for stream in streams)
    if tiles and opened.format.name.startswith("mov"):
        raise VideoError(
            Status.UNSUPPORTED,
            f"a HEIC or AVIF photograph in {tiles} tiles, which nothing here puts together; make it a JPEG",
        )
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


def describe_choices(opened: Any, stream: Any, parts: int) -> str | None:
    """What was chosen in this file, in words: its stream among several, the parts of one that was joined."""
    words = []
    videos = list_video_streams(opened)
    if len(videos) > 1:
        others = ", ".join(_describe_stream(other) for other in videos if other.index != stream.index)
        words.append(f"{len(videos)} video streams: {_describe_stream(stream)} was looked at, not {others}")
    if parts > 1:
        words.append(f"{parts} parts, each with a clock of its own, taken one after the other")
    return "; ".join(words) or None


def _describe_stream(stream: Any) -> str:
    context = stream.codec_context
    size = f" ({context.width}x{context.height})" if context is not None else ""
    return f"stream {stream.index}{size}"


def read_packets(opened: Any, stream: Any) -> Iterator[Any]:
    """The packets of a stream, less empty ones, from where the container stands.

    PyAV may stumble at the end over streams that began on the way.
    """
    with suppress(IndexError):
        for packet in opened.demux(stream):
            if packet.size or packet.pts is not None:
                yield packet


def list_packets(opened: Any, stream: Any, check_time: Callable[[], None]) -> tuple[Packets, str | None]:
    """Every packet of a stream, read from where the container stands, and what was lost on the way.

    ``check_time`` is called now and then, and may raise.
    """
    stamps: list[int | None] = []
    keys, shown = bytearray(), bytearray()
    decoded, offsets, sizes = array("q"), array("q"), array("q")
    last_duration = untimed = 0
    incomplete = None
    try:
        for packet in read_packets(opened, stream):
            stamps.append(packet.pts)
            untimed += packet.dts is None
            decoded.append(packet.dts if packet.dts is not None else decoded[-1] if decoded else UNKNOWN)
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
    base = Fraction(1) * (stream.time_base or Fraction(1, 1000))  # PyAV 19 has fractions of its own
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    is_shown = np.frombuffer(shown, np.uint8).astype(bool)
    clock = np.frombuffer(decoded, np.int64)
    told = all(stamp is not None for stamp in stamps)
    timed = told or not untimed
    parts = 1
    if timed:
        jump = RESETTABLE_JUMP if opened.format.flags & Flags.ts_discont.value else JUMP
        usable = np.array(stamps, np.int64) if told else clock
        usable, parts = join_timestamps(usable, clock, is_shown, round(STEP_BACK / base), round(jump / base))
    else:
        usable = np.arange(len(stamps))
    packets = Packets(
        stamps=usable,
        keys=np.frombuffer(keys, np.uint8).astype(bool),
        shown=is_shown,
        offsets=np.frombuffer(offsets, np.int64),
        sizes=np.frombuffer(sizes, np.int64),
        stamped=(
            told
            and opened.format.name not in DECODING_ORDER
            and len(np.unique(usable[is_shown])) == sum(shown)
        ),
        time_base=base if timed else 1 / rate,
        last_seconds=last_duration * base if timed and last_duration else 1 / rate,
        parts=parts,
    )
    return packets, incomplete


def describe_rest(opened: Any, packets: Packets) -> str | None:
    """What to say where a file goes on for long after its stream's last packet; None elsewhere.

    A recording that was joined behind is not read, nor are streams that a broadcast begins on the way.
    """
    size = opened.size
    rest = size - int(packets.offsets.max())
    if rest < max(MANY_BYTES, size // 20) or packets.offsets.max() < 0:
        return None
    return (
        f"the last {100 * rest // size} % of the file have nothing of this stream, perhaps another recording"
    )


def describe_error(error: BaseException) -> str:
    """An FFmpeg error without the object addresses that would make two runs differ."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
