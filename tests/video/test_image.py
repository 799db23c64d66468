"""Still images and animations as footage."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from av.video.reformatter import ColorTrc
from PIL import Image

from deepfake.config import SamplingConfig
from deepfake.io.tables import Status
from deepfake.video import image
from deepfake.video.decoder import VideoFile, open_local
from deepfake.video.errors import VideoError
from tests.clips import picture, write_clip
from tests.video.test_colour import write_wide

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def saved(kind: str, pixels: np.ndarray = PIXELS) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def accept(width: int, height: int) -> None:
    assert (width, height) == (9, 6)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_pixels_are_those_that_another_library_wrote(kind: str) -> None:
    data = saved(kind)
    assert image.is_image(data[:16])
    found = image.ImageFile(io.BytesIO(data), accept)
    assert (found.kind, found.seconds, found.notes) == (kind.lower(), [0.0], None)
    [(index, rgb)] = found.read_pictures({0})
    assert index == 0
    np.testing.assert_array_equal(rgb, PIXELS)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_kinds_are_known_by_their_first_bytes(kind: str) -> None:
    data = saved(kind)
    assert image.is_image(data[:16])
    found = image.ImageFile(io.BytesIO(data), accept)
    [(_, rgb)] = found.read_pictures({0})
    assert (found.kind, rgb.shape) == (kind.lower(), PIXELS.shape)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\x00\x00\x00\x18ftypmp42",
        b"\x00\x00\x00\x18ftypavis",
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"GIF89a",
    ],
)
def test_videos_are_not_taken_for_images(head: bytes) -> None:
    assert not image.is_image(head)


def test_the_size_is_checked_before_anything_is_unpacked() -> None:
    def refuse(width: int, height: int) -> None:
        raise VideoError(Status.UNSUPPORTED, f"{width} by {height}")

    only_header = saved("PNG")[:50]
    with pytest.raises(VideoError, match="9 by 6"):
        image.ImageFile(io.BytesIO(only_header), refuse)


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"\x89PNG\r\n\x1a\n and no more", Status.UNREADABLE), (saved("PNG")[:50], Status.DECODE_ERROR)],
)
def test_what_is_wrong_with_an_image_is_its_status(data: bytes, status: Status) -> None:
    with pytest.raises(VideoError) as raised:
        image.ImageFile(io.BytesIO(data), accept)
    assert raised.value.status == status
    assert " at 0x" not in str(raised.value), "two runs differ"


SHOWN = [0.1, 0.3, 0.2, 0.1]  # seconds


def series(kind: str, count: int = len(SHOWN), **options: Any) -> bytes:
    """``count`` pictures of PIXELS, each a row lower."""
    pictures = [Image.fromarray(np.roll(PIXELS, i, 0)) for i in range(count)]
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_read_as_the_video_that_it_is(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = series(kind, duration=[int(1000 * seconds) for seconds in SHOWN], **options)
    with VideoFile(io.BytesIO(data), SamplingConfig(every_n=2)) as video:
        frames = list(video.sample())
    assert (video.info.codec, video.info.frames_total) == (kind.lower(), 4)
    assert video.info.duration_s == pytest.approx(0.7)
    assert [(frame.index, round(frame.time_s, 3)) for frame in frames] == [(0, 0.0), (2, 0.4)]
    for frame in frames:
        np.testing.assert_array_equal(frame.to_rgb(), np.roll(PIXELS, frame.index, 0))


def test_the_picture_that_stands_for_an_animation_is_none_of_it() -> None:
    found = image.ImageFile(io.BytesIO(series("PNG", duration=0, default_image=True)), accept)
    assert found.seconds == [0.1] * 3
    np.testing.assert_array_equal(dict(found.read_pictures({0}))[0], np.roll(PIXELS, 1, 0))


def test_the_pages_of_a_tiff_are_frames_and_the_row_says_so() -> None:
    with VideoFile(io.BytesIO(series("TIFF")), SamplingConfig(every_n=1)) as video:
        frames = list(video.sample())
    assert video.info.notes == "4 pages, taken as frames 1 s apart"
    assert [frame.time_s for frame in frames] == [0.0, 1.0, 2.0, 3.0]
    for frame in frames:
        np.testing.assert_array_equal(frame.to_rgb(), np.roll(PIXELS, frame.index, 0))


def test_pages_of_16_bits_keep_their_high_8() -> None:
    grey = [np.full((6, 9), 256 * level, np.uint16) for level in (10, 200)]
    file = io.BytesIO()
    Image.fromarray(grey[0]).save(file, "TIFF", save_all=True, append_images=[Image.fromarray(grey[1])])
    found = dict(image.ImageFile(file, accept).read_pictures({0, 1}))
    assert [int(rgb.mean()) for rgb in found.values()] == [10, 200]


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_pictures_of_a_series_are_turned_as_its_exif_says(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to show
    data = series(kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    with VideoFile(io.BytesIO(data), SamplingConfig(every_n=1)) as video:
        frames = list(video.sample())
    assert len(frames) == 4
    for frame in frames:
        np.testing.assert_array_equal(frame.to_rgb(), np.rot90(np.roll(PIXELS, frame.index, 0), -1))


def test_a_tiff_of_jpeg_strips_or_with_transparency_is_an_image() -> None:
    tall = np.repeat(np.repeat(PIXELS, 40, 0), 16, 1)
    file = io.BytesIO()
    Image.fromarray(tall).save(file, "TIFF", compression="jpeg", strip_size=4000, quality=95)
    assert file.getvalue().count(b"\xff\xd9\xff\xd8\xff") > 1
    with VideoFile(io.BytesIO(file.getvalue()), SamplingConfig()) as video:
        [frame] = video.sample()
    assert np.abs(frame.to_rgb().astype(int) - tall).mean() < 12
    transparent, file = Image.fromarray(PIXELS), io.BytesIO()
    transparent.putalpha(0)
    transparent.save(file, "TIFF")
    [(_, rgb)] = image.ImageFile(file, accept).read_pictures({0})
    np.testing.assert_array_equal(rgb, PIXELS)


def test_an_animation_that_was_cut_off_gives_what_is_left_and_says_so() -> None:
    data = series("PNG", duration=100)
    with VideoFile(io.BytesIO(data[: len(data) * 2 // 3]), SamplingConfig(every_n=1)) as video:
        frames = list(video.sample())
    assert 0 < len(frames) < 4
    assert video.incomplete and video.incomplete.startswith(f"damaged from picture {len(frames)} on")


def test_a_photograph_with_previews_is_one_picture() -> None:
    with VideoFile(io.BytesIO(series("MPO")), SamplingConfig(every_n=1)) as video:
        assert [frame.index for frame in video.sample()] == [0]


@pytest.mark.parametrize("name", ["photo.heic", "photo.jpg"])
def test_a_photograph_in_tiles_is_whole_and_upright(cases: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes((cases / "heic" / "iphone-arrow.heic").read_bytes())
    with open_local(path, SamplingConfig()) as video:
        [frame] = video.sample()
    assert frame.size == (4032, 3024)
    assert (video.info.codec, video.info.frames_total) == ("heif", 1)


def test_an_avif_photograph_is_turned_as_it_says_and_an_avif_animation_is_a_video() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to show
    pixels = np.repeat(np.repeat(PIXELS, 16, 0), 16, 1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "AVIF", exif=exif, quality=100, subsampling="4:4:4")
    with VideoFile(io.BytesIO(file.getvalue()), SamplingConfig()) as video:
        [frame] = video.sample()
    assert np.abs(frame.to_rgb().astype(int) - np.rot90(pixels, -1)).mean() < 3
    moving = [Image.fromarray(np.roll(pixels, 16 * i, 0)) for i in range(4)]
    file = io.BytesIO()
    moving[0].save(file, "AVIF", save_all=True, append_images=moving[1:], duration=200)
    with VideoFile(io.BytesIO(file.getvalue()), SamplingConfig(every_n=1)) as video:
        assert [frame.time_s for frame in video.sample()] == pytest.approx([0.0, 0.2, 0.4, 0.6])


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


def full_box(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24), *parts)


def make_heic(movie: bytes, size: tuple[int, int], transfer: int) -> bytes:
    """The first frame of an MP4 of HEVC as a photograph (ISO 23008-12, ISO 14496-12, 8.11)."""
    start = movie.index(b"hvcC") - 4
    decoder = movie[start : start + int.from_bytes(movie[start : start + 4])]
    sizes, places = movie.index(b"stsz") + 4, movie.index(b"stco") + 4
    length = int.from_bytes(movie[sizes + 12 : sizes + 16])
    place = int.from_bytes(movie[places + 8 : places + 12])
    colour = box(b"colr", b"nclx", struct.pack(">HHHB", 9, transfer, 9, 0))
    depth = full_box(b"pixi", bytes([3, 10, 10, 10]))
    properties = box(b"ipco", decoder, full_box(b"ispe", struct.pack(">II", *size)), depth, colour)
    uses = full_box(b"ipma", struct.pack(">IHB4B", 1, 1, 4, 0x81, 2, 3, 4))
    head = box(b"ftyp", b"heix" + bytes(4) + b"mif1heix")

    def make_meta(where: int) -> bytes:
        item = full_box(b"infe", struct.pack(">HH4s", 1, 0, b"hvc1") + b"\0", version=2)
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
            full_box(b"pitm", struct.pack(">H", 1)),
            full_box(b"iloc", bytes([0x44, 0]), struct.pack(">HHHHII", 1, 1, 0, 1, where, length)),
            full_box(b"iinf", struct.pack(">H", 1), item),
            box(b"iprp", properties, uses),
        )

    meta = make_meta(len(head) + len(make_meta(0)) + 8)
    return head + meta + box(b"mdat", movie[place : place + length])


@pytest.mark.parametrize("transfer", [ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084])
def test_a_photograph_of_high_dynamic_range_is_shown_as_a_standard_one(
    tmp_path: Path, transfer: ColorTrc
) -> None:
    shown = picture(0.0)
    movie = write_wide(tmp_path / "wide.mp4", shown, transfer).read_bytes()
    with VideoFile(io.BytesIO(make_heic(movie, (192, 144), int(transfer))), SamplingConfig()) as video:
        [frame] = video.sample()
    assert video.info.transfer == transfer.name.lower().replace("_", "-")
    assert np.abs(frame.to_rgb().astype(int) - shown).mean() < 1


@pytest.mark.parametrize("has_exif", [False, True])
def test_a_bare_stream_of_jpeg_pictures_is_a_video(tmp_path: Path, has_exif: bool) -> None:
    clip, exif = tmp_path / "clip.mjpeg", Image.Exif()
    write_clip(clip, codec="mjpeg", pix_fmt="yuvj420p", frames=30)
    if has_exif:
        exif[0x010F] = "a camera"
        file = io.BytesIO()
        Image.fromarray(np.zeros((144, 192, 3), np.uint8)).save(file, "JPEG", exif=exif)
        clip.write_bytes(file.getvalue() * 30)
    with open_local(clip, SamplingConfig(every_n=10)) as video:
        assert [frame.index for frame in video.sample()] == [0, 10, 20]
    assert video.info.frames_total == 30
