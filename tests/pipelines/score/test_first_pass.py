"""A first look settles what is far from the threshold; the rest is looked at whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from deepfake.config import SamplingConfig, ScoringConfig
from deepfake.io import tables
from deepfake.pipelines.score import first_pass
from tests.rows import crop_row, video_row

CONFIG = ScoringConfig(first_pass=2, first_pass_margin=0.2)
CATALOG = pa.table({"video_id": ["a", "b", "c", "d"]})


def brightness(crops: np.ndarray) -> np.ndarray:
    return crops.mean(axis=(1, 2, 3)) / 255


def stage(greys: dict[str, list[int]], asked: list[str]) -> first_pass.Stage:
    """Gives each video crops of these greys, and notes who was asked for."""

    def extract(block: pa.Table) -> dict[str, Any]:
        names = block["video_id"].to_pylist()
        asked.extend(names)
        videos = [
            video_row(name, status="ok" if greys[name] else "no_face", frames_sampled=len(greys[name]))
            for name in names
        ]
        crops = [crop_row(name, i, grey) for name in names for i, grey in enumerate(greys[name])]
        return {
            "unit_id": "u",
            "videos": tables.from_rows("videos", videos),
            "crops": tables.from_rows("crops", crops),
        }

    return extract


def look(glance: dict[str, list[int]], whole: dict[str, list[int]]) -> tuple[first_pass.Looked, list[str]]:
    again: list[str] = []
    made = first_pass.look_at_unit(CATALOG, stage(glance, []), stage(whole, again), brightness, CONFIG, 0.5)
    return made, again


def test_only_doubtful_videos_are_looked_at_whole() -> None:
    glance = {"a": [255, 204], "b": [140, 130], "c": [], "d": [0, 0]}
    whole = {"a": [1], "b": [51, 51, 102], "c": [255], "d": [1]}
    made, again = look(glance, whole)
    assert again == ["b", "c"]
    assert made.passes == {"a": 1, "b": 2, "c": 2, "d": 1}
    assert made.unit["videos"]["video_id"].to_pylist() == ["a", "b", "c", "d"]
    assert made.unit["crops"]["video_id"].to_pylist() == ["a", "a", "b", "b", "b", "c", "d", "d"]
    assert made.scores == pytest.approx([1.0, 0.8, 0.2, 0.2, 0.4, 1.0, 0.0, 0.0])
    assert made.unit["unit_id"] == "u"


def test_one_face_settles_nothing() -> None:
    everything = {key: [255] for key in "abcd"}
    assert look(everything, everything)[1] == ["a", "b", "c", "d"]


def test_where_all_is_settled_nothing_is_looked_at_again() -> None:
    everything = {key: [255, 255] for key in "abcd"}
    made, again = look(everything, everything)
    assert again == []
    assert set(made.passes.values()) == {1}


def test_without_a_first_look_all_videos_are_looked_at_whole() -> None:
    asked: list[str] = []
    whole = stage({"a": [255], "b": [0], "c": [51], "d": [51]}, asked)
    made = first_pass.look_at_unit(CATALOG, None, whole, brightness, CONFIG, 0.5)
    assert asked == ["a", "b", "c", "d"] and made.passes == {}
    assert made.scores == pytest.approx([1.0, 0.0, 0.2, 0.2])


def test_what_is_saved_is_counted_in_frames() -> None:
    rows = [
        {"passes": 1, "frames_sampled": 2, "frames_total": 300, "duration_s": 12.0},
        {"passes": 2, "frames_sampled": 10, "frames_total": 300, "duration_s": 12.0},
        {"passes": None, "frames_sampled": 0, "frames_total": None, "duration_s": None},
    ]
    made = first_pass.count_savings(pa.Table.from_pylist(rows), SamplingConfig(every_n=30))
    assert made == {"settled_by_first_pass": 1, "share_settled": 0.5, "share_of_frames_spared": 0.4}


def test_the_first_look_is_at_a_few_key_frames() -> None:
    quick = first_pass.make_quick_sampling(SamplingConfig(every_n=30), CONFIG)
    assert (quick.policy, quick.max_frames) == ("keyframes", 2)


def test_a_first_pass_on_gpus_is_refused() -> None:
    with pytest.raises(ValueError, match="CPUs"):
        ScoringConfig(first_pass=3, use_gpu=True)
