"""Whatever the stored format, depth, fields or transparency: the picture in RGB, alike in every view."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from deepfake.config import SamplingConfig
from deepfake.video.decoder import open_local
from tests.clips import decode_everything, picture, write_clip

# All that FFV1 stores, less floating point, which swscale does not write.
FORMATS = sorted(
    kind.name
    for kind in av.Codec("ffv1", "w").video_formats or ()
    if not kind.name.endswith(("f16le", "f32le"))
)


def half_transparent(t: float, width: int, height: int) -> av.VideoFrame:
    opaque = picture(t, width, height)
    alpha = np.full((height, width, 1), 100, np.uint8)
    return av.VideoFrame.from_ndarray(np.concatenate([opaque, alpha], 2), format="rgba")


def mosaic(t: float, width: int, height: int) -> av.VideoFrame:
    """What a camera's sensor saw, one colour a pixel, which swscale reads but does not write."""
    opaque = picture(t, width, height).astype(np.uint16) * 257
    seen = opaque[..., 1].copy()
    seen[::2, ::2], seen[1::2, 1::2] = opaque[::2, ::2, 0], opaque[1::2, 1::2, 2]
    return av.VideoFrame.from_ndarray(seen, format="bayer_rggb16le")


def write_lossless(path: Path, pixel_format: str, size: tuple[int, int] = (190, 142)) -> Path:
    """Two frames in FFV1, half transparent where the format knows transparency."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        (stream.width, stream.height), stream.pix_fmt = size, pixel_format
        for i in range(2):
            if pixel_format == "bayer_rggb16le":
                stream.options = {"level": "4", "strict": "experimental"}
                frame = mosaic(i / 25, *size)
            else:
                frame = half_transparent(i / 25, *size).reformat(format=pixel_format)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_there_are_formats_of_every_kind_to_try() -> None:
    assert {"yuv420p", "yuv411p", "yuva444p10le", "gray16le", "bgra", "gbrp12le"} <= set(FORMATS)


@pytest.mark.parametrize("pixel_format", FORMATS)
def test_every_format_gives_the_picture_in_rgb(tmp_path: Path, pixel_format: str) -> None:
    clip = write_lossless(tmp_path / "clip.mkv", pixel_format)
    with open_local(clip, SamplingConfig(every_n=1)) as video:
        frames = list(video.sample())
    assert len(frames) == 2
    assert video.incomplete is None
    colourless = pixel_format.startswith(("gray", "ya"))
    for frame in frames:
        region = frame.cut_region(21, 13, 150, 99)  # before rgb() keeps the whole
        rgb = frame.to_rgb()
        assert (rgb.shape, rgb.dtype) == ((142, 190, 3), np.uint8)
        np.testing.assert_array_equal(region, rgb[13:99, 21:150])
        expected = picture(frame.time_s, 190, 142)
        if colourless:
            expected = cv2.cvtColor(cv2.cvtColor(expected, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        # Chroma of 4:1:0 is one sample for sixteen pixels; the texture's is finer.
        assert np.abs(rgb.astype(int) - expected).mean() < (4 if colourless else 14)
        small, _ = frame.shrink_bgr(71)
        assert small.shape == (71, 95, 3)
        large = cv2.resize(rgb[..., ::-1], (95, 71), interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - large).mean() < 6
        grey, _ = frame.shrink_grey(71)
        luma = cv2.cvtColor(large, cv2.COLOR_BGR2GRAY).astype(int)
        assert np.corrcoef(grey.ravel(), luma.ravel())[0, 1] > 0.85


@pytest.mark.parametrize("size", [(191, 143), (17, 240), (33, 33)])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv410p", "yuv422p10le", "yuva420p"])
def test_odd_sizes_lose_no_row_or_column(tmp_path: Path, pixel_format: str, size: tuple[int, int]) -> None:
    clip = write_lossless(tmp_path / "clip.mkv", pixel_format, size)
    with open_local(clip, SamplingConfig()) as video:
        frame = next(video.sample())
    width, height = size
    region = frame.cut_region(width - 9, height - 7, width, height)
    assert frame.to_rgb().shape == (height, width, 3)
    np.testing.assert_array_equal(region, frame.to_rgb()[-7:, -9:])


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("libx264", ".mp4", {"x264-params": "interlaced=1:tff=1:bframes=2:keyint=12"}),
        ("libx264", ".ts", {"x264-params": "interlaced=1:tff=1:bframes=2:keyint=12"}),
        ("mpeg2video", ".ts", {"flags": "+ildct+ilme", "bf": "2", "g": "12"}),
        ("mpeg2video", ".mpg", {"flags": "+ildct+ilme", "bf": "2", "g": "12"}),
        ("mpeg4", ".mp4", {"flags": "+ildct+ilme", "bf": "2", "g": "12"}),
    ],
)
def test_interlaced_frames_come_as_stored_both_fields_woven(
    tmp_path: Path, codec: str, suffix: str, options: dict[str, str]
) -> None:
    clip = write_clip(tmp_path / f"clip{suffix}", codec=codec, options=options)
    with av.open(str(clip)) as container:
        assert any(frame.interlaced_frame for frame in container.decode(video=0))
    everything = decode_everything(clip)
    with open_local(clip, SamplingConfig(every_n=7)) as video:
        sampled = {frame.index: frame.to_rgb() for frame in video.sample()}
    assert sorted(sampled) == list(range(0, 60, 7))
    for index, rgb in sampled.items():
        np.testing.assert_array_equal(rgb, everything[index], err_msg=f"frame {index}")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "I;16", "1"])
def test_still_images_of_every_mode_give_the_picture_in_rgb(tmp_path: Path, mode: str) -> None:
    colour = Image.fromarray(picture(0.0))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16) << 8)
    else:
        image = colour.convert("RGBA" if mode == "RGBA" else mode)
        if mode in ("RGBA", "LA"):
            image.putalpha(100)
    image.save(tmp_path / "face.png")
    with open_local(tmp_path / "face.png", SamplingConfig()) as video:
        [frame] = video.sample()
    rgb = frame.to_rgb()
    assert (rgb.shape, rgb.dtype) == ((144, 192, 3), np.uint8)
    expected = np.asarray(image.convert("RGB") if mode != "I;16" else colour.convert("L").convert("RGB"))
    assert np.abs(rgb.astype(int) - expected).mean() < 2
