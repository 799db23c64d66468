"""Files that were real until some of their bytes were changed: what reads them by hand answers or refuses."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from deepfake.crops.reader import decode_crop
from deepfake.errors import UsageError
from deepfake.faces import encoding, png
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError
from deepfake.model.bundle import BundleInfo, read_bundle_info, write_bundle
from deepfake.report import images
from deepfake.video.h264 import can_start
from deepfake.video.mp4 import find_media_ranges
from tests.clips import write_clip
from tests.rows import crop_row, video_row

FUZZED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PICTURE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

# Where bytes are changed, as shares of the length, and to what; most of it near the start, where headers are.
CHANGES = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 0.05), st.floats(0, 1)),
        st.sampled_from(
            [b"\0", b"\xff", b"\x80", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x01"]
        ),
        st.sampled_from(["over", "insert", "cut", "twice"]),
    ),
    min_size=1,
    max_size=6,
)
Changes = list[tuple[float, bytes, str]]


def change(data: bytes, changes: Changes) -> bytes:
    """The bytes with some overwritten, put in, cut off, or there a second time."""
    for share, new, how in changes:
        place = int(share * len(data))
        if how == "over":
            data = data[:place] + new + data[place + len(new) :]
        elif how == "insert":
            data = data[:place] + new + data[place:]
        elif how == "cut":
            data = data[: max(place, 1)] if share > 0.5 else data[:place] + data[place + 7 :]
        else:
            data = data[:place] + data[place : place + 64] + data[place:]
    return data


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", frames=6, sound=True)


@given(CHANGES)
@FUZZED
def test_the_boxes_of_an_mp4_file_are_ranges_within_it_or_none(clip: Path, changes: Changes) -> None:
    data = change(clip.read_bytes(), changes)
    found = find_media_ranges(io.BytesIO(data), max_boxes=1000)
    for start, stop in found or ():
        assert start >= 0 and stop <= len(data)


@pytest.fixture(scope="module")
def packets(clip: Path) -> tuple[list[bytes], bytes]:
    """H.264 packets of a clip with their lengths before them, and what says so."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size], bytes(
            stream.codec_context.extradata
        )


@given(CHANGES, st.integers(0, 5), st.booleans())
@FUZZED
def test_the_headers_of_h264_say_yes_or_no(
    packets: tuple[list[bytes], bytes], changes: Changes, number: int, plain: bool
) -> None:
    some, extradata = packets
    packet = change(some[number % len(some)][:4096], changes)
    if plain:  # start codes instead of lengths; SEI messages come first
        packet, extradata = b"\0\0\1\x06\x06\x05\x80" + b"\0\0\1" + packet[4:], b""
    assert can_start(packet, change(extradata, changes) if extradata else b"") in (True, False)


@given(CHANGES, st.sampled_from([".png", ".jpg", ".webp", ".bmp", "ours"]))
@FUZZED
def test_a_stored_crop_is_a_picture_or_refused(changes: Changes, suffix: str) -> None:
    whole = png.encode_png(PICTURE) if suffix == "ours" else images.encode_file(PICTURE, suffix)
    data = change(whole, changes)
    size = encoding.read_size(data)
    assert size is None or min(size) >= 0
    with contextlib.suppress(TableError):
        assert decode_crop(data, size=None).ndim == 3
    ours = png.decode_png(data)
    assert ours is None or ours.dtype == np.uint8


@given(CHANGES, st.sampled_from(["crops", "videos"]))
@example([(0.0, b"\0", "insert")], "crops")  # a page's header that is none
@FUZZED
def test_a_table_is_one_or_refused_by_its_name(tmp_path: Path, changes: Changes, name: str) -> None:
    path = tmp_path / "t.parquet"
    row = crop_row("a.mp4", 0, 0) if name == "crops" else video_row("a.mp4")
    tables.write_table(Storage(), str(path), tables.from_rows(name, [row]))
    path.write_bytes(change(path.read_bytes(), changes))
    try:
        table = tables.read_table(Storage(), str(path), name)
    except TableError as error:
        assert "t.parquet" in str(error)
    else:
        assert isinstance(table, pa.Table)


@given(CHANGES)
@FUZZED
def test_a_bundle_json_is_one_or_refused_by_its_name(tmp_path: Path, changes: Changes) -> None:
    write_bundle(str(tmp_path), Storage(), BundleInfo(model_sha256="0" * 64, threshold=0.5))
    path = tmp_path / "bundle.json"
    path.write_bytes(change(path.read_bytes(), changes))
    try:
        read_bundle_info(str(tmp_path), Storage())
    except UsageError as error:
        assert "bundle.json" in str(error)
