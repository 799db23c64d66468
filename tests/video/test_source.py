"""Of a large file only what is wanted is read, from disk and a real S3 server; the frames are the same."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepfake.config import CropConfig, DetectorConfig, SamplingConfig
from deepfake.crops.extraction import ExtractConfig, extract
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.io.uri import join
from deepfake.video.errors import VideoError
from deepfake.video.frame import Frame
from deepfake.video.source import VideoSource, open_video, read_whole
from tests.clips import decode_everything, write_clip
from tests.disks import mount_disk

SPARSE = SamplingConfig(policy="count", count=3)
DENSE = SamplingConfig(every_n=1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """9 MB: 300 frames that are all key frames, and sound."""
    path = tmp_path_factory.mktemp("clips") / "long.mov"
    return write_clip(path, frames=300, size=(640, 480), codec="mjpeg", pix_fmt="yuvj420p", sound=True)


@pytest.fixture(autouse=True)
def megabyte_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepfake.video.source.PARTIAL_BYTES", 10**6)


def frames(source: VideoSource) -> dict[int, np.ndarray]:
    return {frame.index: frame.to_rgb() for frame in source.video.sample()}


@pytest.fixture
def asked(s3_root: str) -> Iterator[list[str | None]]:
    """The ``Range`` of every GetObject request that goes to the server."""
    filesystem, _ = Storage().locate(s3_root)
    filesystem.connect()
    found: list[str | None] = []

    def note(request: Any, **_: Any) -> None:
        value = request.headers.get("Range")
        found.append(value.decode() if isinstance(value, bytes) else value)

    events = filesystem.s3.meta.events
    events.register("before-send.s3.GetObject", note)
    yield found
    events.unregister("before-send.s3.GetObject", note)


def length(value: str | None) -> int:
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", value or "")
    assert match, f"a request for a part, not {value}"
    return int(match[2]) - int(match[1]) + 1


def test_of_a_large_object_only_what_sparse_frames_need_is_asked_for(
    clip: Path, s3_root: str, asked: list[str | None]
) -> None:
    storage, uri = Storage(), join(s3_root, "long.mov")
    storage.write_bytes(uri, clip.read_bytes())
    with open_video(uri, storage, SPARSE) as source:
        found = frames(source)
        assert source.content_sha256 is None
        assert source.etag == hashlib.md5(clip.read_bytes(), usedforsecurity=False).hexdigest()
        assert source.size_bytes == clip.stat().st_size
    everything = decode_everything(clip)
    assert sorted(found) == [50, 150, 250]
    for index, rgb in found.items():
        np.testing.assert_array_equal(rgb, everything[index])
    assert sum(map(length, asked)) < clip.stat().st_size / 5
    assert len(asked) < 12


@pytest.mark.parametrize("sampling", [SPARSE, DENSE], ids=["sparse", "dense"])
@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_what_is_recorded_of_a_large_file_does_not_depend_on_where_it_lies(
    clip: Path, s3_root: str, tmp_path: Path, suffix: str, sampling: SamplingConfig
) -> None:
    storage = Storage()
    path = clip
    if suffix == ".mkv":
        path = write_clip(tmp_path / "long.mkv", frames=60, size=(640, 480), codec="ffv1")
    assert path.stat().st_size > 10**6
    uri = join(s3_root, f"long{suffix}")
    storage.write_bytes(uri, path.read_bytes())
    with open_video(str(path), storage, sampling) as local, open_video(uri, storage, sampling) as remote:
        assert local.content_sha256 == remote.content_sha256
        assert (local.content_sha256 is None) == (suffix == ".mov" and sampling is SPARSE)
        assert local.etag is None
        assert (remote.etag is None) == (remote.content_sha256 is not None)
        if local.content_sha256 is not None:
            assert local.content_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        here, there = frames(local), frames(remote)
    assert list(here) == list(there)
    for index, rgb in here.items():
        np.testing.assert_array_equal(rgb, there[index])


def test_a_small_file_is_read_whole_and_hashed(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "small.mp4")
    with open_video(str(clip), Storage(), SPARSE) as source:
        assert source.content_sha256 == hashlib.sha256(clip.read_bytes()).hexdigest()
        assert len(frames(source)) == 3


class NoFaces:
    """A detector that looks and finds nobody; on its first look it does what the test wants done."""

    name = "none"

    def __init__(self, meanwhile: Any = None) -> None:
        self._meanwhile = meanwhile

    def detect(self, frame: Frame) -> list[Any]:
        if self._meanwhile:
            self._meanwhile()
            self._meanwhile = None
        return []


def test_an_object_replaced_while_parts_of_it_are_read_is_unreadable(clip: Path, s3_root: str) -> None:
    storage, uri = Storage(), join(s3_root, "long.mov")
    config = ExtractConfig(SPARSE, DetectorConfig(name="haar"), CropConfig())
    entry = {"video_id": "long.mov", "uri": uri}
    storage.write_bytes(uri, clip.read_bytes())
    row = extract(entry, config, NoFaces(), storage).video
    assert (row["status"], row["content_sha256"]) == (Status.NO_FACE, None)
    assert row["etag"]
    other = bytearray(clip.read_bytes())
    other[-1] ^= 1
    row = extract(entry, config, NoFaces(lambda: storage.write_bytes(uri, bytes(other))), storage).video
    assert row["status"] == Status.UNREADABLE
    assert row["status_detail"] == "it was replaced while it was read"


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """16 MiB for temporary files, as a disk of its own."""
    with mount_disk(tmp_path / "small", 16) as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield folder


def test_what_is_fetched_whole_leaves_as_much_room_as_it_takes(
    small_disk: Path, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfake.video.source.SPOOL_BYTES", 2**20)
    for megabytes in (5, 12):
        Storage().write_bytes(join(s3_root, f"{megabytes}.mov"), bytes(megabytes * 2**20))
    file, digest, size = read_whole(join(s3_root, "5.mov"), Storage())
    with file:
        assert (digest, size) == (hashlib.sha256(bytes(size)).hexdigest(), 5 * 2**20)
        with pytest.raises(VideoError, match="larger than half of what is free") as refused:
            read_whole(join(s3_root, "12.mov"), Storage())
    assert (refused.value.status, refused.value.retry) == (Status.UNSUPPORTED, True)
    assert shutil.disk_usage(small_disk).used == 0
    # what was held in memory until then is all written at once
    monkeypatch.setattr("deepfake.video.source.SPOOL_BYTES", 20 * 2**20)
    filesystem, path = Storage().locate(join(s3_root, "30.mov"))
    filesystem.pipe_file(path, bytes(30 * 2**20))  # not by way of the small disk
    with pytest.raises(VideoError, match="larger than half of what is free"):
        read_whole(join(s3_root, "30.mov"), Storage())
    assert shutil.disk_usage(small_disk).used == 0
