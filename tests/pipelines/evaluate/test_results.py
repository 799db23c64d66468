"""The numbers of an evaluation, from the table of face scores."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from deepfake.config import EvaluationConfig
from deepfake.io import tables
from deepfake.pipelines.evaluate import results
from tests.pipelines.evaluate.faces import decisions_of_validation, scored, two_classes

CONFIG = EvaluationConfig(bootstrap=100)


def table(*rows: dict) -> pa.Table:
    return tables.from_rows("face_scores", rows)


def test_frames_and_videos_are_measured_each_on_their_own() -> None:
    faces = table(
        scored("real", 0, 0, 0.9), scored("real", 30, 0, 0.1), scored("real", 60, 0, 0.1),
        scored("fake", 0, 1, 0.4), scored("fake", 30, 1, 0.8),
    )  # fmt: skip
    measured = results.measure_faces(faces, CONFIG, threshold=0.5)
    assert measured.count_items() == {
        "videos": 2, "real_videos": 1, "fake_videos": 1, "tracks": 2, "faces": 5,
    }  # fmt: skip
    assert measured.video.overall["confusion"] == {"tn": 1, "fp": 0, "fn": 0, "tp": 1}
    assert measured.frame.overall["confusion"] == {"tn": 2, "fp": 1, "fn": 1, "tp": 1}
    assert measured.frame.overall["auc"] == pytest.approx(
        roc_auc_score([0, 0, 0, 1, 1], [0.9, 0.1, 0.1, 0.4, 0.8])
    )


def test_each_methods_fakes_stand_against_all_reals_worst_first() -> None:
    rows = [
        scored("r1", 0, 0, 0.3), scored("r2", 0, 0, 0.5),
        scored("a", 0, 1, 0.9, method="Easy"), scored("b", 0, 1, 0.4, method="Hard"),
    ]  # fmt: skip
    groups = results.measure_faces(table(*rows), CONFIG, 0.5).video.groups
    found = [(g["group"], g["n_real"], g["n_fake"], g["auc"]) for g in groups if g["grouped_by"] == "method"]
    assert found == [("Hard", 2, 1, 0.5), ("Easy", 2, 1, 1.0)]


def test_a_compression_with_one_class_has_no_auc_and_comes_last() -> None:
    rows = [*two_classes(), scored("r", 0, 0, 0.2, compression="raw")]
    groups = results.measure_faces(table(*rows), CONFIG, 0.5).video.groups
    found = [(g["group"], g["auc"] is None) for g in groups if g["grouped_by"] == "compression"]
    assert found == [("c23", False), ("raw", True)]


def test_the_rows_of_groups_fit_their_table() -> None:
    measured = results.measure_faces(table(*two_classes()), CONFIG, 0.5)
    written = tables.from_rows(
        "group_metrics", [*measured.video.groups, *measured.track.groups, *measured.frame.groups]
    )
    assert written["auc_low"].null_count == 0
    assert set(written["level"].to_pylist()) == {"video", "track", "frame"}


def test_the_order_of_rows_changes_no_number() -> None:
    rows = two_classes(videos=8)
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    ordered, other = (results.measure_faces(table(*r), CONFIG, 0.5) for r in (rows, shuffled))
    assert ordered.video.overall == other.video.overall
    assert ordered.frame.overall == other.frame.overall
    assert ordered.video.groups == other.video.groups


def test_resampling_identities_widens_the_interval_where_one_has_many_videos() -> None:
    rows = []
    source = np.random.default_rng(0)
    for i in range(12):
        shift = source.normal(0, 0.25)
        for copy in range(6):
            for label in (0, 1):
                score = float(np.clip(0.45 + 0.1 * label + shift * (2 * label - 1), 0, 1))
                rows.append(scored(f"{label}-{i}-{copy}", 0, label, score, group_id=f"g{i}"))
    widths = {}
    for over in ("videos", "identities"):
        interval = results.measure_faces(
            table(*rows), EvaluationConfig(bootstrap=300, bootstrap_over=over), 0.5
        ).video.overall["intervals"]["auc"]
        widths[over] = interval.high - interval.low
    assert widths["identities"] > 1.5 * widths["videos"]


def test_intervals_are_over_identities_unless_asked_otherwise_and_few_of_them_are_said() -> None:
    rows = [
        scored(f"{label}-{i}", 0, label, 0.4 + 0.2 * label, group_id=f"g{i % 6}")
        for label in (0, 1)
        for i in range(60)
    ]
    measured = results.measure_faces(table(*rows), CONFIG, 0.5)
    assert measured.video.overall["resampled"] == {"unit": "identity groups", "n_real": 6, "n_fake": 6}
    (warning,) = results.list_warnings(measured)
    assert "resampling identity groups, of which 6 have reals and 6 fakes" in warning


def test_a_rival_is_measured_on_the_same_items_at_each_level() -> None:
    rows = two_classes(videos=12)
    other = np.random.default_rng(2).random(len(rows))
    shuffled = np.random.default_rng(3).permutation(len(rows))
    measured = results.measure_faces(
        table(*(rows[i] for i in shuffled)), CONFIG, 0.5, rivals={results.AGAINST: other[shuffled]}
    )
    alone = results.measure_faces(
        table(*({**row, "score": score} for row, score in zip(rows, other, strict=True))), CONFIG, 0.5
    )
    for level, by_itself in ((measured.video, alone.video), (measured.frame, alone.frame)):
        found = level.overall[results.AGAINST]
        assert found["auc"] == by_itself.overall["auc"]
        assert found["interval"] == by_itself.overall["intervals"]["auc"]
        assert found["difference"] == pytest.approx(level.overall["auc"] - by_itself.overall["auc"])
        low, high = found["difference_interval"]
        assert low <= found["difference"] <= high


def test_a_model_that_is_not_shown_to_exceed_what_is_reached_without_looking_is_named() -> None:
    rows = two_classes(videos=60)
    scores, perfect = (np.array([row[name] for row in rows], float) for name in ("score", "label"))
    same = results.measure_faces(table(*rows), CONFIG, 0.5, rivals={results.WITHOUT_LOOKING: scores})
    assert any("not shown that this model sees more" in text for text in results.list_warnings(same))
    model = table(*({**row, "score": truth} for row, truth in zip(rows, perfect, strict=True)))
    better = results.measure_faces(model, CONFIG, 0.5, rivals={results.WITHOUT_LOOKING: scores})
    assert results.list_warnings(better) == []
    groups = [row for row in better.frame.groups if row["grouped_by"] == "method"]
    assert groups[0]["blind_auc_low"] < groups[0]["blind_auc"] < groups[0]["blind_auc_high"] < 1.0


def test_few_videos_and_a_reversed_ranking_are_said() -> None:
    rows = [scored(f"r{i}", 0, 0, 0.9) for i in range(3)] + [scored(f"f{i}", 0, 1, 0.1) for i in range(60)]
    warnings = results.list_warnings(results.measure_faces(table(*rows), CONFIG, 0.5))
    assert len(warnings) == 2
    assert "only 3 real videos" in warnings[0]
    assert "below 0.5" in warnings[1]


def box(side: float) -> dict:
    return {"x": 0.0, "y": 0.0, "w": side, "h": side}


def test_two_people_of_one_video_are_two_tracks_and_the_surer_one_can_stand_for_it() -> None:
    rows = [
        scored("real", 0, 0, 0.2),
        *(scored("fake", 30 * i, 1, 0.9) for i in range(2)),
        *(scored("fake", 30 * i, 1, 0.1, face_index=1, track_id=1) for i in range(6)),
    ]
    measured = results.measure_faces(table(*rows), CONFIG, 0.5)
    assert (measured.track.overall["n"], measured.track.overall["n_fake"]) == (3, 2)
    auc = {row["name"]: row["auc"] for row in measured.aggregations}
    assert auc["mean"] == 1.0 and auc["median"] == 0.0  # (2 x .9 + 6 x .1) / 8 = .3, and .1, against .2
    assert auc["highest track, mean"] == auc["highest track, median"] == auc["max"] == 1.0
    assert [row["name"] for row in measured.aggregations if row["used"]] == ["mean"]


def test_a_frame_with_several_faces_can_be_scored_by_its_worst() -> None:
    rows = [
        *(scored("real", 30 * i, 0, 0.4, face_index=k) for i in range(2) for k in range(2)),
        *(scored("fake", 30 * i, 1, 0.2 + 0.4 * k, face_index=k) for i in range(2) for k in range(2)),
    ]
    by_worst = EvaluationConfig(bootstrap=0, aggregation="frame_max")
    measured = results.measure_faces(table(*rows), by_worst, 0.5)
    assert measured.video.overall["confusion"] == {"tn": 1, "fp": 0, "fn": 0, "tp": 1}
    used = [row for row in measured.aggregations if row["used"]]
    assert [(row["name"], row["auc"]) for row in used] == [("frame_max", 1.0)]
    assert results.describe_aggregation(by_worst) == "highest face of each frame, their mean"
    mean = results.measure_faces(table(*rows), CONFIG, 0.5).video.overall
    assert mean["auc"] == 0.5  # .4 and .4


def test_tracks_keep_the_people_and_the_video_that_they_belong_to() -> None:
    rows = [
        scored(f"{name}\n{i}", 0, label, 0.5, track_id=7)
        for label, name in ((0, "r"), (1, "f"))
        for i in (1, 2)
    ]
    measured = results.measure_faces(table(*rows), EvaluationConfig(bootstrap=50), 0.5)
    assert measured.track.overall["n"] == 4
    assert measured.track.overall["intervals"]["accuracy"] is not None  # two groups a class are found again


def test_videos_are_grouped_by_the_size_of_their_faces_and_their_longest_track() -> None:
    rows = [
        *(scored(f"small{label}-{i}", 0, label, 0.5, box=box(40)) for label in (0, 1) for i in range(6)),
        *(
            scored(f"large{label}-{i}", 30 * frame, label, 0.2 + 0.6 * label, box=box(64 if frame else 200))
            for label in (0, 1)
            for i in range(6)
            for frame in range(3)
        ),
    ]
    measured = results.measure_faces(table(*rows), CONFIG, 0.5)
    found = {(g["grouped_by"], g["group"]): (g["auc"], g["n"]) for g in measured.video.groups}
    assert found["face size", "under 64 px"] == (0.5, 12)
    assert found["face size", "64 to 127 px"] == (1.0, 12)  # the median of 64, 64 and 200
    assert found["track length", "1 face"] == (0.5, 12)
    assert found["track length", "2 to 4 faces"] == (1.0, 12)
    of_frames = {(g["grouped_by"], g["group"]): g["n"] for g in measured.frame.groups}
    assert of_frames["face size", "128 to 255 px"] == 12
    assert [row["auc"] for row in measured.find_weakest(2)] == [0.5, 0.5]
    assert {row["grouped_by"] for row in measured.find_weakest(2)} == {"face size", "track length"}


def test_everything_measured_is_json() -> None:
    measured = results.measure_faces(table(*two_classes(videos=12)), CONFIG, 0.4, decisions_of_validation())
    numbers = json.loads(json.dumps(results.results_as_json(measured), allow_nan=False))
    assert {"video", "track", "frame", "aggregations", "operating_points", "weakest_groups"} <= set(numbers)
    assert numbers["operating_points"][0]["name"] == "in force"  # 0.4 is none of the bundle's
