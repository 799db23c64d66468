"""What a configuration is read from: YAML files and the command line; what is refused, and in which words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deepfake.config import PreprocessJobConfig, SamplingConfig, ScoreJobConfig, TrainJobConfig
from deepfake.config.parse import list_recipes, load_config
from deepfake.errors import UsageError

IO = ("--input", "videos", "--output", "crops")


def preprocess(*argv: str) -> PreprocessJobConfig:
    return load_config(PreprocessJobConfig, [*IO, *argv])


@pytest.fixture
def yaml_file(tmp_path: Path) -> Callable[..., str]:
    """``yaml_file(content, name=...)`` writes a configuration file and returns its path."""

    def write(content: Any, name: str = "config.yaml") -> str:
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


# Values.


def test_defaults_yield_to_yaml_and_yaml_to_the_command_line(yaml_file):
    path = yaml_file({"sampling": {"every_n": 10, "count": 7}, "crop": {"size": 256}, "limit": 5})
    found = preprocess("--sampling.every_n", "3", "--config", path)
    assert found.sampling == SamplingConfig(every_n=3, count=7)
    assert (found.crop.size, found.crop.margin, found.limit) == (256, 0.15, 5)


def test_a_later_file_goes_before_an_earlier_one_key_by_key(yaml_file):
    first = yaml_file({"sampling": {"every_n": 10, "count": 7}}, "first.yaml")
    second = yaml_file({"sampling": {"every_n": 20}}, "second.yaml")
    assert preprocess("--config", first, "--config", second).sampling == SamplingConfig(every_n=20, count=7)


def test_required_keys_may_stand_in_the_file(yaml_file):
    found = load_config(PreprocessJobConfig, ["--config", yaml_file({"input": "a", "output": "b"})])
    assert (found.input, found.output) == ("a", "b")


def test_a_section_without_keys_keeps_its_defaults(yaml_file):
    path = yaml_file("sampling:\n  # every_n: 3\ncrop:\n  size: 64\n")
    assert preprocess("--config", path).sampling == SamplingConfig()


def test_an_empty_file_changes_nothing(yaml_file):
    assert preprocess("--config", yaml_file("# nothing yet\n")) == preprocess()


@pytest.mark.parametrize("spelling", ["dry-run", "dry_run"])
def test_hyphens_and_underscores_are_the_same_on_the_command_line_and_in_a_file(yaml_file, spelling):
    assert preprocess(f"--{spelling}").dry_run
    path = yaml_file({spelling: True, spelling.replace("dry", "max").replace("run", "failed"): 0.5})
    assert preprocess("--config", path).dry_run
    assert not preprocess("--config", path, "--dry-run", "false").dry_run
    assert preprocess("--config", path, "--max-failed", "0.1").max_failed == 0.1


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--storage.anonymous"], True),
        (["--storage.anonymous", "true"], True),
        (["--storage.anonymous=yes"], True),
        (["--no-storage.anonymous"], False),
        (["--storage.anonymous", "False"], False),
        (["--storage.anonymous=false"], False),
    ],
)
def test_a_flag_is_given_bare_negated_or_with_a_value_like_any_key(yaml_file, argv, value):
    path = yaml_file({"storage": {"anonymous": not value}})
    assert preprocess("--config", path, *argv).storage.anonymous is value


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["--catalog.methods", "A,B"], ["A", "B"]),
        (["--catalog.methods", "A", "--catalog.methods", "B"], ["A", "B"]),
        (["--catalog.methods", '["A", "B, C"]'], ["A", "B, C"]),
        ([], None),
    ],
)
def test_a_list_is_given_with_commas_by_repetition_or_as_json(argv, value):
    assert preprocess(*argv).catalog.methods == value


def test_a_mapping_is_given_as_json():
    found = preprocess("--catalog.assign_splits", '{"real/a*": "val", "b": "test"}')
    assert found.catalog.assign_splits == {"real/a*": "val", "b": "test"}


@pytest.mark.parametrize(
    "path", ["a b", "x,y", "[1]", '{"a": 1}', 'it\'s "so"', "=", "s3://b/k=v", "-3", "ü\n"]
)
def test_a_path_is_taken_as_it_is_typed(path):
    assert load_config(PreprocessJobConfig, [f"--input={path}", "--output", path]).input == path


@pytest.mark.parametrize(
    "words",
    [["--bundle", "x,y", "ü [1]"], ["--bundle", "x,y", "--bundle=ü [1]"]],
)
def test_bundles_are_given_one_after_the_other(words):
    assert load_config(ScoreJobConfig, [*words, *IO]).bundle == ["x,y", "ü [1]"]
    assert load_config(ScoreJobConfig, [*IO, *words]).bundle == ["x,y", "ü [1]"]


@pytest.mark.parametrize("path", ["a b", "x,y", "[1]", "=", "s3://b/k=v", "3"])
def test_a_bundle_is_taken_as_it_is_typed(path):
    assert load_config(ScoreJobConfig, [*IO, "--bundle", path]).bundle == [path]


def test_a_key_of_a_section_that_has_no_default_makes_the_section():
    found = load_config(ScoreJobConfig, [*IO, "--bundle", "model", "--detector.name", "haar"])
    assert (found.detector and found.detector.name, found.crop) == ("haar", None)


def test_a_recipe_is_a_file_of_the_package_with_a_name():
    needed = ["--input", "crops", "--output", "model"]
    names = ("honest", "linear", "norms", "sbi", "seed")
    assert {f"recipe:{name}" for name in names} <= set(list_recipes())
    found = load_config(TrainJobConfig, [*needed, "--config", "recipe:sbi", "--training.epochs", "3"])
    assert (found.augment.fakes, found.training.epochs) == ("sbi", 3)


# Refusals.


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--sampling.every", "3"], "unknown option --sampling.every; did you mean sampling.every_n?"),
        (["--every_n", "3"], "unknown option --every_n; did you mean sampling.every_n?"),
        (["--crop.every_n=3"], "unknown option --crop.every_n; did you mean sampling.every_n?"),
        (["--inptu", "x"], "unknown option --inptu; did you mean input?"),
        (["--in", "x"], "unknown option --in; did you mean input?"),
        (["--zzzzzz", "x"], "unknown option --zzzzzz; --help lists every option"),
        (["clip.mp4"], "unexpected 'clip.mp4'; options are written --section.key value"),
        (["--limit"], "argument --limit: expected one argument"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest_one(argv, message):
    with pytest.raises(UsageError) as caught:
        preprocess(*argv)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"sampling": {"every": 3}}, "unknown key sampling.every; did you mean sampling.every_n?"),
        ({"every_n": 3}, "unknown key every_n; did you mean sampling.every_n?"),
        ({"samplng": {"every_n": 3}}, "unknown key samplng; did you mean sampling?"),
        ({"zzzzzz": 3}, "unknown key zzzzzz; --help lists every option"),
    ],
)
def test_an_unknown_key_in_a_file_is_answered_with_the_nearest_one(yaml_file, content, message):
    with pytest.raises(UsageError) as caught:
        preprocess("--config", yaml_file(content))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("sampling", "every_n", "often"),
        ("sampling", "every_n", "2.5"),
        ("sampling", "policy", "all"),
        ("crop", "margin", "wide"),
        ("storage", "anonymous", "maybe"),
        ("catalog", "assign_splits", "{broken"),
        ("catalog", "split_fractions", "half"),
    ],
)
def test_a_value_of_the_wrong_type_names_its_key_wherever_it_stands(yaml_file, section, key, value):
    for argv in (
        [f"--{section}.{key}={value}"],
        ["--config", yaml_file({section: {key: value}})],
    ):
        with pytest.raises(UsageError, match=re.escape(f"{section}.{key}")):
            preprocess(*argv)


def test_every_mistake_is_told_at_once():
    with pytest.raises(UsageError) as caught:
        load_config(PreprocessJobConfig, ["--output", "b", "--limit", "0", "--crop.size", "big"])
    message = str(caught.value)
    for part in (
        "--input is required",
        "limit: Input should be greater",
        "crop.size: Input should be a valid int",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a\n", "expected 'section: ...' at the top, found a list"),
        ("sampling: [\n", "not valid YAML"),
        ("sampling: 3\n", "sampling: Input should be a valid dictionary"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(yaml_file, content, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        preprocess("--config", yaml_file(content))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "absent.yaml", tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(UsageError, match=re.escape(str(path))):
            preprocess("--config", str(path))
