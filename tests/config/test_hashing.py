"""Which keys make another output."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import pytest

from deepfake.config import PreprocessJobConfig, ScoreJobConfig
from deepfake.config.hashing import hash_config, hash_json

PLACES = {"input": "a", "output": "b"}


def test_a_hash_is_that_of_the_plain_json_with_its_keys_in_order() -> None:
    assert (
        hash_json({"b": [1, None], "a": "ü"}) == hashlib.sha256(b'{"a":"\\u00fc","b":[1,null]}').hexdigest()
    )


def preprocess(**keys: Any) -> str:
    return hash_config(PreprocessJobConfig.model_validate(PLACES | keys))


ELSEWHERE = [
    {"output": "elsewhere"},
    {"input": "elsewhere"},
    {"limit": 3},
    {"max-failed": 1.0},
    {"dry-run": True},
    {"ray": {"num_cpus": 7, "workers": 3}},
    {"storage": {"region": "eu-central-1"}},
    {"detector": {"yunet_model": "/models/face.onnx"}},
    {"sampling": {"timeout_seconds": 5, "long_video_mb": 1}},
]


@pytest.mark.parametrize("keys", ELSEWHERE, ids=str)
def test_where_and_how_fast_a_job_runs_is_not_in_its_hash(keys: dict[str, Any]) -> None:
    assert preprocess(**keys) == preprocess()


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
    assert preprocess(**keys) != preprocess()


def test_values_written_otherwise_that_mean_the_same_have_the_same_hash() -> None:
    plain = preprocess(sampling={"per_second": 2, "every_n": 30})
    assert plain == preprocess(sampling={"per_second": "2.0"})


def test_a_section_that_a_bundle_will_fill_in_is_hashed_once_it_is_filled() -> None:
    empty = ScoreJobConfig.model_validate(PLACES | {"bundle": "c"})
    filled = ScoreJobConfig.model_validate(PLACES | {"bundle": "c", "crop": {}})
    assert empty.crop is None
    assert hash_config(empty) != hash_config(filled)


def test_a_hash_is_the_same_in_every_process_and_for_every_order_of_keys() -> None:
    value = {"b": [1, 2.5, None, "ü"], "a": {"y": True, "x": "1"}}
    code = f"from deepfake.config import hash_json; print(hash_json({dict(reversed(value.items()))!r}))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == hash_json(value)


def test_a_key_that_came_later_changes_no_hash_until_it_is_used() -> None:
    assert preprocess(catalog={"groups": []}) == preprocess()
    assert preprocess(catalog={"groups": ["camera"]}) != preprocess()


def test_scores_of_another_batch_size_are_the_same_and_of_another_aggregation_are_not() -> None:
    def score(**scoring: Any) -> str:
        return hash_config(ScoreJobConfig.model_validate(PLACES | {"bundle": "c", "scoring": scoring}))

    assert score(batch_size=3) == score()
    assert score(aggregation="max") != score(aggregation="mean")
