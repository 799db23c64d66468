"""Seeking over gaps and reading a file in part give the frames and pixels of decoding everything."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.config import SamplingConfig
from deepfake.io.ranged_file import RangedFile, merge_ranges
from deepfake.video import decoder
from deepfake.video.decoder import VideoFile
from deepfake.video.mp4 import MediaFile, find_media_ranges, subtract_ranges
from deepfake.video.packets import Packets, choose_cuts, find_needed_packets, find_run_starts, find_runs
from tests.clips import decode_everything, write_clip

X264 = "keyint=12:min-keyint=12:scenecut=0:bframes=3"
X265 = "log-level=none:keyint=12:min-keyint=12:scenecut=0"
_UNIT = Fraction(1, 25)
VFR = [i / 25 + 0.7 * (i // 7) for i in range(60)]

KINDS: dict[str, dict[str, Any]] = {
    "h264": {"options": {"x264-params": X264}},
    "h264 open groups": {"options": {"x264-params": X264 + ":open-gop=1"}},
    "h264 intra refresh": {"options": {"x264-params": "keyint=20:intra-refresh=1:bframes=0"}},
    "h264 only the first is a key frame": {"options": {"x264-params": "keyint=999:bframes=3"}},
    "h264 variable rate": {"options": {"x264-params": X264}, "times": VFR},
    "h264 fragmented": {
        "options": {"x264-params": X264},
        "muxer": {"movflags": "frag_keyframe+empty_moov"},
    },
    "h264 index first": {"options": {"x264-params": X264}, "muxer": {"movflags": "faststart"}},
    "h264 with sound": {"options": {"x264-params": X264}, "sound": True},
    "h264 edited": {"options": {"x264-params": X264}},  # see ``clip``
    "h264 mkv": {"options": {"x264-params": X264}, "suffix": ".mkv"},
    "h264 mkv with sound": {"options": {"x264-params": X264}, "suffix": ".mkv", "sound": True},
    "h264 ts": {"options": {"x264-params": X264}, "suffix": ".ts"},
    "h264 open groups ts": {"options": {"x264-params": X264 + ":open-gop=1"}, "suffix": ".ts"},
    "h264 flv": {"options": {"x264-params": X264}, "suffix": ".flv"},
    "hevc open groups": {"codec": "libx265", "options": {"x265-params": X265 + ":open-gop=1"}},
    "hevc mkv": {"codec": "libx265", "options": {"x265-params": X265}, "suffix": ".mkv"},
    "mpeg4": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg2 ts": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}, "suffix": ".ts"},
    "vp9 mp4": {
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "16", "g": "12"},
    },
    "vp9 webm": {
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "16", "g": "12"},
        "suffix": ".webm",
    },
    "av1 mp4": {
        "codec": "libsvtav1",
        "options": {"preset": "12", "svtav1-params": "keyint=12"},
    },
    "mjpeg mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "suffix": ".mov"},
}


@pytest.fixture(scope="module", params=KINDS, ids=lambda name: name.replace(" ", "-"))
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    how = dict(KINDS[request.param])
    path = tmp_path_factory.mktemp(request.param.replace(" ", "-")) / f"clip{how.pop('suffix', '.mp4')}"
    write_clip(path, **how)
    if request.param == "h264 edited":
        path.write_bytes(with_edit(path.read_bytes(), skip_frames=17))
    return path


def with_edit(content: bytes, skip_frames: int) -> bytes:
    """An MP4 of 25 frames a second whose edit list leaves out the first frames, key frame or not."""
    assert content.count(b"elst") == 1
    place = content.index(b"elst") + 4
    _, edits, duration, media_time = struct.unpack(">IIIi", content[place : place + 16])
    timescale_place = content.index(b"mdhd") + 4 + 12
    (timescale,) = struct.unpack(">I", content[timescale_place : timescale_place + 4])
    assert edits == 1
    later = struct.pack(
        ">II", duration - skip_frames * 1000 // 25, media_time + skip_frames * timescale // 25
    )
    return content[: place + 8] + later + content[place + 16 :]


@pytest.fixture(scope="module")
def everything(clip: Path) -> list[np.ndarray]:
    return decode_everything(clip)


@pytest.fixture
def always_seek(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every gap is sought over."""
    monkeypatch.setattr(decoder, "SEEK_BYTES", -1)


