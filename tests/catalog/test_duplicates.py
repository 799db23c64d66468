"""The same bytes are decoded once, whatever their names; equal bytes under two labels are told."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from deepfake.catalog import duplicates
from deepfake.config import PreprocessJobConfig
from deepfake.execution import planning
from deepfake.execution.output import Output
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.preprocess import pipeline


def _catalog(folder: Path, contents: dict[str, bytes], labels: dict[str, int] | None = None) -> pa.Table:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return tables.from_rows(
        "catalog",
        [
            {
                "video_id": name,
                "uri": str(folder / name),
                "size_bytes": len(content),
                "label": (labels or {}).get(name),
            }
            for name, content in sorted(contents.items())
        ],
    )


def _separate(catalog: pa.Table, earlier: pa.Table | None = None) -> tuple[pa.Table, pa.Table]:
    hashed = duplicates.hash_rows(duplicates.list_suspects(catalog, earlier), Storage())
    pairs = zip(hashed["video_id"].to_pylist(), hashed["content_sha256"].to_pylist(), strict=True)
    return duplicates.separate_duplicates(catalog, earlier, dict(pairs))


def test_only_files_of_equal_size_are_read(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path, {"a": b"12", "b": b"123", "c": b"45", "d": b"", "e": b""})
    assert duplicates.list_suspects(catalog, None)["video_id"].to_pylist() == ["a", "c"]


def test_the_first_of_equal_files_stands_for_the_others(tmp_path: Path) -> None:
    rest, copies = _separate(_catalog(tmp_path, {"a": b"same", "b": b"else", "c": b"same", "d": b"same"}))
    assert rest["video_id"].to_pylist() == ["a", "b"]
    assert [(row["video_id"], row["duplicate_of"], row["status"]) for row in copies.to_pylist()] == [
        ("c", "a", "skipped_duplicate"),
        ("d", "a", "skipped_duplicate"),
    ]


def test_equal_bytes_under_two_labels_are_kept_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    catalog = _catalog(tmp_path, {"fake.mp4": b"same", "real.mp4": b"same"}, {"fake.mp4": 1, "real.mp4": 0})
    with caplog.at_level(logging.WARNING):
        rest, _ = _separate(catalog)
    assert rest.num_rows == 2
    assert "real.mp4" in caplog.text


def test_a_copy_of_a_video_of_an_earlier_run_is_left_out(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path, {"new": b"same"})
    [digest] = duplicates.hash_rows(catalog, Storage())["content_sha256"].to_pylist()
    row = {"video_id": "old", "uri": "old", "status": "ok", "content_sha256": digest, "size_bytes": 4}
    counts = {"frames_sampled": 1, "frames_with_face": 1, "faces": 1}
    _, copies = _separate(catalog, tables.from_rows("videos", [row | counts]))
    assert [row["duplicate_of"] for row in copies.to_pylist()] == ["old"]


def test_a_copy_of_a_video_that_was_read_in_part_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"same")
    catalog = _catalog(tmp_path, {"new": b"same", "other": b"else", "longer": b"longer"})
    row = {"video_id": "old", "uri": str(tmp_path / "old"), "status": "ok", "size_bytes": 4}
    counts = {"frames_sampled": 1, "frames_with_face": 1, "faces": 1}
    rest, copies = _separate(catalog, tables.from_rows("videos", [row | counts]))
    assert [row["duplicate_of"] for row in copies.to_pylist()] == ["old"]
    assert rest["video_id"].to_pylist() == ["longer", "other"]


def test_a_run_that_starts_again_reads_no_file_twice(tmp_path: Path) -> None:
    catalog = _catalog(tmp_path, {"a": b"same", "b": b"else", "c": b"same", "d": b"alone"})
    config = PreprocessJobConfig(input=str(tmp_path), output=str(tmp_path / "out"))
    output = Output(config.output, Storage(), "0" * 64, {"videos": "", "crops": ""})
    first = planning.choose_units(catalog, config, output, "0" * 64)
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).unlink()
    again = planning.choose_units(catalog, config, output, "0" * 64)
    assert first.copies["video_id"].to_pylist() == again.copies["video_id"].to_pylist() == ["c"]
    assert (first.copies_id, len(first.units)) == (again.copies_id, len(again.units))


@pytest.mark.slow
def test_the_job_decodes_copies_once_and_lists_them_in_the_manifest(ffpp_small: Path, tmp_path: Path) -> None:
    clip = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))[0].read_bytes()
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (archive / name).write_bytes(clip)
    for dedupe in (True, False):
        output = tmp_path / f"crops-{dedupe}"
        config = {"input": str(archive), "output": str(output), "detector": {"name": "haar"}}
        pipeline.run(PreprocessJobConfig.model_validate(config | {"catalog": {"dedupe": dedupe}}))
        manifest = pd.read_parquet(output / "_manifest.parquet")
        assert manifest["video_id"].tolist() == ["a.mp4", "b.mp4", "c.mp4"]
        expected = ["ok", "skipped_duplicate", "skipped_duplicate"] if dedupe else ["ok"] * 3
        assert manifest["status"].tolist() == expected
        assert pd.read_parquet(output)["video_id"].nunique() == (1 if dedupe else 3)
