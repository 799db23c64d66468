"""What a leak check is given: a crops folder, or whatever the catalog lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake.config import LeakcheckJobConfig
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.io.run_record import write_record
from deepfake.io.storage import Storage
from deepfake.pipelines.leakcheck.inputs import load_input, select_used_videos
from tests.pipelines.leakcheck.made import crop, face, write
from tests.rows import video_row


def config(folder: Path | str, **more: object) -> LeakcheckJobConfig:
    return LeakcheckJobConfig.model_validate({"input": str(folder), "output": "out", **more})


@pytest.fixture
def crops(tmp_path: Path) -> str:
    return write(tmp_path / "crops", [crop(f"{name}.mp4", face(i), i % 2) for i, name in enumerate("cab")])


def test_a_crops_folder_is_known_by_its_manifest(crops: str) -> None:
    loaded = load_input(config(crops), Storage())
    assert loaded.kind == "crops" and loaded.uri == crops
    assert loaded.videos["video_id"].to_pylist() == ["a.mp4", "b.mp4", "c.mp4"]
    assert [Path(file).name for file in loaded.files] == ["part-00000.parquet", "part-00001.parquet"]


def test_a_limit_takes_the_first_videos(crops: str) -> None:
    loaded = load_input(config(crops, limit=2), Storage())
    assert loaded.videos["video_id"].to_pylist() == ["a.mp4", "b.mp4"]


def test_the_splits_are_those_of_the_preprocessing_that_made_the_crops(crops: str, tmp_path: Path) -> None:
    record = {"catalog": {"splits_dir": str(tmp_path / "splits")}}
    write_record(crops, Storage(), record)
    assert load_input(config(crops), Storage()).splits_dir is None  # it is gone
    (tmp_path / "splits").mkdir()
    assert load_input(config(crops), Storage()).splits_dir == str(tmp_path / "splits")


def test_crops_that_are_still_being_made_are_refused(crops: str) -> None:
    (Path(crops) / "_manifest.parquet").unlink()
    (Path(crops) / "_config.json").write_text("{}")
    (Path(crops) / "_work").mkdir()
    with pytest.raises(UsageError, match="has not finished"):
        load_input(config(crops), Storage())


def test_catalog_keys_are_refused_beside_crops_but_for_the_official_lists(crops: str) -> None:
    with pytest.raises(UsageError, match=r"catalog\.split_seed"):
        load_input(config(crops, catalog={"split_seed": 3}), Storage())
    load_input(config(crops, catalog={"split_seed": 0, "splits_dir": "lists"}), Storage())


def test_anything_else_is_listed_as_a_catalog_with_what_is_not_known_left_null(tmp_path: Path) -> None:
    for name in ("real/a.mp4", "fake/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not looked at here")
    loaded = load_input(config(tmp_path), Storage())
    assert loaded.kind == "catalog" and loaded.files == ()
    assert loaded.videos.schema.names == tables.list_columns("videos")
    assert loaded.videos["size_bytes"].to_pylist() == [18, 18]
    assert loaded.videos["content_sha256"].null_count == 2


def test_an_input_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        load_input(config(write(tmp_path / "crops", [])), Storage())


def test_copies_that_were_left_out_cannot_leak() -> None:
    rows = [video_row("a.mp4"), video_row("b.mp4", status="skipped_duplicate", duplicate_of="a.mp4")]
    used = select_used_videos(tables.from_rows("videos", rows))
    assert used["video_id"].to_pylist() == ["a.mp4"]