def in_memory(content: bytes) -> RangedFile:
    """A remote file whose server is this process."""

    def fetch(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        return [content[start:stop] for start, stop in ranges]

    return RangedFile(fetch, len(content))


POLICIES = [
    SamplingConfig(every_n=7),
    SamplingConfig(every_n=30),
    SamplingConfig(policy="count", count=3),
    SamplingConfig(policy="per_second", per_second=0.8),
    SamplingConfig(policy="keyframes"),
]


@pytest.mark.parametrize("sampling", POLICIES, ids=lambda config: f"{config.policy}-{config.every_n}")
@pytest.mark.parametrize("where", ["local", "remote"])
def test_pixels_are_those_of_decoding_everything_also_where_gaps_are_sought_over(
    clip: Path, everything: list[np.ndarray], always_seek: None, where: str, sampling: SamplingConfig
) -> None:
    file = clip.open("rb") if where == "local" else in_memory(clip.read_bytes())
    with file, VideoFile(file, sampling) as source:
        assert source.info.frames_total == len(everything)
        wanted = source.choose_frames().tolist()
        sampled = {frame.index: frame.to_rgb() for frame in source.sample()}
        assert source.incomplete is None
        assert source.damage is None
    assert sorted(sampled) == wanted
    for index, rgb in sampled.items():
        np.testing.assert_array_equal(rgb, everything[index], err_msg=f"frame {index}")
    if clip.suffix in (".mp4", ".mkv", ".webm"):
        assert source.missed == 0
    if "intra-refresh" not in clip.parent.name and clip.suffix != ".ts":
        assert source.passes == 1, "no frame had to be decoded again"


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_a_transport_stream_is_sought_in_by_time_of_decoding(
    tmp_path: Path, always_seek: None, codec: str
) -> None:
    options = {"x264-params": X264} if codec == "libx264" else {"bf": "2", "g": "12"}
    clip = write_clip(tmp_path / "clip.ts", frames=500, codec=codec, options=options)
    everything = decode_everything(clip)
    with clip.open("rb") as file, VideoFile(file, SamplingConfig(policy="count", count=4)) as source:
        sampled = {frame.index: frame.to_rgb() for frame in source.sample()}
    assert (source.seeks, source.missed) == (4, 0)
    assert source.passes == 1, "no frame had to be decoded again"
    assert len(sampled) == 4
    for index, rgb in sampled.items():
        np.testing.assert_array_equal(rgb, everything[index])


@pytest.mark.parametrize("suffix", [".mp4", ".ts"])
def test_frames_of_an_intra_refresh_are_not_taken_from_a_start_in_its_middle(
    tmp_path: Path, suffix: str
) -> None:
    # Longer than 16 frames: FFmpeg's decoder then takes the picture for recovered too early.
    options = {"x264-params": "keyint=20:intra-refresh=1:bframes=0"}
    clip = write_clip(tmp_path / f"clip{suffix}", frames=120, options=options)
    everything = decode_everything(clip)
    with clip.open("rb") as file, VideoFile(file, SamplingConfig()) as source:
        for index in range(50, 120, 7):
            [frame] = source.decode_frames([index])
            np.testing.assert_array_equal(frame.to_rgb(), everything[index], err_msg=f"frame {index}")


def test_any_frame_alone_has_the_pixels_of_decoding_everything(
    clip: Path, everything: list[np.ndarray], always_seek: None
) -> None:
    with clip.open("rb") as file, VideoFile(file, SamplingConfig()) as source:
        for index in range(source.info.frames_total):
            [frame] = source.decode_frames([index])
            np.testing.assert_array_equal(frame.to_rgb(), everything[index], err_msg=f"frame {index}")


def test_the_index_alone_lists_an_mp4_as_reading_all_of_it_does(clip: Path) -> None:
    if clip.suffix not in (".mp4", ".mov"):
        pytest.skip("no MP4")
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.pts is not None]
    with clip.open("rb") as file, VideoFile(file, SamplingConfig()) as source:
        listed = source.list_packets().packets
    assert listed.stamps.tolist() == [packet.pts for packet in packets]
    assert listed.keys.tolist() == [packet.is_keyframe for packet in packets]
    assert listed.shown.tolist() == [not packet.is_discard for packet in packets]
    assert listed.sizes.tolist() == [packet.size for packet in packets]
    assert listed.offsets.tolist() == [packet.pos for packet in packets]


def test_a_listing_spares_a_second_video_file_its_first_pass(
    clip: Path, everything: list[np.ndarray]
) -> None:
    with clip.open("rb") as file, VideoFile(file, SamplingConfig()) as source:
        listing = source.list_packets()
    content = clip.read_bytes()
    remote = in_memory(content)
    with remote, VideoFile(remote, SamplingConfig(every_n=25), listing=listing) as source:
        assert source.info == listing.info
        for frame in source.sample():
            np.testing.assert_array_equal(frame.to_rgb(), everything[frame.index])


