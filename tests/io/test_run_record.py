"""The record that a job leaves of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepfake.config import ROWS_VERSION, CropConfig
from deepfake.errors import UsageError
from deepfake.io.run_record import RECORD_FILE, parse_section, read_record, read_score_record, write_record
from deepfake.io.storage import Storage

STORAGE = Storage()


def test_a_record_comes_back_with_its_sections(tmp_path: Path) -> None:
    crop = CropConfig(margin=0.5)
    more = {"config_sha256": "cd", "input": "archive", "bundle": ["b"], "crop": crop.model_dump(mode="json")}
    write_record(str(tmp_path), STORAGE, {"bundle_sha256": "ab", **more})
    found = read_score_record(str(tmp_path), STORAGE)
    assert found["bundle_sha256"] == "ab"
    assert parse_section(found, "crop", CropConfig) == crop
    assert parse_section({}, "crop", CropConfig) is None


def test_a_folder_without_one_and_a_file_have_no_record(tmp_path: Path) -> None:
    assert read_record(str(tmp_path), STORAGE) is None
    (tmp_path / "scores.parquet").write_bytes(b"")
    assert read_record(str(tmp_path / "scores.parquet"), STORAGE) is None


@pytest.mark.parametrize(("text", "words"), [("{", "not valid JSON"), ("[]", "expected a JSON object")])
def test_a_damaged_record_is_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / RECORD_FILE).write_text(text)
    with pytest.raises(UsageError, match=rf"_config\.json: {words}"):
        read_record(str(tmp_path), STORAGE)


@pytest.mark.parametrize("record", [{}, {"rows_version": ROWS_VERSION + 1}])
def test_rows_of_another_version_are_refused_with_both_numbers(
    tmp_path: Path, record: dict[str, int]
) -> None:
    (tmp_path / RECORD_FILE).write_text(json.dumps(record))
    numbers = f"version {record.get('rows_version', 1)}, .* version {ROWS_VERSION}"
    with pytest.raises(UsageError, match=rf"_config\.json: rows of {numbers}"):
        read_record(str(tmp_path), STORAGE)


def test_what_no_score_job_wrote_is_refused_as_such(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not an output of jobs/score\.py, .*_config\.json is missing"):
        read_score_record(str(tmp_path), STORAGE)
    write_record(str(tmp_path), STORAGE, {"crop": {}})
    with pytest.raises(UsageError, match=r"_config\.json has no config_sha256, input, bundle, bundle_sha256"):
        read_score_record(str(tmp_path), STORAGE)
