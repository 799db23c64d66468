"""Numbers of crops that hold no pixel."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake.crops.facts import FACTS, choose_evenly, collect_facts, describe_boxes
from deepfake.io import tables
from tests.rows import crop_row


def table(*rows):
    return tables.from_rows("crops", [crop_row(f"{i}.mp4", 0, **row) for i, row in enumerate(rows)])


def test_a_face_is_told_by_its_place_and_its_size_in_the_frame() -> None:
    inside = {"box": {"x": 20.0, "y": 10.0, "w": 40.0, "h": 20.0}, "frame_width": 100, "frame_height": 50}
    leaving = {"box": {"x": -10.0, "y": 40.0, "w": 20.0, "h": 20.0}, "frame_width": 100, "frame_height": 50}
    found = describe_boxes(table(inside, leaving).slice(0, 2))
    assert {name: values.tolist() for name, values in found.items()} == {
        "box_x": [0.4, 0.0],
        "box_y": [0.4, 1.0],
        "box_aspect": [2.0, 1.0],
        "box_area": [pytest.approx(0.16), pytest.approx(0.08)],
        "box_outside": [0.0, 0.5],
        "box_side": [40.0, 20.0],
    }
    assert describe_boxes(table(inside, leaving).slice(1))["box_side"].tolist() == [20.0]


def test_the_facts_of_a_crop_are_its_numbers_and_what_is_not_known_is_nan() -> None:
    box = {"x": 0.0, "y": 0.0, "w": 30.0, "h": 60.0}
    row = {"box": box, "frame_width": 60, "frame_height": 60, "detector_score": 0.5, "shift": 0.25}
    facts = collect_facts(table({**row, "sharpness": 9.0}, {**row, "sharpness": None}), np.array([700, 800]))
    found = dict(zip(FACTS, facts[0], strict=True))
    assert found == {
        "box_side": 60.0, "box_area": 0.5, "box_aspect": 0.5, "sharpness": 9.0, "detector_score": 0.5,
        "crop_bytes": 700.0, "padded": 0.0, "shift": 0.25, "shrink": 1.0,
    }  # fmt: skip
    assert np.isnan(facts[1, FACTS.index("sharpness")])


def test_rows_are_chosen_over_the_whole_of_each_video() -> None:
    assert choose_evenly(np.repeat([0, 1], [9, 2]), 3).tolist() == [1, 4, 7, 9, 10]
    assert choose_evenly(np.empty(0, np.int64), 3).tolist() == []
