"""The YAML files that come with the project are true: they load, and say the defaults they claim to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake.config import JobConfig, PreprocessJobConfig, ScoreJobConfig
from deepfake.config.parse import load_config, read_yaml
from tests.running import ROOT

CONFIGS = ROOT / "configs"


@pytest.mark.parametrize(
    ("name", "model", "needed"),
    [
        ("preprocess.yaml", PreprocessJobConfig, ["--input", "in", "--output", "out"]),
        ("score.yaml", ScoreJobConfig, ["--input", "in", "--output", "out", "--bundle", "b"]),
    ],
)
def test_a_jobs_yaml_says_its_defaults(name: str, model: type[JobConfig], needed: list[str]) -> None:
    assert load_config(model, [*needed, "--config", str(CONFIGS / name)]) == load_config(model, needed)
    listed = read_yaml(str(CONFIGS / name))
    for section in ("catalog", "sampling", "storage", "ray"):
        assert set(listed[section]) == set(type(getattr(load_config(model, needed), section)).model_fields)


@pytest.mark.parametrize("site", sorted((CONFIGS / "sites").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_sites_yaml_goes_with_any_job(site: Path) -> None:
    config = load_config(PreprocessJobConfig, ["--input", "in", "--output", "out", "--config", str(site)])
    assert config.ray != PreprocessJobConfig(input="in", output="out").ray
