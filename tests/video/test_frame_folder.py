"""A folder of frames is decoded as the video that they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from deepfake.catalog.load import load_catalog
from deepfake.config import CatalogConfig, SamplingConfig
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.video.errors import VideoError
from deepfake.video.source import open_video


def write(folder: Path, *numbers: int, name: str = "{}.png") -> str:
    """Pictures whose grey level is their number; the folder's URI."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(folder / name.format(number)), np.full((20, 30, 3), number, np.uint8))
    return f"{folder}/"


def sample(uri: str, **options: object) -> list[int]:
    """The grey levels of the sampled frames."""
    config = SamplingConfig.model_validate(options)
    with open_video(uri, Storage(), config) as source:
        frames = list(source.video.sample())
    assert [frame.index for frame in frames] == sorted(frame.index for frame in frames)
    return [int(frame.to_rgb()[0, 0, 0]) for frame in frames]


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    assert sample(write(tmp_path / "v", 10, 9, 1, 100), every_n=1) == [1, 9, 10, 100]


def test_a_policy_samples_them_as_it_would_the_video(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", *range(1, 101))
    assert sample(whole, every_n=30) == [1, 31, 61, 91]
    assert sample(whole, policy="count", count=4) == [13, 38, 63, 88]
    assert sample(whole, policy="per_second", per_second=1) == [1, 26, 51, 76]
    assert sample(whole, every_n=1, max_frames=2) == [26, 76]
    thinned = write(tmp_path / "thinned", *range(0, 100, 12))
    assert sample(thinned, every_n=30) == [0, 36, 60, 96]


@pytest.mark.parametrize(
    ("numbers", "indices"), [((0, 12, 24), [0, 12, 24]), ((1, 2, 4), [0, 1, 3]), ((12, 24), [12, 24])]
)
def test_a_frames_index_is_its_place_in_the_video(
    tmp_path: Path, numbers: tuple[int, ...], indices: list[int]
) -> None:
    uri = write(tmp_path / "v", *numbers)
    with open_video(uri, Storage(), SamplingConfig(every_n=1)) as source:
        frames = list(source.video.sample())
        assert [frame.index for frame in frames] == indices
        assert [frame.time_s for frame in frames] == [(index - indices[0]) / 25 for index in indices]
        [again] = source.video.decode_frames([indices[1]])
        assert int(again.to_rgb()[0, 0, 0]) == numbers[1]


def test_numbers_that_are_no_places_only_order_them(tmp_path: Path) -> None:
    uri = write(tmp_path / "v", 1, 2, 3, name="20210501120000{:03d}99999999.png")
    assert sample(uri, every_n=2) == [1, 3]
    assert sample(uri, policy="per_second", per_second=1000.0) == [1, 2, 3]
    assert sample(write(tmp_path / "faces", 1, 2, 3, name="{:04d}_0.png"), every_n=2) == [1, 3]


def test_its_facts_are_those_of_all_its_pictures(tmp_path: Path) -> None:
    uri = write(tmp_path / "v", 1, 2, 3)
    (tmp_path / "v" / "landmarks.npy").write_bytes(b"0")
    with open_video(uri, Storage(), SamplingConfig()) as source:
        info = source.video.info
        assert (info.codec, info.width, info.height, info.frames_total) == ("frames", 30, 20, 3)
        assert info.duration_s == pytest.approx(3 / 25)
        assert source.size_bytes == sum(path.stat().st_size for path in (tmp_path / "v").glob("*.png"))
        first = source.content_sha256
    other = write(tmp_path / "other", 1, 2, 3, name="frame_{:04d}.png")
    with open_video(other, Storage(), SamplingConfig()) as source:
        assert source.content_sha256 == first


@pytest.mark.s3
def test_frames_on_s3_are_listed_and_read_like_local_ones(tmp_path: Path, s3_root: str) -> None:
    local = write(tmp_path / "v", *range(1, 62))
    Storage().upload_folder(tmp_path / "v", f"{s3_root}/real/v")
    [row] = load_catalog(s3_root, CatalogConfig(), Storage()).to_pylist()
    assert (row["video_id"], row["uri"], row["label"]) == ("real/v", f"{s3_root}/real/v/", 0)
    assert sample(row["uri"]) == sample(local) == [1, 31, 61]
    with (
        open_video(row["uri"], Storage(), SamplingConfig()) as there,
        open_video(local, Storage(), SamplingConfig()) as here,
    ):
        assert there.content_sha256 == here.content_sha256
        assert there.size_bytes == here.size_bytes == row["size_bytes"]


def test_a_damaged_frame_is_left_out_and_told(tmp_path: Path) -> None:
    uri = write(tmp_path / "v", 1, 2, 3)
    (tmp_path / "v" / "2.png").write_bytes(b"no picture")
    with open_video(uri, Storage(), SamplingConfig(every_n=1)) as source:
        assert len(list(source.video.sample())) == 2
        assert "2.png: " in (source.video.incomplete or "")


def test_a_folder_without_pictures_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(VideoError) as raised:
        open_video(f"{tmp_path}/", Storage(), SamplingConfig())
    assert raised.value.status == Status.UNREADABLE