def test_of_a_long_remote_file_little_more_than_the_wanted_frames_is_fetched(tmp_path: Path) -> None:
    clip = write_clip(
        tmp_path / "long.mov", frames=300, size=(640, 480), codec="mjpeg", pix_fmt="yuvj420p", sound=True
    )
    content = clip.read_bytes()
    remote = in_memory(content)
    with remote, VideoFile(remote, SamplingConfig(policy="count", count=5)) as source:
        wanted = sum(stop - start for start, stop in source.list_ranges(source.choose_frames()) or [])
        assert len(list(source.sample())) == 5
    assert 0 < wanted < len(content) / 20
    # The container's head and index, once or twice a block of 256 KiB, and what FFmpeg probes.
    assert remote.bytes_fetched < wanted + 2**20 < len(content) / 3
    assert remote.requests < 12


def test_a_seek_that_does_not_find_what_was_listed_costs_time_and_no_frame(
    tmp_path: Path, always_seek: None
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", options={"x264-params": X264})
    everything, sampling = decode_everything(clip), SamplingConfig(every_n=25)
    with clip.open("rb") as file, VideoFile(file, sampling) as source:
        listing = source.list_packets()
    astray = replace(listing, packets=replace(listing.packets, sizes=listing.packets.sizes + 1))
    with clip.open("rb") as file, VideoFile(file, sampling, listing=astray) as source:
        sampled = {frame.index: frame.to_rgb() for frame in source.sample()}
    assert source.seeks > 0 and source.missed == 1
    assert sorted(sampled) == [0, 25, 50]
    for index, rgb in sampled.items():
        np.testing.assert_array_equal(rgb, everything[index])


@pytest.mark.data
@pytest.mark.slow
def test_real_clips_sought_in_have_the_pixels_of_decoding_everything(data: Path, always_seek: None) -> None:
    clips, seeks = sorted([*data.glob("ffpp/**/*.mp4"), *data.glob("videos/*/*.m*")])[::6], 0
    for path in clips:
        everything = decode_everything(path)
        sampling = SamplingConfig(policy="count", count=4)
        with path.open("rb") as file, VideoFile(file, sampling) as source:
            for frame in source.sample():
                np.testing.assert_array_equal(frame.to_rgb(), everything[frame.index], err_msg=str(path))
        seeks += source.seeks
    assert seeks


# Packets.


@st.composite
def streams(draw: st.DrawFn) -> Packets:
    """Groups of pictures whose frames are shown in another order than they are decoded in."""
    stamps: list[int] = []
    keys: list[bool] = []
    for length in draw(st.lists(st.integers(1, 6), min_size=1, max_size=8)):
        order = draw(st.permutations(range(1, length))) if length > 1 else []
        start = len(stamps)
        lead = draw(st.integers(0, min(2, start)))  # of an open group: shown before its key frame
        stamps += [3 * start, *(3 * (start + i) for i in order)]
        keys += [True] + [False] * (length - 1)
        for i in range(min(lead, length - 1)):
            stamps[start + 1 + i] = 3 * start - 1 - i
    n = len(stamps)
    shown, sizes = np.ones(n, bool), np.full(n, 10)
    return Packets(np.array(stamps), np.array(keys), shown, np.arange(n) * 10, sizes, True, _UNIT, _UNIT)


@given(streams(), st.data())
def test_what_is_needed_begins_at_a_key_frame_and_ends_with_a_wanted_frame(
    packets: Packets, data: st.DataObject
) -> None:
    wanted = data.draw(st.sets(st.sampled_from(packets.stamps.tolist()), min_size=1))
    needed = find_needed_packets(packets.stamps, packets.keys, wanted)
    found = set(packets.stamps[needed].tolist())
    assert wanted <= found
    for first, stop in find_runs(needed):
        assert packets.keys[first] or first == 0
        assert packets.stamps[stop - 1] in wanted


@given(streams(), st.data())
def test_pieces_cover_what_is_wanted_and_share_no_packet(packets: Packets, data: st.DataObject) -> None:
    wanted = np.array(sorted(data.draw(st.sets(st.integers(0, len(packets) - 1), min_size=1))))
    cuts = choose_cuts(packets, wanted, data.draw(st.sampled_from([0.0, 0.2, 1.0])))
    assert cuts[0] == 0 and cuts == sorted(set(cuts)) and cuts[-1] < len(wanted)
    taken = np.zeros(len(packets), int)
    for start, stop in zip(cuts, [*cuts[1:], len(wanted)], strict=True):
        stamps = packets.stamps[packets.order[wanted[start:stop]]]
        taken += find_needed_packets(packets.stamps, packets.keys, set(stamps.tolist()))
    assert taken.max() == 1


def test_a_frame_of_an_open_group_starts_from_the_key_frame_before() -> None:
    stamps, keys = np.array([0, 3, 1, 6, 4, 8]), np.array([1, 0, 0, 1, 0, 0], bool)
    assert find_run_starts(stamps, keys, np.array([4, 5, 2])).tolist() == [0, 3, 0]


# Files read in part.


def box(kind: bytes, body: bytes, wide: bool = False) -> bytes:
    if wide:
        return struct.pack(">I4sQ", 1, kind, 16 + len(body)) + body
    return struct.pack(">I4s", 8 + len(body), kind) + body


def test_media_data_is_found_between_the_other_boxes() -> None:
    content = box(b"ftyp", b"isom") + box(b"mdat", b"abc", wide=True) + box(b"moov", b"x" * 9)
    assert find_media_ranges(io.BytesIO(content)) == [(28, 31)]
    assert find_media_ranges(io.BytesIO(content + struct.pack(">I4s", 0, b"mdat") + b"to the end")) == [
        (28, 31),
        (len(content) + 8, len(content) + 18),
    ]
    assert find_media_ranges(io.BytesIO(content[:30])) == [(28, 30)]
    assert find_media_ranges(io.BytesIO(content), max_boxes=2) is None
    assert find_media_ranges(io.BytesIO(b"\x1a\x45\xdf\xa3" + bytes(100))) is None
    assert find_media_ranges(io.BytesIO(b"")) is None


RANGES = st.lists(st.integers(0, 60), max_size=8, unique=True).map(
    lambda ends: list(zip(sorted(ends)[::2], sorted(ends)[1::2], strict=False))
)


@given(RANGES, RANGES)
def test_ranges_less_others_hold_what_only_the_first_hold(
    ranges: list[tuple[int, int]], holes: list[tuple[int, int]]
) -> None:
    def members(found: list[tuple[int, int]]) -> set[int]:
        return {i for start, stop in found for i in range(start, stop)}

    left = subtract_ranges(ranges, holes)
    assert members(left) == members(ranges) - members(holes)
    assert merge_ranges(left, gap=-1) == left


CONTENT = bytes(range(256)) * 8


@given(
    RANGES, st.lists(st.tuples(st.integers(0, 2100), st.integers(0, 300)), max_size=12), st.integers(1, 64)
)
def test_a_file_read_by_ranges_reads_as_the_whole_file(
    plan: list[tuple[int, int]], reads: list[tuple[int, int]], block: int
) -> None:
    from deepfake.io import ranged_file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranged_file, "BLOCK_BYTES", block)
        patch.setattr(ranged_file, "MAX_BLOCK_BYTES", 2 * block)
        patch.setattr(ranged_file, "WINDOW_BYTES", 3 * block)
        patch.setattr(ranged_file, "CACHE_BYTES", 4 * block)
        file, whole = in_memory(CONTENT), io.BytesIO(CONTENT)
        file.plan([(30 * start, 30 * stop) for start, stop in plan])
        for position, size in reads:
            file.seek(position)
            whole.seek(position)
            assert file.read(size) == whole.read(size)
            assert file.tell() == whole.tell()


@given(RANGES, st.lists(st.tuples(st.integers(0, 70), st.integers(1, 30)), max_size=12))
def test_hidden_ranges_read_as_blanks_and_everything_else_as_it_is(
    hidden: list[tuple[int, int]], reads: list[tuple[int, int]]
) -> None:
    content = bytes(range(64))
    expected = bytearray(content)
    for start, stop in hidden:
        expected[start:stop] = b"\xff" * (stop - start)
    file = MediaFile(io.BytesIO(content))
    file.hide([(start, min(stop, 64)) for start, stop in hidden if start < 64])
    for position, size in reads:
        file.seek(position)
        found = b""
        while len(found) < size and (part := file.read(size - len(found))):
            found += part
        assert found == expected[position : position + size]


def test_an_object_that_changed_while_it_was_read_is_an_error() -> None:
    file = RangedFile(lambda ranges: [b"short" for _ in ranges], 1000)
    with pytest.raises(OSError, match="did the file change"):
        file.read(100)
