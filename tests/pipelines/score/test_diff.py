"""What another bundle changes, video by video."""

from __future__ import annotations

import pytest

from deepfake.pipelines.score import diff
from tests.pipelines.score.score_tables import video_row, video_table

COLUMNS = ["video_id", "content_sha256", "status", "score", "verdict"]


def test_changes_are_listed_the_largest_first_and_what_has_none_last() -> None:
    before = video_table(
        video_row("a", 0.25), video_row("b", 0.75), video_row("c", None), video_row("gone", 0.5)
    )
    after = video_table(video_row("a", 0.5), video_row("b", 0.25), video_row("c", 0.5), video_row("new", 0.5))
    changes = diff.list_changes(before.select(COLUMNS), after.select(COLUMNS))
    assert changes["video_id"].to_pylist() == ["b", "a", "c", "gone", "new"]
    assert changes["difference"].to_pylist() == [-0.5, 0.25, None, None, None]
    assert changes["status_before"].to_pylist() == ["ok", "ok", "no_face", "ok", None]
    assert diff.count_changes(changes) == {
        "only_before": 1,
        "only_now": 1,
        "verdicts_changed": {"likely_fake -> likely_real": 1, "likely_real -> likely_fake": 1},
        "largest_difference": 0.5,
    }


def test_the_same_scores_change_nothing() -> None:
    same = video_table(video_row("b", 0.75), video_row("a", None)).select(COLUMNS)
    numbers = diff.count_changes(diff.list_changes(same, same))
    assert numbers["verdicts_changed"] == {} and numbers["largest_difference"] == pytest.approx(0)
    assert (numbers["only_before"], numbers["only_now"]) == (0, 0)
