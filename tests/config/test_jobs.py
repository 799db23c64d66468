"""What the configuration of each job takes and refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from deepfake import config
from deepfake.config import JobConfig, PreprocessJobConfig
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


def test_reading_the_configuration_imports_neither_ray_nor_tensorflow() -> None:
    code = "import sys, deepfake.cli; print({'ray', 'tensorflow', 'keras', 'cv2', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
