"""The YAML files that come with the project are true: they load, and say the defaults they claim to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake.config import JobConfig, PreprocessJobConfig, ScoreJobConfig, TrainJobConfig
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


def test_the_recipe_for_clip_is_the_one_for_a_small_network_but_for_what_a_gpu_and_its_size_ask() -> None:
    def load(name: str) -> dict[str, dict[str, object]]:
        words = ["--input", "in", "--output", "out", "--config", f"recipe:{name}"]
        dumped: dict[str, dict[str, object]] = load_config(TrainJobConfig, words).model_dump(mode="json")
        return dumped

    small, large = load("norms"), load("clip_norms")
    changed = {
        f"{section}.{key}"
        for section in ("model", "training", "storage")
        for key, value in large[section].items()
        if value != small[section][key]
    }
    assert changed == {
        "model.backbone", "training.use_gpu", "training.global_batch", "training.mixed_precision",
        "training.head_epochs", "training.head_learning_rate",
    }  # fmt: skip
