"""High dynamic range and wide gamut are shown as the standard pictures that they were made of."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorTrc

from deepfake.config import SamplingConfig
from deepfake.video.colour import HLG, PQ, is_standard, name_transfer, to_standard
from deepfake.video.decoder import open_local
from tests.clips import picture

# ITU-R BT.2087-0, table 2: linear BT.709 to BT.2020.
TO_BT2020 = np.array(
    [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]], np.float64
)


def encode_light(light: np.ndarray, transfer: ColorTrc) -> np.ndarray:
    """The signal of light in cd/m2: the inverse of SMPTE ST 2084 and of BT.2100's HLG at 1000 cd/m2."""
    if transfer == ColorTrc.SMPTE2084:
        power = (light / 10_000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    if transfer == ColorTrc.ARIB_STD_B67:
        scene = (light / 1000) ** (1 / 1.2)
        upper = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        return np.where(scene <= 1 / 12, np.sqrt(3 * scene), upper)
    return (light / 203) ** (1 / 2.4)


def write_wide(path: Path, shown: np.ndarray, transfer: ColorTrc) -> Path:
    """Two frames of 10 bits in BT.2020 that a display of 203 cd/m2 shows as (h, w, 3) uint8 ``shown``."""
    light = 203 * (shown / 255) ** 2.4 @ TO_BT2020.T
    signal = np.rint(encode_light(light, transfer) * 65535).astype(np.uint16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25)
        stream.height, stream.width, stream.pix_fmt = *shown.shape[:2], "yuv444p10le"
        stream.options = {"x265-params": "log-level=none:lossless=1:colormatrix=bt2020nc:bframes=0"}
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = transfer, ColorPrimaries.BT2020, 9
        context.color_range = 1
        for number in range(2):
            frame = av.VideoFrame.from_ndarray(signal, format="rgb48le")
            frame = frame.reformat(format="yuv444p10le", dst_colorspace="BT2020", dst_color_range=1)
            frame.color_trc, frame.color_primaries, frame.colorspace = transfer, ColorPrimaries.BT2020, 9
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("transfer", [ColorTrc.ARIB_STD_B67, ColorTrc.SMPTE2084, ColorTrc.BT2020_10])
def test_wide_pictures_are_shown_as_the_standard_picture_that_they_were_made_of(
    tmp_path: Path, transfer: ColorTrc
) -> None:
    shown = picture(0.0)
    clip = write_wide(tmp_path / "clip.mp4", shown, transfer)
    with open_local(clip, SamplingConfig()) as video:
        assert video.info.transfer == transfer.name.lower().replace("_", "-")
        frame = next(video.sample())
    small, _ = frame.shrink_bgr(72)
    part = frame.cut_region(10, 20, 90, 100)
    # A dark colour beside a bright one is lost in the rounding of 10 bits.
    assert np.percentile(np.abs(frame.to_rgb().astype(int) - shown), 99) <= 1
    np.testing.assert_allclose(frame.to_rgb().mean((0, 1)), shown.mean((0, 1)), atol=1)
    np.testing.assert_allclose(small.mean((0, 1))[::-1], shown.mean((0, 1)), atol=2)
    np.testing.assert_array_equal(part, frame.to_rgb()[20:100, 10:90])
    grey = shown @ [0.299, 0.587, 0.114]
    assert frame.shrink_grey(72)[0].mean() == pytest.approx(grey.mean(), abs=2)


# BT.2408-8, tables 1 and 2: the signal of HDR reference white, 203 cd/m2; BT.2100: 1000 cd/m2 and more.
@pytest.mark.parametrize(("transfer", "signal"), [(PQ, 0.581), (HLG, 0.75), (PQ, 0.76), (HLG, 1.0)])
def test_reference_white_and_what_is_brighter_is_white(transfer: int, signal: float) -> None:
    white = np.full((1, 1, 3), round(65535 * signal), np.uint16)
    assert to_standard(white, transfer, 9).min() >= 254
    assert to_standard(white // 2, transfer, 9).max() < 160


def test_standard_pictures_are_left_alone() -> None:
    assert all(is_standard(trc, primaries) for trc in (1, 2, 6, 13) for primaries in (1, 2, 5, 6))
    assert not is_standard(HLG, 1) and not is_standard(PQ, 2) and not is_standard(1, 9)
    assert name_transfer(2) is None and name_transfer(3) is None
    assert name_transfer(1) == "bt709"


def test_a_phones_hlg_has_the_colours_of_what_it_was_made_of(cases: Path) -> None:
    with (
        open_local(cases / "hdr" / "hlg.mov", SamplingConfig()) as wide,
        open_local(cases / "base" / "base.mp4", SamplingConfig()) as plain,
    ):
        for one, other in zip(wide.sample(), plain.sample(), strict=True):
            face = (slice(57, 170), slice(250, 390))
            means = [frame.to_rgb()[face].mean((0, 1)) for frame in (one, other)]
            np.testing.assert_allclose(*means, atol=1.5)
