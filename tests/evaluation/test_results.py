"""The numbers of an evaluation, from the table of face scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from deepfake import tables
from deepfake.config import EvaluationConfig
from deepfake.evaluation import results
from tests.evaluation.faces import scored, two_classes

CONFIG = EvaluationConfig(bootstrap=100)


def table(*rows: dict) -> pa.Table:
    return tables.from_rows("face_scores", rows)


def test_frames_and_videos_are_measured_each_on_their_own() -> None:
    faces = table(
        scored("real", 0, 0, 0.9), scored("real", 30, 0, 0.1), scored("real", 60, 0, 0.1),
        scored("fake", 0, 1, 0.4), scored("fake", 30, 1, 0.8),
    )  # fmt: skip
    measured = results.measure(faces, CONFIG, threshold=0.5)
    assert measured.counts() == {"videos": 2, "real_videos": 1, "fake_videos": 1, "faces": 5}
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
    groups = results.measure(table(*rows), CONFIG, 0.5).video.groups
    found = [(g["group"], g["n_real"], g["n_fake"], g["auc"]) for g in groups if g["grouped_by"] == "method"]
    assert found == [("Hard", 2, 1, 0.5), ("Easy", 2, 1, 1.0)]


def test_a_compression_with_one_class_has_no_auc_and_comes_last() -> None:
    rows = [*two_classes(), scored("r", 0, 0, 0.2, compression="raw")]
    groups = results.measure(table(*rows), CONFIG, 0.5).video.groups
    found = [(g["group"], g["auc"] is None) for g in groups if g["grouped_by"] == "compression"]
    assert found == [("c23", False), ("raw", True)]


def test_the_rows_of_groups_fit_their_table() -> None:
    measured = results.measure(table(*two_classes()), CONFIG, 0.5)
    written = tables.from_rows("group_metrics", [*measured.video.groups, *measured.frame.groups])
    assert written["auc_low"].null_count == 0
    assert set(written["level"].to_pylist()) == {"video", "frame"}


def test_the_order_of_rows_changes_no_number() -> None:
    rows = two_classes(videos=8)
    shuffled = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    ordered, other = (results.measure(table(*r), CONFIG, 0.5) for r in (rows, shuffled))
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
        interval = results.measure(
            table(*rows), EvaluationConfig(bootstrap=300, bootstrap_over=over), 0.5
        ).video.overall["intervals"]["auc"]
        widths[over] = interval.high - interval.low
    assert widths["identities"] > 1.5 * widths["videos"]


def test_few_videos_and_a_reversed_ranking_are_said() -> None:
    rows = [scored(f"r{i}", 0, 0, 0.9) for i in range(3)] + [scored(f"f{i}", 0, 1, 0.1) for i in range(60)]
    warnings = results.warnings(results.measure(table(*rows), CONFIG, 0.5))
    assert len(warnings) == 2
    assert "only 3 real videos" in warnings[0]
    assert "below 0.5" in warnings[1]
