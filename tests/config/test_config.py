"""What a configuration takes, and which part of it decides the rows that a job writes."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from deepfake import config
from deepfake.config import JobConfig, PreprocessJobConfig, ScoreJobConfig, hash_config, hash_json
from deepfake.config.parse import list_options

JOBS = [job for job in vars(config).values() if isinstance(job, type) and issubclass(job, JobConfig)]


def preprocess(**keys: Any) -> PreprocessJobConfig:
    return PreprocessJobConfig.model_validate({"input": "a", "output": "b", **keys})


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_every_key_of_every_job_says_what_it_means(job: type[BaseModel]) -> None:
    assert [name for name, field in list_options(job) if not field.description] == []


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.__name__)
def test_every_default_passes_its_own_check(job: type[JobConfig]) -> None:
    required = {name: "x" for name, field in job.model_fields.items() if field.is_required()}
    written = job.model_validate(required).model_dump(mode="json", by_alias=True)
    assert job.model_validate(written).model_dump(mode="json", by_alias=True) == written


def test_a_configuration_cannot_be_changed_once_made() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        preprocess().sampling.every_n = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("sampling", "every_n", 0),
        ("sampling", "per_second", 0.0),
        ("sampling", "per_second", float("inf")),
        ("sampling", "per_second", float("nan")),
        ("sampling", "policy", "every"),
        ("crop", "size", 31),
        ("crop", "margin", -0.1),
        ("detector", "min_face", 1.1),
        ("catalog", "split_fractions", [0.5, 0.5]),
        ("catalog", "split_fractions", [0.5, 0.4, 0.2]),
        ("catalog", "assign_splits", {"a*": "validation"}),
        ("storage", "max_attempts", 0),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_section(section: str, key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        preprocess(**{section: {key: value}})
    assert caught.value.errors()[0]["loc"][0] == section


ELSEWHERE = [
    {"output": "elsewhere"},
    {"input": "elsewhere"},
    {"limit": 3},
    {"max-failed": 1.0},
    {"dry-run": True},
    {"ray": {"num_cpus": 7, "workers": 3}},
    {"storage": {"region": "eu-central-1"}},
    {"detector": {"yunet_model": "/models/face.onnx"}},
    {"sampling": {"timeout_seconds": 5}},
]


@pytest.mark.parametrize("keys", ELSEWHERE, ids=str)
def test_where_and_how_fast_a_job_runs_is_not_in_its_hash(keys: dict[str, Any]) -> None:
    assert hash_config(preprocess(**keys)) == hash_config(preprocess())


@pytest.mark.parametrize(
    "keys",
    [
        {"sampling": {"every_n": 29}},
        {"sampling": {"max_frames": 4095}},
        {"crop": {"margin": 0.31}},
        {"crop": {"format": "webp"}},
        {"detector": {"keep": "all"}},
        {"detector": {"name": "haar"}},
        {"catalog": {"split_seed": 1}},
        {"catalog": {"methods": ["Deepfakes"]}},
    ],
    ids=str,
)
def test_whatever_decides_the_rows_is_in_the_hash(keys: dict[str, Any]) -> None:
    assert hash_config(preprocess(**keys)) != hash_config(preprocess())


def test_values_written_otherwise_that_mean_the_same_have_the_same_hash() -> None:
    plain = preprocess(sampling={"per_second": 2, "every_n": 30})
    assert hash_config(plain) == hash_config(preprocess(sampling={"per_second": "2.0"}))


def test_a_section_that_a_bundle_will_fill_in_is_hashed_once_it_is_filled() -> None:
    keys = {"input": "a", "output": "b", "bundle": "c"}
    empty = ScoreJobConfig.model_validate(keys)
    filled = ScoreJobConfig.model_validate({**keys, "crop": {}})
    assert empty.crop is None
    assert hash_config(empty) != hash_config(filled)


def test_a_hash_is_the_same_in_every_process_and_for_every_order_of_keys() -> None:
    value = {"b": [1, 2.5, None, "ü"], "a": {"y": True, "x": "1"}}
    code = f"from deepfake.config import hash_json; print(hash_json({dict(reversed(value.items()))!r}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hash_json(value)


def test_reading_the_configuration_imports_neither_ray_nor_tensorflow() -> None:
    code = "import sys, deepfake.cli; print({'ray', 'tensorflow', 'keras', 'cv2', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
