"""Frames of a source as it plays: a file at its own rate, a camera, a stream from the network.

A thread decodes; whoever asks gets the newest frame, and what nobody asked for in time is dropped. What
is opened here beyond files is opened because a person named it: no file, manifest or bundle leads here.
"""

import itertools
import os
import stat
import threading
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import av.error
import numpy as np

from deepfake.config import SamplingConfig
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.video import container
from deepfake.video.errors import VideoError
from deepfake.video.frame import Frame, read_orientation, square_size
from deepfake.video.source import open_frames

JUMP_SECONDS = 10.0  # where a stream's clock steps back, or ahead by more than this, it was set anew


class LiveFrame(NamedTuple):
    """A frame, and what it was when it came."""

    frame: Frame
    due: float  # when it was to be shown, or came in: seconds of the machine's monotonic clock
    dropped: int  # frames before it, from the start, that nobody asked for in time


def is_live(address: str) -> bool:
    """Whether an address is a device or a stream, and no file that is kept somewhere."""
    if address.partition("://")[0] in container.LIVE_PROTOCOLS:
        return True
    try:
        return stat.S_ISCHR(os.stat(address).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False


class LivePlayer:
    """Plays a source in a thread of its own, and hands out the newest frame."""

    def __init__(
        self, address: str, sampling: SamplingConfig, storage: Storage, paced: bool, patience: float
    ):
        """``paced`` false: a file's frames come as fast as they are asked for, and none is dropped.

        ``patience``: seconds after which a stream that sends nothing is over.
        """
        self._paced = paced
        self._changed = threading.Condition()
        self._newest: LiveFrame | None = None
        self._dropped = 0
        self._ended = False
        self._error: Exception | None = None
        if is_live(address):
            self._paced = True
            frames = read_stream(address, sampling, patience)
        else:
            frames = read_file(address, sampling, storage)
        threading.Thread(target=self._play, args=[frames, is_live(address)], daemon=True).start()

    def take(self) -> LiveFrame | None:
        """The newest frame, waited for; None at the end.

        Raises what reading the source raised, such as ``VideoError``.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended)
            taken, self._newest = self._newest, None
            self._changed.notify_all()
        if taken is None and self._error is not None:
            raise self._error
        return taken

    def _play(self, frames: Iterator[Frame], live: bool) -> None:
        began: float | None = None
        try:
            for frame in frames:
                due = time.monotonic()
                if self._paced and not live:
                    began = due - frame.time_s if began is None else began
                    due = began + frame.time_s
                    time.sleep(max(0.0, due - time.monotonic()))
                self._offer(frame, due)
        except Exception as error:  # noqa: BLE001 - whoever asks for a frame gets it
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _offer(self, frame: Frame, due: float) -> None:
        with self._changed:
            if not self._paced:
                self._changed.wait_for(lambda: self._newest is None)
            self._dropped += self._newest is not None
            self._newest = LiveFrame(frame, due, self._dropped)
            self._changed.notify_all()


def read_file(uri: str, sampling: SamplingConfig, storage: Storage) -> Iterator[Frame]:
    """Every frame of a file in the order of presentation, however long it plays."""
    unhurried = sampling.model_copy(update={"timeout_seconds": float("inf")})
    with open_frames(uri, storage, unhurried) as video:
        yield from video.decode_frames(np.arange(len(video.times)))


def read_stream(address: str, sampling: SamplingConfig, patience: float) -> Iterator[Frame]:
    """Every frame of a device or a stream, until it ends or sends nothing for so many seconds.

    Raises ``VideoError`` where it cannot be opened. Times are those of its clock, from the first frame on.
    """
    opened, stream = container.open_live(address, patience)
    with opened:
        context, aspect, base = stream.codec_context, stream.sample_aspect_ratio, stream.time_base
        index, turn, last, shift = 0, None, 0.0, None
        for packet in itertools.chain(_read_while_it_lasts(opened, stream), [None]):
            for picture in _decode_packet(context, packet):
                size = square_size(picture.width, picture.height, aspect)
                if size[0] * size[1] > sampling.max_pixels:
                    words = f"frames of {size[0]}x{size[1]} pixels, at most {sampling.max_pixels} are taken"
                    raise VideoError(Status.UNSUPPORTED, words)
                if picture.key_frame:
                    turn = read_orientation(picture) or turn
                clock = last if picture.pts is None else float(picture.pts * base)
                if shift is None:
                    shift = -clock
                elif not last <= clock + shift <= last + JUMP_SECONDS:
                    shift = last - clock
                last = clock + shift
                if not picture.is_corrupt:
                    yield Frame(index, last, picture, aspect, turn)
                index += 1


def _read_while_it_lasts(opened: Any, stream: Any) -> Iterator[Any]:
    try:
        yield from container.read_packets(opened, stream)
    except av.error.FFmpegError:  # it is gone, or patience ran out
        return


def _decode_packet(context: Any, packet: Any) -> list[Any]:
    """What comes out for one packet; a damaged one gives nothing, and the next is taken."""
    try:
        return list(context.decode(packet))
    except av.error.FFmpegError:
        return []
