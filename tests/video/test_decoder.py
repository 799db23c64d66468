"""Decoding only what is wanted gives the pixels of decoding everything, and bad files say what they are."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.stream import Disposition
from PIL import Image

from deepfake.config import SamplingConfig
from deepfake.io.tables import Status
from deepfake.video.decoder import VideoFile, open_local
from deepfake.video.errors import VideoError
from deepfake.video.packets import find_needed_packets
from tests.clips import decode_and_convert, decode_everything, picture, write_clip

CODECS = {
    "h264": {"codec": "libx264"},
    "h264 b-pyramid, short groups": {
        "codec": "libx264",
        "options": {"x264-params": "keyint=24:bframes=4:b-pyramid=normal"},
    },
    "h264 open groups": {
        "codec": "libx264",
        "options": {"x264-params": "keyint=15:min-keyint=15:open-gop=1:bframes=3:scenecut=0"},
    },
    "h264 intra refresh": {
        "codec": "libx264",
        "options": {"x264-params": "keyint=20:intra-refresh=1:bframes=0"},
    },
    "h264 no b-frames": {"codec": "libx264", "options": {"x264-params": "bframes=0"}},
    "h264 interlaced": {
        "codec": "libx264",
        "options": {"x264-params": "interlaced=1:tff=1:bframes=2"},
    },
    "h264 4:4:4": {"codec": "libx264", "pix_fmt": "yuv444p"},
    "h264 10 bit": {"codec": "libx264", "pix_fmt": "yuv420p10le"},
    "hevc": {"codec": "libx265", "options": {"x265-params": "log-level=none:keyint=20"}},
    "hevc temporal layers": {
        "codec": "libx265",
        "options": {"x265-params": "log-level=none:temporal-layers=3:b-adapt=0:bframes=7"},
    },
    "hevc 10 bit": {
        "codec": "libx265",
        "pix_fmt": "yuv420p10le",
        "options": {"x265-params": "log-level=none"},
    },
    "mpeg4": {"codec": "mpeg4", "options": {"bf": "2", "g": "12"}},
    "mpeg2": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12"}, "suffix": ".ts"},
    "mpeg1": {"codec": "mpeg1video", "options": {"bf": "2", "g": "12"}, "suffix": ".mpg"},
    "vp9": {
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "16"},
        "suffix": ".webm",
    },
    "vp9 with alpha": {
        "codec": "libvpx-vp9",
        "pix_fmt": "yuva420p",
        "options": {"deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "0"},
        "suffix": ".webm",
    },
    "av1": {
        "codec": "libsvtav1",
        "options": {"preset": "12", "svtav1-params": "keyint=20"},
        "suffix": ".mkv",
    },
    "mjpeg": {"codec": "mjpeg", "pix_fmt": "yuvj420p", "suffix": ".avi"},
    "ffv1": {"codec": "ffv1", "pix_fmt": "yuv420p", "suffix": ".mkv"},
    "h264 in avi, no stamps": {"codec": "libx264", "suffix": ".avi"},
    "h264 elementary stream": {"codec": "libx264", "suffix": ".h264"},
}


@pytest.fixture(scope="module", params=CODECS, ids=lambda name: name.replace(" ", "-"))
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    how = dict(CODECS[request.param])
    folder = tmp_path_factory.mktemp("clips")
    return write_clip(folder / f"clip{how.pop('suffix', '.mp4')}", **how)


@pytest.fixture(scope="module")
def everything(clip: Path) -> list[np.ndarray]:
    return decode_everything(clip)


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(every_n=1),
        SamplingConfig(every_n=7),
        SamplingConfig(every_n=30),
        SamplingConfig(policy="count", count=3),
        SamplingConfig(policy="per_second", per_second=3),
        SamplingConfig(policy="keyframes"),
    ],
    ids=lambda config: f"{config.policy}-{config.every_n}",
)
def test_pixels_are_those_of_decoding_everything(
    clip: Path, everything: list[np.ndarray], sampling: SamplingConfig
) -> None:
    with open_local(clip, sampling) as video:
        sampled = [(frame.index, frame.to_rgb()) for frame in video.sample()]
    assert sampled, "no frame came out"
    assert video.incomplete is None
    for index, rgb in sampled:
        np.testing.assert_array_equal(rgb, everything[index], err_msg=f"frame {index}")


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "count"), [("ffpp", 7), ("videos/fake", 27), ("videos/noface", 2), ("videos/real", 40)]
)
def test_pixels_of_every_real_clip_are_those_of_decoding_everything(
    data: Path, folder: str, count: int
) -> None:
    clips = sorted(data.glob(f"{folder}/**/*.m*"))
    assert len(clips) == count
    for path in clips:
        everything = decode_and_convert(path, 30)
        with open_local(path, SamplingConfig()) as video:
            sampled = {frame.index: frame.to_rgb() for frame in video.sample()}
        assert sorted(sampled) == list(range(0, len(everything), 30)), path
        for index, rgb in sampled.items():
            expected = everything[index]
            assert expected is not None
            np.testing.assert_array_equal(rgb, expected, err_msg=f"{path} frame {index}")


def test_frame_times_are_presentation_times_at_a_variable_frame_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 0.54, 1.5, 1.54, 1.58, 3.0]
    clip = write_clip(tmp_path / "vfr.mp4", frames=len(times), times=times)
    with open_local(clip, SamplingConfig(policy="per_second", per_second=2)) as video:
        sampled = [(frame.index, round(frame.time_s, 3)) for frame in video.sample()]
    # On show at 0, .5, 1, 1.5, 2, 2.5, 3 s.
    assert sampled == [(0, 0.0), (3, 0.5), (4, 0.54), (5, 1.5), (7, 1.58), (8, 3.0)]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_a_rotated_clip_comes_out_upright(tmp_path: Path, rotation: int) -> None:
    clip = write_clip(tmp_path / "turned.mp4", frames=5, rotation=rotation)
    plain = write_clip(tmp_path / "plain.mp4", frames=5)
    with open_local(clip, SamplingConfig()) as turned, open_local(plain, SamplingConfig()) as straight:
        upright, stored = next(turned.sample()), next(straight.sample())
        # The display matrix asks for a counter-clockwise turn by so many degrees.
        np.testing.assert_array_equal(upright.to_rgb(), np.rot90(stored.to_rgb(), rotation // 90))
        small, scale = upright.shrink_bgr(72)
        assert min(small.shape[:2]) == 72
        assert scale == 0.5
        assert upright.size == upright.to_rgb().shape[:2]


# Display matrices (a, b, c, d), and what FFmpeg's autorotation puts before the picture for each
# (fftools/ffmpeg_filter.c): its own filters make the expected pictures.
MATRICES = {
    (1, 0, 0, 1): [],
    (-1, 0, 0, 1): [("hflip", "")],
    (1, 0, 0, -1): [("vflip", "")],
    (-1, 0, 0, -1): [("hflip", ""), ("vflip", "")],
    (0, 1, -1, 0): [("transpose", "clock")],
    (0, -1, 1, 0): [("transpose", "cclock")],
    (0, 1, 1, 0): [("transpose", "cclock_flip")],
    (0, -1, -1, 0): [("transpose", "clock_flip")],
}


def set_display_matrix(path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Write the matrix into the header of an MP4's track (ISO 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 4 + 5 * 4 + 8 + 4 * 2  # version 0: behind four times and the layers
    a, b, c, d = (65536 * value for value in matrix)
    struct.pack_into(">9i", data, start, a, b, 0, c, d, 0, 0, 0, 2**30)
    path.write_bytes(data)


@pytest.mark.parametrize("matrix", MATRICES)
def test_all_eight_orientations_are_shown_as_ffmpeg_shows_them(
    tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=2)
    plain = write_clip(tmp_path / "plain.mp4", frames=2)
    set_display_matrix(clip, matrix)
    with av.open(str(plain)) as container:
        stored = next(container.decode(video=0))
    graph = av.filter.Graph()
    size = {"width": stored.width, "height": stored.height}
    nodes = [graph.add_buffer(**size, format=stored.format, time_base=Fraction(1))]
    nodes += [graph.add(name, arguments) for name, arguments in MATRICES[matrix]]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    graph.push(stored)
    expected = graph.pull()
    with open_local(clip, SamplingConfig()) as video:
        frame = next(video.sample())
    assert frame.size == (expected.height, expected.width)
    shown = expected.reformat(format="rgb24").to_ndarray()
    assert np.abs(frame.to_rgb().astype(int) - shown).max() <= 1
    small, scale = frame.shrink_bgr(72)
    assert small.shape[:2] == tuple(round(side * scale) for side in frame.size)
    expected_small = cv2.resize(shown, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(small[:, :, ::-1].astype(int) - expected_small).mean() < 8  # shown wrongly: 30 and more


@pytest.mark.parametrize("rotation", [0, 180])
def test_a_turn_that_only_key_frames_tell_holds_for_all_after_the_containers(
    tmp_path: Path, rotation: int
) -> None:
    plain = write_clip(tmp_path / "plain.mp4", rotation=rotation, options={"x264-params": "keyint=12"})
    path = tmp_path / "clip.mp4"
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream, opaque=True)
        insert = BitStreamFilterContext("h264_metadata=display_orientation=insert:rotate=90", stream, copy)
        for packet in source.demux(stream):
            for changed in insert.filter(packet) if packet.size else []:
                changed.stream = copy
                target.mux(changed)
    with open_local(path, SamplingConfig(every_n=7)) as video:
        frames = list(video.sample())
    stored = decode_everything(plain)
    assert len(frames) == 9
    for frame in frames:
        np.testing.assert_array_equal(frame.to_rgb(), np.rot90(stored[frame.index], 2 if rotation else 1))


def test_a_picture_may_have_side_data_that_pyav_has_no_name_for(tmp_path: Path) -> None:
    path, exif = tmp_path / "camera.avi", Image.Exif()
    exif[0x010F] = "a camera"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 192, 144, "yuvj420p"
        for i in range(5):
            file = io.BytesIO()
            Image.fromarray(picture(i / 25)).save(file, "JPEG", quality=95, exif=exif)
            packet = av.Packet(file.getvalue())
            packet.pts = packet.dts = i
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)
    with open_local(path, SamplingConfig(every_n=1)) as video:
        frames = list(video.sample())
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert np.abs(frames[4].to_rgb().astype(int) - picture(4 / 25)).mean() < 8


@pytest.mark.parametrize(
    ("aspect", "rotation", "size"),
    [("64:45", 0, (144, 273)), ("64:45", 90, (273, 144)), ("8:9", 0, (162, 192)), ("1:1", 0, (144, 192))],
)
def test_pixels_that_are_not_square_are_shown_square(
    tmp_path: Path, aspect: str, rotation: int, size: tuple[int, int]
) -> None:
    options = {"x264-params": f"sar={aspect.replace(':', '/')}", "crf": "1"}
    clip = write_clip(tmp_path / "clip.mp4", frames=2, rotation=rotation, options=options)
    with open_local(clip, SamplingConfig()) as video:
        frame = next(video.sample())
    assert frame.size == size  # 192 x 144 stored
    part, small = frame.cut_region(20, 30, 60, 90), frame.shrink_bgr(72)[0]
    shown = frame.to_rgb()
    assert shown.shape[:2] == size and min(small.shape[:2]) == 72
    np.testing.assert_array_equal(part, shown[30:90, 20:60])
    expected = np.rot90(cv2.resize(picture(0.0), size[::-1] if not rotation else size), rotation // 90)
    assert np.abs(shown.astype(int) - expected).mean() < 5


@pytest.mark.parametrize("rotation", [0, 90])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuv420p10le"])
def test_a_part_converted_alone_has_the_pixels_of_the_whole(
    tmp_path: Path, pix_fmt: str, rotation: int
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=1, pix_fmt=pix_fmt, rotation=rotation, size=(190, 142))
    with open_local(clip, SamplingConfig()) as video:
        frame = next(video.sample())
    height, width = frame.size
    parts = [(0, 0, width, height), (31, 17, 98, 100), (width - 33, height - 41, width, height), (5, 6, 6, 7)]
    converted = [frame.cut_region(*part) for part in parts]  # before rgb() keeps the whole
    for (left, top, right, bottom), part in zip(parts, converted, strict=True):
        np.testing.assert_array_equal(part, frame.to_rgb()[top:bottom, left:right])


def test_sound_with_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "podcast.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=44100, layout="mono")
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 192, 144, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        shown = av.VideoFrame.from_ndarray(picture(0.0), format="rgb24").reformat(format="yuvj420p")
        shown.pts = 0
        container.mux([*cover.encode(shown), *cover.encode(None)])
        for i in range(40):
            heard = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            heard.rate, heard.pts = 44100, i * 1024
            container.mux(sound.encode(heard))
        container.mux(sound.encode(None))
    with pytest.raises(VideoError, match="no video stream beside a cover picture") as raised:
        open_local(path, SamplingConfig())
    assert raised.value.status == Status.UNSUPPORTED


def test_colours_are_rgb(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=1, pix_fmt="yuv444p", options={"crf": "1"})
    with open_local(clip, SamplingConfig()) as video:
        frame = next(video.sample())
    np.testing.assert_allclose(frame.to_rgb().mean((0, 1)), picture(0.0).mean((0, 1)), atol=3)
    small, _ = frame.shrink_bgr(72)
    np.testing.assert_allclose(small.mean((0, 1))[::-1], picture(0.0).mean((0, 1)), atol=4)


def test_a_still_image_is_a_video_of_one_frame_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to show
    Image.fromarray(picture(0.0)).save(tmp_path / "face.jpg", exif=exif, quality=95)
    with open_local(tmp_path / "face.jpg", SamplingConfig()) as video:
        frames = list(video.sample())
    assert [(frame.index, frame.size) for frame in frames] == [(0, (192, 144))]
    difference = np.abs(frames[0].to_rgb().astype(int) - np.rot90(picture(0.0), -1))
    assert difference.mean() < 8


def _status(content: bytes, config: SamplingConfig | None = None) -> Status:
    with (
        pytest.raises(VideoError) as caught,
        VideoFile(io.BytesIO(content), config or SamplingConfig()) as video,
    ):
        if not list(video.sample()):
            raise VideoError(Status.DECODE_ERROR, video.incomplete or "no frames")
    return caught.value.status


def test_an_empty_file_and_a_text_file_are_unreadable() -> None:
    assert _status(b"") == Status.UNREADABLE
    assert _status(b"this is not a video\n" * 100) == Status.UNREADABLE


def test_sound_without_pictures_is_unsupported(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert _status((tmp_path / "sound.mp4").read_bytes()) == Status.UNSUPPORTED


def test_a_title_that_is_not_utf_8_is_harmless(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=10, title="Cafe au lait")
    content = clip.read_bytes().replace(b"Cafe au lait", b"Caf\xe9 au lait")
    assert b"Caf\xe9" in content
    with VideoFile(io.BytesIO(content), SamplingConfig(every_n=1)) as video:
        assert len(list(video.sample())) == 10


def test_a_clip_cut_off_in_the_middle_gives_the_frames_that_are_left(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "clip.mkv", frames=100, options={"x264-params": "keyint=10"})
    content = whole.read_bytes()
    with VideoFile(io.BytesIO(content[: len(content) // 2]), SamplingConfig(every_n=10)) as video:
        frames = [frame.index for frame in video.sample()]
    assert 0 < len(frames) < 10
    assert frames == [10 * i for i in range(len(frames))]


def test_an_mp4_whose_index_was_cut_off_is_unreadable(tmp_path: Path) -> None:
    content = write_clip(tmp_path / "clip.mp4").read_bytes()
    assert _status(content[: len(content) // 2]) == Status.UNREADABLE


def test_limits_on_pixels_and_duration_give_unsupported(tmp_path: Path) -> None:
    content = write_clip(tmp_path / "clip.mp4").read_bytes()
    assert _status(content, SamplingConfig(max_pixels=100 * 100)) == Status.UNSUPPORTED
    assert _status(content, SamplingConfig(max_duration_seconds=1.0)) == Status.UNSUPPORTED


def test_an_image_that_unpacks_beyond_the_limit_is_refused_from_its_header() -> None:
    _, data = cv2.imencode(".png", np.zeros((3000, 3000), np.uint8))
    assert _status(data.tobytes(), SamplingConfig(max_pixels=1000 * 1000)) == Status.UNSUPPORTED


def test_a_video_that_takes_too_long_gives_timeout(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    ticks = iter(range(10**6))
    with (
        pytest.raises(VideoError) as caught,
        VideoFile(clip.open("rb"), SamplingConfig(timeout_seconds=20), clock=lambda: next(ticks)) as video,
    ):
        list(video.sample())
    assert caught.value.status == Status.TIMEOUT


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {target}\n",
        "ffconcat version 1.0\nfile file:{target}\n",
        "<?xml version='1.0'?><MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>",
    ],
    ids=["hls", "concat", "concat-protocol", "dash"],
)
def test_a_playlist_cannot_make_the_decoder_open_another_file(tmp_path: Path, playlist: str) -> None:
    target = write_clip(tmp_path / "secret.mp4", frames=3)
    before = target.stat().st_atime_ns
    assert _status(playlist.format(target=target).encode()) == Status.UNREADABLE
    assert target.stat().st_atime_ns == before


def test_a_frame_of_an_open_group_is_decoded_from_the_key_frame_before() -> None:
    # Decoding order I0 P3 B1 B2 | I6 B4 B5 P8: B4 and B5 are shown before I6 but decoded after it.
    stamps = np.array([0, 3, 1, 2, 6, 4, 5, 8])
    keys = np.array([1, 0, 0, 0, 1, 0, 0, 0], bool)
    assert find_needed_packets(stamps, keys, {5}).tolist() == [True] * 7 + [False]
    assert find_needed_packets(stamps, keys, {8}).tolist() == [False] * 4 + [True] * 4
