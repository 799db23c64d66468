"""Which stream is looked at, and when its frames are shown: joined recordings, clocks that jump, AVI."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.config import SamplingConfig
from deepfake.video.decoder import open_local
from deepfake.video.packets import join_timestamps
from tests.clips import decode_everything, picture, write_clip

SHORT_GROUPS = {"x264-params": "keyint=12:bframes=3"}
JOINED: dict[str, dict[str, Any]] = {
    ".ts": {"options": SHORT_GROUPS},
    ".mkv": {"options": SHORT_GROUPS},
    ".mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}},
    ".webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    ".h264": {"options": SHORT_GROUPS},  # without any clock
}
HOURS = 13 * 3600


@pytest.mark.parametrize("suffix", JOINED)
def test_recordings_that_were_joined_are_shown_one_after_the_other(tmp_path: Path, suffix: str) -> None:
    one = write_clip(tmp_path / f"one{suffix}", frames=30, **JOINED[suffix])
    other = write_clip(tmp_path / f"other{suffix}", frames=43, rate=24, **JOINED[suffix])
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(one.read_bytes() + other.read_bytes())
    everything = [*decode_everything(one), *decode_everything(other)]
    for sampling in ({"every_n": 1}, {"every_n": 7}, {"policy": "count", "count": 9}):
        with open_local(joined, SamplingConfig(**sampling)) as video:
            frames = list(video.sample())
            wanted = video.choose_frames()
        assert [frame.index for frame in frames] == wanted.tolist()
        for frame in frames:
            np.testing.assert_array_equal(frame.to_rgb(), everything[frame.index], err_msg=str(frame.index))
    assert video.info.frames_total == 73
    if suffix != ".h264":
        assert video.info.duration_s == pytest.approx(30 / 25 + 43 / 24, abs=0.05)
        assert video.info.notes == "2 parts, each with a clock of its own, taken one after the other"
        times = [*np.arange(30) / 25, *(1.2 + np.arange(43) / 24)]
        np.testing.assert_allclose(video.times, times, atol=0.05)


@pytest.mark.parametrize("suffix", [".ts", ".mkv", ".mp4", ".flv", ".webm"])
def test_a_clock_that_jumps_by_hours_makes_no_long_video(tmp_path: Path, suffix: str) -> None:
    times = [i / 25 + HOURS * (i >= 30) for i in range(60)]
    codec = {"codec": "libvpx-vp9"} if suffix == ".webm" else {"options": SHORT_GROUPS}
    if suffix == ".flv":  # which cannot say how much later than it is decoded a frame is shown
        codec = {"options": {"x264-params": "keyint=12:bframes=0"}}
    clip = write_clip(tmp_path / f"clip{suffix}", times=times, **codec)
    everything = decode_everything(clip)
    with open_local(clip, SamplingConfig(every_n=7)) as video:
        frames = list(video.sample())
    assert video.info.duration_s == pytest.approx(2.4, abs=0.05)
    assert [frame.index for frame in frames] == list(range(0, 60, 7))
    assert [frame.time_s for frame in frames] == pytest.approx([i / 25 for i in range(0, 60, 7)], abs=0.01)
    for frame in frames:
        np.testing.assert_array_equal(frame.to_rgb(), everything[frame.index], err_msg=str(frame.index))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.data())
def test_stamps_of_parts_keep_the_order_of_parts_and_within_them(lengths: list[int], data: Any) -> None:
    parts = [np.array(data.draw(st.permutations(range(length)))) for length in lengths]
    stamps = 3600 * np.concatenate(parts)
    clock = 3600 * np.concatenate([np.arange(length) for length in lengths]) - 7200
    clock += np.repeat([-50_000 * i for i in range(len(lengths))], lengths)  # each begins before the last
    joined, count = join_timestamps(stamps, clock, np.ones(len(stamps), bool), 9000, 900_000)
    assert count == len(lengths)
    edges = np.cumsum([0, *lengths])
    expected = np.concatenate([part + start for part, start in zip(parts, edges, strict=False)])
    np.testing.assert_array_equal(np.argsort(joined, kind="stable"), np.argsort(expected, kind="stable"))
    if count == 1:
        np.testing.assert_array_equal(joined, stamps)


def test_stamps_with_long_gaps_stay_where_all_are_long() -> None:
    stamps = np.arange(20) * 15  # a frame each 15 s
    joined, count = join_timestamps(stamps, stamps, np.ones(20, bool), 1, 10)
    np.testing.assert_array_equal(joined, stamps)
    assert count == 1


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("mpeg4", {"bf": "0"}),
        ("mpeg4", {"bf": "2"}),
        ("mjpeg", {}),
        ("libx264", {"x264-params": "bframes=0"}),
    ],
)
def test_the_time_stamps_of_avi_are_told_where_frames_were_dropped(
    tmp_path: Path, codec: str, options: dict[str, str]
) -> None:
    path, shown = tmp_path / "clip.avi", [*range(20), *range(40, 60)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.options, stream.bit_rate = 192, 144, options, 8_000_000
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in shown:
            frame = av.VideoFrame.from_ndarray(picture(i / 25), format="rgb24").reformat(
                format=stream.pix_fmt
            )
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_local(path, SamplingConfig(every_n=1)) as video:
        frames = list(video.sample())
    assert video.info.duration_s == pytest.approx(2.4)
    assert [round(25 * frame.time_s) for frame in frames] == shown
    for frame in frames:  # each shows what belongs to its time
        distances = [np.abs(frame.to_rgb().astype(int) - picture(i / 25)).mean() for i in shown]
        assert shown[int(np.argmin(distances))] == round(25 * frame.time_s)


def test_frames_of_asf_whose_stamps_are_in_the_order_of_decoding_keep_their_order(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.asf", options=SHORT_GROUPS)
    everything = decode_everything(clip)
    with open_local(clip, SamplingConfig(every_n=7)) as video:
        frames = list(video.sample())
    assert [frame.time_s for frame in frames] == pytest.approx([i / 25 for i in range(0, 60, 7)], abs=0.002)
    for frame in frames:
        np.testing.assert_array_equal(frame.to_rgb(), everything[frame.index], err_msg=str(frame.index))


# What an edit list shows: stretches of (first frame, frames), one after the other.
@pytest.mark.parametrize("edits", [[(5, 10), (30, 10)], [(30, 10), (5, 10)], [(5, 10), (5, 10)], [(17, 30)]])
def test_what_an_edit_list_shows_has_one_clock(tmp_path: Path, edits: list[tuple[int, int]]) -> None:
    clip = write_clip(tmp_path / "clip.mov", options={"x264-params": "keyint=12:bframes=0"})
    everything = decode_everything(clip)
    clip.write_bytes(with_edits(clip.read_bytes(), edits))
    with open_local(clip, SamplingConfig(every_n=1)) as video:
        frames = list(video.sample())
    expected = [first + i for first, count in edits for i in range(count)]
    assert (video.info.notes, video.info.duration_s) == (None, pytest.approx(len(expected) / 25))
    assert [frame.time_s for frame in frames] == pytest.approx([i / 25 for i in range(len(expected))])
    for frame in frames:
        np.testing.assert_array_equal(frame.to_rgb(), everything[expected[frame.index]])


def with_edits(movie: bytes, edits: list[tuple[int, int]]) -> bytes:
    """A movie of 25 frames, 12800 units a second, its index last, with these edits (ISO 14496-12, 8.6.6)."""
    assert movie.count(b"elst") == 1
    start = movie.index(b"edts") - 4
    (size,) = struct.unpack(">I", movie[start : start + 4])
    entries = b"".join(struct.pack(">IiI", 40 * count, 512 * first, 2**16) for first, count in edits)
    content = struct.pack(">II", 0, len(edits)) + entries
    box = struct.pack(">I4sI4s", 16 + len(content), b"edts", 8 + len(content), b"elst") + content
    changed = bytearray(movie[:start] + box + movie[start + size :])
    for name in (b"trak", b"moov"):
        place = movie.rindex(name, 0, start) - 4
        (old,) = struct.unpack(">I", movie[place : place + 4])
        struct.pack_into(">I", changed, place, old + len(box) - size)
    return bytes(changed)


@pytest.mark.slow(3)
def test_a_broadcast_whose_streams_move_on_the_way_goes_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"options": {"x264-params": "keyint=12", "crf": "1"}, "size": (640, 480)}
    one = write_clip(tmp_path / "one.ts", **options)
    moved = write_clip(tmp_path / "moved.ts", **options, muxer={"mpegts_start_pid": "512"})
    other = {"mpegts_start_pid": "512", "mpegts_pmt_start_pid": "5000", "mpegts_service_id": "7"}
    programme = write_clip(tmp_path / "programme.ts", **options, muxer=other)
    for following, frames, lost in ((moved, 120, False), (programme, 60, True)):
        joined = tmp_path / "joined.ts"
        joined.write_bytes(one.read_bytes() + following.read_bytes())
        with open_local(joined, SamplingConfig(every_n=30)) as video:
            assert len(list(video.sample())) == frames // 30
            assert video.info.frames_total == frames
            assert bool(video.incomplete) == lost
    assert video.incomplete and "% of the file have nothing of this stream" in video.incomplete


@pytest.mark.parametrize("suffix", [".mp4", ".flv", ".mkv"])
def test_of_joined_files_that_are_not_read_whole_the_row_says_so(tmp_path: Path, suffix: str) -> None:
    clip = write_clip(tmp_path / f"clip{suffix}", options={"crf": "1"}, size=(640, 480), sound=True)
    joined = tmp_path / f"joined{suffix}"
    joined.write_bytes(clip.read_bytes() * 5)  # of joined Matroska files two are read
    for path, lost in ((clip, False), (joined, True)):
        with open_local(path, SamplingConfig(every_n=30)) as video:
            assert list(video.sample())
            assert ("% of the file have nothing of this stream" in str(video.incomplete)) == lost


def test_a_capture_with_dropped_frames_has_the_times_that_ffprobe_tells(cases: Path) -> None:
    with open_local(cases / "avi_times" / "dropped.avi", SamplingConfig(every_n=20)) as video:
        times = [frame.time_s for frame in video.sample()]
    assert times == pytest.approx([0.0, 1.6, 2.4, 3.2])
    assert video.info.duration_s == pytest.approx(4.0)


def test_both_people_of_a_joined_broadcast_are_seen(cases: Path) -> None:
    with open_local(cases / "joined_streams" / "interleaved.ts", SamplingConfig(every_n=10)) as video:
        brightness = [frame.to_rgb().mean() for frame in video.sample()]
    assert video.info.frames_total == 200
    assert video.info.duration_s == pytest.approx(8.0)
    assert max(brightness[:10]) < 100 and min(brightness[10:]) > 140  # hers, then his


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_the_row_says_which_of_several_video_streams_was_looked_at(tmp_path: Path, suffix: str) -> None:
    path, sizes = tmp_path / f"clip{suffix}", [(96, 72), (192, 144)]
    with av.open(str(path), "w") as container:
        streams = []
        for size in sizes:
            streams.append(stream := container.add_stream("libx264", rate=25))
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(10):
            for stream, size in zip(streams, sizes, strict=True):
                container.mux(
                    stream.encode(av.VideoFrame.from_ndarray(picture(i / 25, *size), format="rgb24"))
                )
        for stream in streams:
            container.mux(stream.encode(None))
    with open_local(path, SamplingConfig(every_n=1)) as video:
        frames = list(video.sample())
    height, width = frames[0].size
    looked, other = (0, 1) if width == 96 else (1, 0)
    assert video.info.notes == (
        f"2 video streams: stream {looked} ({width}x{height}) was looked at, "
        f"not stream {other} ({sizes[other][0]}x{sizes[other][1]})"
    )
    assert len(frames) == 10
