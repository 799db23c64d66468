"""Open a video or a still image, list its frames, and decode only what is wanted.

Knows nothing of faces. Everything that can be wrong with a file surfaces as a ``VideoError`` that
carries the status for the tables.

How it decodes: a first pass lists the packets without decoding them, which gives every frame's
presentation time; of an MP4 it reads the index and none of the media data. A second pass sends the decoder
only what the wanted frames need: nothing after the last wanted frame of a group of pictures, no group
without one, and, where the codec marks pictures that no other picture refers to, none of those unless it
is wanted itself. What lies between is passed by seeking where that is cheaper than reading it. The pixels
are those of a full decode.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
from av.video.frame import PictureType

from deepfake.config import SamplingConfig
from deepfake.io.ranged_file import Range, RangedFile
from deepfake.io.tables import Status
from deepfake.video import container
from deepfake.video.colour import name_transfer
from deepfake.video.errors import VideoError
from deepfake.video.frame import Frame, Orientation, read_orientation, square_size
from deepfake.video.h264 import can_start
from deepfake.video.image import ImageFile, is_image, is_jpeg_stream
from deepfake.video.mp4 import MAX_BOXES, REMOTE_BOXES, MediaFile, find_media_ranges, subtract_ranges
from deepfake.video.packets import Packets, VideoInfo, find_needed_packets, find_runs, list_byte_ranges
from deepfake.video.sampling import choose_frames

# Codecs whose non-reference pictures the decoder can tell from the stream and no other picture needs.
# HEVC is absent: its "sub-layer non-reference" pictures may be referred to by higher sub-layers.
DISPOSABLE_CODECS = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3"})

# Demuxers that find a time in the file without reading all before it. What they land on is checked.
SEEKABLE = frozenset({"mov", "matroska", "mpegts"})
TS_LEAD_SECONDS = 1  # how long before it is shown a key frame may be decoded
# A shorter gap between wanted groups is read through. Measured on 20 and 60 minutes of MP4, Matroska and
# MPEG-TS: from 64 KiB on a seek takes no longer than reading, at 1 MiB most of the file is still read.
SEEK_BYTES = 64 * 2**10

PROGRESSIVE = (0, 1)  # AV_FIELD_UNKNOWN, AV_FIELD_PROGRESSIVE


@dataclass(frozen=True)
class Listing:
    """What a first pass over a video found; makes a second ``VideoFile`` on it spare that pass."""

    info: VideoInfo
    packets: Packets
    incomplete: str | None  # what was lost while listing, in words


class SeekMissed(Exception):
    """A seek did not lead to where the packets were listed."""


class CannotStart(Exception):
    """What the container calls a key frame is none that decoding can start from."""


class VideoFile:
    """A video or image on a seekable binary file, its frames listed; use as a context manager.

    Raises ``VideoError``: ``unreadable`` where the bytes are no video, ``unsupported`` where there is no
    video stream, no decoder, or a limit of ``config`` is passed, ``timeout`` past ``deadline``.
    """

    def __init__(
        self,
        file: BinaryIO,
        config: SamplingConfig,
        clock: Callable[[], float] = time.monotonic,
        listing: Listing | None = None,
    ) -> None:
        self._file = file
        self._media_file = MediaFile(file)
        self._media: list[Range] | None = None  # where an MP4 keeps its media data
        self._config = config
        self._clock = clock
        self._deadline = clock() + config.timeout_seconds
        self._container: Any = None
        self.damage: str | None = None  # the first that was found on the way, in words
        self._lost = self._asked = 0  # frames
        self.passes = self.seeks = self.missed = 0  # goes at decoding, jumps over gaps, goes led astray
        self._turn: Orientation | None = None  # what the stream last said
        head = file.read(16)
        file.seek(0)
        if not head:
            raise VideoError(Status.UNREADABLE, "the file is empty")
        is_stream = is_image(head) and is_jpeg_stream(file)
        self._demuxer = "mjpeg" if is_stream else None  # FFmpeg may take it for a photograph
        self.is_image = is_image(head) and not is_stream
        file.seek(0)
        if self.is_image:
            self._open_image()
            return
        # An MP4 keeps times, key frames and places of all packets in one index: its media data is hidden
        # from the first pass.
        self._media = find_media_ranges(file, REMOTE_BOXES if isinstance(file, RangedFile) else MAX_BOXES)
        self._listing = listing or self._list()
        self.damage = self._listing.incomplete
        self.info = self._listing.info
        self._packets = self._listing.packets
        self.times, self.keyframes = self._packets.times, self._packets.keyframes

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def incomplete(self) -> str | None:
        """What was lost on the way, in words."""
        return self.damage or describe_lost(self._lost, self._asked)

    def close(self) -> None:
        """Free the decoder."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def sample(self) -> Iterator[Frame]:
        """The frames that the sampling policy asks for; see ``decode_frames``."""
        return self.decode_frames(self.choose_frames())

    def choose_frames(self) -> np.ndarray:
        """(k,) int64: indices of the frames that the sampling policy asks for."""
        return choose_frames(self.times, self.keyframes, self._config)

    def list_packets(self) -> Listing:
        """What the first pass found; only for videos, not for images."""
        return self._listing

    def list_ranges(self, indices: np.ndarray) -> list[Range] | None:
        """The bytes that decoding these frames ``(k,)`` takes, beyond those of the container's index.

        None where the whole file is read anyway.
        """
        if self.is_image or self._media is None or not self._packets.stamped:
            return None
        return list_byte_ranges(self._packets, self._needed(indices))

    def read_from(self, file: BinaryIO) -> None:
        """From now on, read from another file with the same bytes."""
        self.close()
        self._file = file
        self._media_file = MediaFile(file)

    def decode_frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Frame]:
        """The frames with these indices (presentation order, from 0); one that is damaged is left out.

        They come in presentation order, but for those that had to be decoded a second time.
        """
        if self.is_image:
            for index, picture in self._image.read_pictures(set(map(int, indices))):
                yield Frame(index, float(self.times[index]), picture)
            return
        yield from self._decode(np.asarray(indices, np.int64))

    # -- images ---------------------------------------------------------------------------------

    def _open_image(self) -> None:
        found = self._image = ImageFile(self._file, self._check_size, self._check_time)
        ends = np.cumsum(found.seconds)
        self.times, self.keyframes = ends - found.seconds, np.ones(len(ends), bool)
        facts = found.kind, found.width, found.height, float(ends[-1]), len(ends)
        self.info = VideoInfo(*facts, found.transfer, found.notes)
        self.damage = found.incomplete

    # -- videos ---------------------------------------------------------------------------------------

    def _list(self) -> Listing:
        """List the packets, without decoding."""
        stream = self._open_stream(parse=self._media is None)
        if self._media is not None and not self._container.format.name.startswith("mov"):
            self._media = None
            stream = self._open_stream()
        if self._container.format.name == "avi" and stream.codec_context.name == "h264":
            stream = self._open_stream(parse=False)  # parsed, each packet comes with the stamp of the next
        context = stream.codec_context
        self._check_size(*square_size(context.width, context.height, self._pixel_aspect))
        self._media_file.hide(self._media or [])
        packets, incomplete = container.list_packets(self._container, stream, self._check_time)
        self._media_file.hide([])
        # In an MP4 sound may come last, but not in media data of its own.
        if incomplete is None and (not self._media or self._media[-1][0] > packets.offsets.max()):
            incomplete = container.describe_rest(self._container, packets)
        if packets.duration_s > self._config.max_duration_seconds:
            raise VideoError(
                Status.UNSUPPORTED,
                f"{packets.duration_s:.0f} s long, sampling.max_duration_seconds is "
                f"{self._config.max_duration_seconds:.0f}",
            )
        info = VideoInfo(
            context.name,
            context.width,
            context.height,
            packets.duration_s,
            len(packets.order),
            name_transfer(context.color_trc),
            container.describe_choices(self._container, stream, packets.parts),
        )
        return Listing(info, packets, incomplete)

    def _open_stream(self, parse: bool = True) -> Any:
        """(Re)open the container at its start; its video stream."""
        self.close()
        self._media_file.hide([])
        self._media_file.seek(0)
        self._container, stream = container.open_stream(self._media_file, parse, self._demuxer)
        self._pixel_aspect = stream.sample_aspect_ratio  # the container's, else the codec's
        return stream

    def _decode(self, wanted: np.ndarray) -> Iterator[Frame]:
        if not len(wanted):
            return
        delivered = 0
        for frame in self._decode_stamped(wanted) if self._packets.stamped else self._decode_all(wanted):
            delivered += 1
            yield frame
        self._lost += len(wanted) - delivered
        self._asked += len(wanted)

    def _needed(self, wanted: np.ndarray) -> np.ndarray:
        """(packets,) bool: what the frames with these indices need."""
        packets = self._packets
        stamps = {int(packets.stamps[packets.order[i]]) for i in wanted}
        return find_needed_packets(packets.stamps, packets.keys, stamps)

    def _decode_stamped(self, wanted: np.ndarray) -> Iterator[Frame]:
        """Decode what the wanted frames need, and pick them by their presentation stamp.

        Where what a container calls a key frame is not enough to start from (periodic intra refresh), and
        where the decoder withholds frames (damage), the rest is decoded from the start of the file.
        """
        packets = self._packets
        index_of = {int(packets.stamps[packets.order[i]]): int(i) for i in wanted}
        needed = self._needed(wanted)
        try:
            try:
                yield from self._decode_needed(needed, index_of, seek=True)
            except SeekMissed:
                self.missed += 1
                yield from self._decode_needed(needed, index_of, seek=False)
        except CannotStart:
            pass
        if index_of:
            last = max(int(packets.order[i]) for i in index_of.values())
            before = np.arange(len(needed)) <= last
            if not needed[before].all():
                yield from self._decode_needed(before, index_of, seek=False)

    def _decode_needed(self, needed: np.ndarray, index_of: dict[int, int], seek: bool) -> Iterator[Frame]:
        """Send the needed packets; frames whose stamp is in ``index_of`` come out, and leave it."""
        self.passes += 1
        stream = self._open_stream()
        self._fetch_only(needed)
        context = stream.codec_context
        skip_disposable = context.name in DISPOSABLE_CODECS and context.field_order in PROGRESSIVE
        wanted = set(index_of)
        fresh = not needed[0]  # whether the decoder starts in the middle of the stream
        for packet in self._read_needed(stream, needed, seek):
            if packet is None:  # a gap: nothing before it may be referred to
                yield from self._picked(self._send(context, None), index_of)
                context.flush_buffers()
                fresh = True
                continue
            if fresh and context.name == "h264" and not can_start(bytes(packet), context.extradata or b""):
                raise CannotStart
            fresh = False
            context.skip_frame = "NONREF" if skip_disposable and packet.pts not in wanted else "DEFAULT"
            for picture in self._send(context, packet):
                if picture.interlaced_frame:  # fields may come in packets of their own
                    skip_disposable = False
                yield from self._picked([picture], index_of)
            if not index_of:
                return
            self._check_time()
        yield from self._picked(self._send(context, None), index_of)

    def _fetch_only(self, needed: np.ndarray) -> None:
        """Of a remote file, read nothing but these packets."""
        if not isinstance(self._file, RangedFile):
            return
        ranges = list_byte_ranges(self._packets, needed)
        if ranges is None:
            return
        self._file.plan(ranges)
        if self._media is not None and self._container.format.name.startswith("mov"):
            self._media_file.hide(subtract_ranges(self._media, ranges))

    def _read_needed(self, stream: Any, needed: np.ndarray, seek: bool) -> Iterator[Any]:
        """The needed packets, in order; None before each gap, when the decoder must give what it holds.

        Raises ``SeekMissed`` where a seek did not lead to what was listed.
        """
        packets = self._packets
        seek = seek and packets.can_be_found and self._container.format.name.partition(",")[0] in SEEKABLE
        bytes_before = np.concatenate([[0], np.cumsum(packets.sizes)])
        sought = False
        position = again = 0  # the packet that comes next; packets that came a second time
        coming = self._demux(stream)
        for number, (first, stop) in enumerate(find_runs(needed)):
            if number:
                yield None  # before any seek, which empties the decoder
            if seek and bytes_before[first] - bytes_before[position] > SEEK_BYTES:
                landed, coming = self._seek(stream, first)
                again += max(0, position - landed)
                if again > len(packets) // 4:
                    raise SeekMissed
                sought, position = True, landed
            while position < stop:
                packet = next(coming, None)
                if packet is None:
                    return
                if sought and packet.pts != packets.stamps[position]:
                    raise SeekMissed
                if position >= first:
                    if sought and packet.size != packets.sizes[position]:
                        raise SeekMissed
                    if packets.parts > 1:
                        packet.pts = int(packets.stamps[position])
                    yield packet
                elif position % 256 == 0:
                    self._check_time()
                position += 1

    def _seek(self, stream: Any, first: int) -> tuple[int, Iterator[Any]]:
        """Go to packet ``first`` or before it: which comes next, and the packets from there."""
        self.seeks += 1
        target = int(self._packets.stamps[first])
        if self._container.format.name == "mpegts":  # sought by time of decoding, which is earlier
            target -= round(TS_LEAD_SECONDS / self._packets.time_base)
        try:
            self._container.seek(target, stream=stream)
        except av.error.FFmpegError as error:
            raise SeekMissed from error
        coming = self._demux(stream)
        packet = next(coming, None)
        landed = self._packets.find_position(packet.pts) if packet is not None else None
        if landed is None or landed > first:
            raise SeekMissed
        return landed, itertools.chain([packet], coming)

    def _decode_all(self, wanted: np.ndarray) -> Iterator[Frame]:
        """Decode everything and count; for streams without usable stamps."""
        stream = self._open_stream()
        context = stream.codec_context
        chosen, last = set(wanted.tolist()), int(wanted[-1])
        index = -1
        for packet in itertools.chain(self._demux(stream), [None]):
            for picture in self._send(context, packet):
                index += 1
                self._note_turn(picture)
                if index in chosen and not picture.is_corrupt:
                    yield self._frame(index, float(self.times[index]), picture)
                if index >= last:
                    return
            self._check_time()

    def _picked(self, pictures: Sequence[Any], index_of: dict[int, int]) -> Iterator[Frame]:
        for picture in pictures:
            self._note_turn(picture)
            if picture.pts in index_of and not picture.is_corrupt:
                index = index_of.pop(picture.pts)
                yield self._frame(index, float(self.times[index]), picture)

    def _frame(self, index: int, time_s: float, picture: Any) -> Frame:
        self._check_size(*square_size(picture.width, picture.height, self._pixel_aspect))
        return Frame(index, time_s, picture, self._pixel_aspect, self._turn)

    def _note_turn(self, picture: Any) -> None:
        """An SEI message, which is only in key frames' packets, holds until there is another.

        Of the others nothing is asked: PyAV keeps a picture that was asked until the next collection, and
        memory that the decoder cannot use again takes half of its time.
        """
        if picture.key_frame or picture.pict_type == PictureType.I:
            self._turn = read_orientation(picture) or self._turn

    def _demux(self, stream: Any) -> Iterator[Any]:
        try:
            yield from container.read_packets(self._container, stream)
        except av.error.FFmpegError as error:
            self.damage = self.damage or f"ended early while reading: {container.describe_error(error)}"

    def _send(self, context: Any, packet: Any) -> list[Any]:
        """Decode one packet; damage is remembered, and decoding goes on with the next."""
        try:
            return list(context.decode(packet))
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self.damage = self.damage or f"damaged: {container.describe_error(error)}"
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
                Status.TIMEOUT,
                f"took longer than timeout_seconds, {self._config.timeout_seconds:g}",
                retry=True,
            )


def describe_lost(lost: int, asked: int) -> str | None:
    """What to say where so many frames did not come out; None where all did."""
    return f"{lost} of {asked} sampled frames could not be decoded" if lost else None


def open_local(path: str | Path, config: SamplingConfig) -> VideoFile:
    """A local file as a ``VideoFile`` (which then owns the open file)."""
    return VideoFile(open(path, "rb"), config)
