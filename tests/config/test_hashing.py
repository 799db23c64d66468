"""Which keys make another output."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from deepfake.config import PreprocessJobConfig, ScoreJobConfig
from deepfake.config.hashing import hash_config, hash_json

PLACES = {"input": "a", "output": "b"}


def test_a_hash_is_that_of_the_plain_json_with_its_keys_in_order() -> None:
    assert (
        hash_json({"b": [1, None], "a": "ü"}) == hashlib.sha256(b'{"a":"\\u00fc","b":[1,null]}').hexdigest()
    )


def preprocess(**options: Any) -> str:
    return hash_config(PreprocessJobConfig.model_validate(PLACES | options))


@pytest.mark.parametrize(
    "options",
    [
        {"input": "elsewhere", "output": "there", "limit": 3},
        {"ray": {"workers": 7}},
        {"sampling": {"timeout_seconds": 5, "long_video_mb": 1}},
        {"detector": {"yunet_model": "/another/place.onnx"}},
    ],
)
def test_where_and_how_fast_a_job_runs_is_not_hashed(options: dict[str, Any]) -> None:
    assert preprocess(**options) == preprocess()


@pytest.mark.parametrize(
    "options", [{"sampling": {"every_n": 7}}, {"crop": {"margin": 0.5}}, {"detector": {"min_face": 0.2}}]
)
def test_what_decides_the_rows_is_hashed(options: dict[str, Any]) -> None:
    assert preprocess(**options) != preprocess()


def test_scores_of_another_batch_size_are_the_same_and_of_another_aggregation_are_not() -> None:
    def score(**scoring: Any) -> str:
        return hash_config(ScoreJobConfig.model_validate(PLACES | {"bundle": "c", "scoring": scoring}))

    assert score(batch_size=3) == score()
    assert score(aggregation="max") != score(aggregation="mean")
