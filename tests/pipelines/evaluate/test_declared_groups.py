"""Errors by groups that a manifest states."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from deepfake import metrics
from deepfake.config import EvaluationConfig
from deepfake.errors import UsageError
from deepfake.io import tables
from deepfake.model.thresholds import Decisions, UncertainBand
from deepfake.pipelines.evaluate import results
from deepfake.pipelines.evaluate.declared_groups import NOT_STATED, compare_groups, read_groups


def make_videos(shape: dict[tuple[str | None, int], list[float]], people: int = 0) -> pa.Table:
    """Scores by camera and label; the videos of a camera are of so many people, or each of its own."""
    rows = [
        {
            "video_id": f"{camera}-{label}-{i}",
            "label": label,
            "score": score,
            "group_id": f"{camera}-{label}-{i % people if people else i}",
            "groups": None if camera is None else json.dumps({"camera": camera}),
        }
        for (camera, label), scores in shape.items()
        for i, score in enumerate(scores)
    ]
    types = {"video_id": pa.string(), "label": pa.int8(), "score": pa.float64(), "group_id": pa.string()}
    return pa.Table.from_pylist(rows, pa.schema([*types.items(), ("groups", pa.string())]))


SHAPE = {
    ("good", 0): [0.1] * 19 + [0.9],
    ("good", 1): [0.9] * 18 + [0.1] * 2,
    ("bad", 0): [0.1] * 6 + [0.9] * 4,
    ("bad", 1): [0.9] * 5 + [0.5] * 5,
    (None, 1): [0.9] * 4,
}


@pytest.mark.parametrize("text", ["[", "[]", "7", "null", '"x"', "[" * 100_000])
def test_groups_that_are_none_are_refused_by_their_video(text: str) -> None:
    with pytest.raises(UsageError, match=r"a\.mp4: groups is "):
        read_groups(pa.table({"video_id": ["a.mp4"], "groups": [text]}))


def test_rates_are_counts_with_intervals_beside_all_others_worst_first() -> None:
    rows = compare_groups(make_videos(SHAPE), 0.4, Decisions())
    assert [(row["grouped_by"], row["group"]) for row in rows] == [
        ("camera", "bad"), ("camera", "good"), ("camera", NOT_STATED),
    ]  # fmt: skip
    bad, good, unstated = rows
    assert (bad["n_real"], bad["n_fake"], bad["false_alarms_count"], bad["misses_count"]) == (10, 10, 4, 0)
    assert bad["false_alarms"] == 0.4 and bad["false_alarms_interval"] == metrics.bound_share(4, 10)
    assert bad["false_alarms_gap"] == pytest.approx(0.4 - 1 / 20)
    assert bad["false_alarms_gap_interval"] == metrics.bound_difference(4, 10, 1, 20)
    assert good["misses"] == 0.1 and good["misses_gap"] == pytest.approx(0.1)
    assert unstated["false_alarms"] is None and unstated["false_alarms_gap_interval"] is None
    assert all(row["coverage"] == 1.0 and row["coverage_gap"] == 0.0 for row in rows)


def test_coverage_counts_the_band_and_videos_without_a_face() -> None:
    shape = {(None, 0): [0.0] * 2, ("good", 1): [0.0] * 20}
    faceless = make_videos(shape).append_column("status", pa.array(["no_face"] * 22))
    rows = {row["group"]: row for row in compare_groups(
        make_videos(SHAPE), 0.4, Decisions(uncertain=UncertainBand(low=0.45, high=0.6, error=0.05)), faceless
    )}  # fmt: skip
    assert (rows["bad"]["coverage_count"], rows["bad"]["coverage_of"]) == (15, 20)
    assert (rows["good"]["coverage_count"], rows["good"]["coverage_of"]) == (40, 60)
    assert (rows[NOT_STATED]["coverage_count"], rows[NOT_STATED]["coverage_of"]) == (4, 6)
    assert rows["good"]["n_fake"] == 20 and rows["good"]["coverage_gap"] == pytest.approx(40 / 60 - 19 / 26)


def test_without_proof_no_video_has_a_verdict() -> None:
    rows = compare_groups(make_videos(SHAPE), 0.4, Decisions(unproven="it guesses"))
    assert {row["coverage"] for row in rows} == {0.0}


def test_videos_of_the_same_people_make_no_gap_more_certain() -> None:
    alone, shared = (compare_groups(make_videos(SHAPE, people), 0.4, Decisions())[0] for people in (0, 2))
    assert alone["false_alarms_gap"] == shared["false_alarms_gap"]
    widths = [row["false_alarms_gap_interval"].high - row["false_alarms_gap_interval"].low
              for row in (alone, shared)]  # fmt: skip
    assert widths[1] > widths[0]


def test_without_groups_there_is_nothing() -> None:
    assert compare_groups(make_videos({(None, 0): [0.1], (None, 1): [0.9]}), 0.4, Decisions()) == []


def test_an_evaluation_has_them_among_its_groups_and_in_its_json() -> None:
    rows = [
        {
            "video_id": row["video_id"],
            "frame_index": 0,
            "time_s": 0.0,
            "face_index": 0,
            "track_id": 0,
            "box": {"x": 0.0, "y": 0.0, "w": 80.0, "h": 90.0},
            "detector": "x",
            "score": row["score"],
            "label": row["label"],
            "groups": row["groups"],
            "group_id": row["group_id"],
            "bundle_sha256": "a",
            "config_sha256": "b",
        }
        for row in make_videos(SHAPE).to_pylist()
    ]
    faces = tables.from_rows("face_scores", rows)
    measured = results.measure_faces(faces, EvaluationConfig(bootstrap=20), 0.4)
    assert [row["group"] for row in measured.declared] == ["bad", "good", NOT_STATED]
    by_camera = [row["group"] for row in measured.video.groups if row["grouped_by"] == "camera"]
    assert set(by_camera) == {"bad", "good", NOT_STATED}
    found = json.loads(json.dumps(results.results_as_json(measured)))["declared_groups"]
    assert found[0]["false_alarms_interval"] == pytest.approx(metrics.bound_share(4, 10))
