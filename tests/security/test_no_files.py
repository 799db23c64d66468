"""What is no file, and names that can be none, cost their row and no time."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deepfake.catalog.duplicates import hash_rows
from deepfake.catalog.load import load_catalog
from deepfake.config import (
    CatalogConfig,
    CropConfig,
    DetectorConfig,
    LeakcheckJobConfig,
    PreprocessJobConfig,
    ScoreJobConfig,
)
from deepfake.crops import extraction
from deepfake.errors import UsageError
from deepfake.io import lock
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.pipelines.leakcheck import pipeline as leakcheck
from deepfake.pipelines.preprocess import pipeline as preprocess
from deepfake.pipelines.score import pipeline as score
from tests import small_bundle
from tests.clips import write_clip
from tests.rows import video_row


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A manifest of what is no video, and one that is; the sizes have all be read as possible copies."""
    folder = tmp_path / "in"
    folder.mkdir()
    os.mkfifo(folder / "pipe.mp4")
    (folder / "endless.mp4").symlink_to("/dev/zero")
    with (folder / "sparse.mp4").open("wb") as file:
        file.truncate(2**42)  # four terabytes of nothing
    write_clip(folder / "good.mp4", frames=3)
    write_clip(folder / "other.mp4", frames=4)
    bad = ["pipe.mp4", "endless.mp4", "/dev/zero", "sparse.mp4", "/x://y", "file://relative", "nul\0.mp4"]
    bad += ["s3:///x.mp4", "s3://bucket", "s3://no bucket/x.mp4", f"file://{'x' * 4000}"]
    paths = [*bad, ".", "good.mp4", "other.mp4"]
    names = [f"{i}.mp4" for i in range(len(paths))]
    table = {"video_id": names, "path": paths, "size_bytes": [1000] * len(paths)}
    pq.write_table(pa.table(table), folder / "videos.parquet")
    return folder / "videos.parquet"


def test_preprocess_gives_each_a_status_and_goes_on(hostile: Path, tmp_path: Path) -> None:
    config = {
        "input": str(hostile), "output": str(tmp_path / "out"), "detector": {"name": "haar"},
        "ray": {"start": "never"},
    }  # fmt: skip
    preprocess.run(PreprocessJobConfig.model_validate(config))
    found = pq.read_table(tmp_path / "out" / "_manifest.parquet").sort_by("uri").to_pylist()
    statuses = Counter(row["status"] for row in found)
    assert statuses == {"no_face": 2, "unreadable": 8, "unsupported": 4}
    assert not any((row["status_detail"] or "").startswith("a fault of this program") for row in found)


def test_score_gives_each_a_status_and_a_page_of_all(hostile: Path, tmp_path: Path) -> None:
    small_bundle.red_is_fake(
        str(tmp_path / "bundle"), crop=CropConfig(), detector=DetectorConfig(name="haar")
    )
    config = {
        "input": str(hostile), "output": str(tmp_path / "out"), "bundle": str(tmp_path / "bundle"),
        "ray": {"start": "never"},
    }  # fmt: skip
    score.run(ScoreJobConfig.model_validate(config))
    found = pq.read_table(tmp_path / "out" / "video_scores").to_pylist()
    assert Counter(row["status"] for row in found) == {"no_face": 2, "unreadable": 8, "unsupported": 4}
    assert "good.mp4" in (tmp_path / "out" / "report.html").read_text()


def test_leakcheck_counts_them_and_goes_on(hostile: Path, tmp_path: Path) -> None:
    config = {"input": str(hostile), "output": str(tmp_path / "out"), "ray": {"start": "never"}}
    outcome = leakcheck.run(LeakcheckJobConfig.model_validate(config))
    assert (outcome.summary["pictures"], outcome.summary["unreadable"]) == (14, 12)


def test_sparse_files_of_as_many_bytes_as_a_file_may_have_take_no_longer_than_a_video_may(
    tmp_path: Path,
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("a.mp4", "b.mp4"):  # possible copies
        with (archive / name).open("wb") as file:
            file.truncate(2**40)
    config: dict[str, Any] = {"input": str(archive), "detector": {"name": "haar"}, "ray": {"start": "never"}}
    preprocess.run(
        PreprocessJobConfig.model_validate(
            {**config, "output": str(tmp_path / "crops"), "sampling": {"timeout_seconds": 0.5}}
        )
    )
    found = pq.read_table(tmp_path / "crops" / "_manifest.parquet")
    assert found["status"].to_pylist() == ["unreadable", "unreadable"]
    del config["detector"]
    outcome = leakcheck.run(
        LeakcheckJobConfig.model_validate(
            {**config, "output": str(tmp_path / "leaks"), "leakcheck": {"timeout_seconds": 0.5}}
        )
    )
    assert outcome.summary["unreadable"] == 2


def test_nothing_of_them_is_hashed(hostile: Path) -> None:
    rows = load_catalog(str(hostile), CatalogConfig(), Storage())
    found = hash_rows(rows, Storage())["content_sha256"]
    assert len(found) - found.null_count == 2


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
@pytest.mark.parametrize("name", ["pagemap", "cmdline"])
def test_what_says_to_be_empty_and_is_not_is_no_file(name: str) -> None:
    with pytest.raises(OSError):
        Storage().open(f"/proc/self/{name}")


def test_a_file_of_no_bytes_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with Storage().open(str(tmp_path / "a.mp4")) as file:
        assert file.read() == b""


def test_a_folder_of_parquet_files_with_a_pipe_among_them_is_read_without_it(tmp_path: Path) -> None:
    folder = tmp_path / "rows.parquet"
    folder.mkdir()
    pq.write_table(pa.table({"path": ["a.mp4"]}), folder / "part-0.parquet")
    os.mkfifo(folder / "part-1.parquet")
    assert load_catalog(str(folder), CatalogConfig(), Storage()).num_rows == 1


@pytest.mark.parametrize("what", ["folder", "pipe", "pid", "deep", "list", "long"])
def test_a_lock_that_is_none_is_refused_or_taken_over_in_words(tmp_path: Path, what: str) -> None:
    place = tmp_path / lock.FILE
    if what == "folder":
        place.mkdir()
    elif what == "pipe":
        os.mkfifo(place)
    else:
        host = lock.name_host()
        content = {
            "pid": f'{{"owner": "x", "host": "{host}", "pid": 1{"0" * 30}}}',
            "deep": "[" * 60_000,
            "list": "[1]",
            "long": '"' + "x" * 10**6,
        }[what]
        place.write_text(content)
    waited: list[float] = []
    try:
        with lock.hold(str(tmp_path), Storage(), pause=waited.append):
            assert what in ("pid", "deep", "list")
    except UsageError as error:
        assert what in ("folder", "pipe", "long")
        a_pipe = f"{place}: a pipe or device, which no output has; remove it"
        assert (a_pipe if what == "pipe" else "remove it if no job writes this output") in str(error)


@pytest.mark.parametrize(
    "error", [FileNotFoundError("archive/a\nb"), FileNotFoundError(2, "No such file or directory")]
)
def test_a_file_that_is_not_there_is_said_to_be_so_wherever_it_is(error: OSError) -> None:
    def work(video: dict[str, Any]) -> None:
        raise error

    video = extraction.attempt(video_row("a"), "haar", work)
    assert (video["status"], video["status_detail"]) == (Status.UNREADABLE, "No such file or directory")
