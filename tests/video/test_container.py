"""A container is opened so that it can do no harm, and its packets are listed without decoding them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.stream import Discard

from deepfake.io.tables import Status
from deepfake.video.container import describe_error, list_packets, open_stream
from deepfake.video.errors import VideoError
from tests.clips import write_clip


def test_a_clip_is_opened_for_its_pictures_alone_on_one_thread(tmp_path: Path) -> None:
    with write_clip(tmp_path / "a.mp4", frames=10, sound=True).open("rb") as file:
        opened, stream = open_stream(file)
        with opened:
            assert stream.type == "video" and stream.codec_context.thread_count == 1
            (sound,) = opened.streams.audio
            assert sound.discard == Discard.all


def test_every_packet_is_listed_with_its_time_and_place(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", frames=30, rate=25, options={"g": "10", "bf": "2"})
    asked: list[int] = []
    with path.open("rb") as file:
        opened, stream = open_stream(file)
        with opened:
            packets, incomplete = list_packets(opened, stream, lambda: asked.append(1))
    assert incomplete is None and asked == []
    assert packets.stamped and packets.shown.all() and packets.keys.sum() == 3 and packets.keys[0]
    seconds = np.sort((packets.stamps - packets.stamps.min()) * float(packets.time_base))
    assert seconds == pytest.approx(np.arange(30) / 25)
    assert packets.last_seconds == Fraction(1, 25)
    content = path.stat().st_size
    assert (packets.offsets > 0).all() and (packets.offsets + packets.sizes <= content).all()


def test_the_clock_is_asked_now_and_then_and_may_end_it(tmp_path: Path) -> None:
    def too_late() -> None:
        raise VideoError(Status.TIMEOUT, "too long")

    path = write_clip(tmp_path / "a.mp4", frames=300, size=(32, 32))
    with path.open("rb") as file:
        opened, stream = open_stream(file)
        with opened, pytest.raises(VideoError, match="too long"):
            list_packets(opened, stream, too_late)


def test_packets_of_avi_count_in_the_order_of_decoding(tmp_path: Path) -> None:
    with write_clip(tmp_path / "a.avi", codec="mpeg4", frames=12).open("rb") as file:
        opened, stream = open_stream(file)
        with opened:
            packets, _ = list_packets(opened, stream, lambda: None)
    assert not packets.stamped
    assert packets.stamps.tolist() == list(range(12)) and packets.time_base == Fraction(1, 25)


def test_a_file_that_is_no_video_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("a text that somebody named .mp4")
    with path.open("rb") as file, pytest.raises(VideoError, match="not a video that can be read") as caught:
        open_stream(file)
    assert caught.value.status == Status.UNREADABLE


def test_a_playlist_that_names_another_file_is_not_opened(tmp_path: Path) -> None:
    write_clip(tmp_path / "other.ts", frames=5)
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n")
    with path.open("rb") as file, pytest.raises(VideoError):
        open_stream(file)


def test_an_error_is_told_without_the_address_of_what_it_happened_to() -> None:
    assert describe_error(OSError(22, "Invalid argument")) == "Invalid argument"
    assert describe_error(ValueError("no such codec")) == "no such codec"
    assert describe_error(ValueError()) == "ValueError"
