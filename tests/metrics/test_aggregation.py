"""From faces to videos."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.metrics import POLICIES, aggregate, aggregate_videos

SCORES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(SCORES, st.sampled_from(POLICIES), st.randoms(use_true_random=False))
def test_the_order_of_faces_changes_no_bit_of_a_videos_score(scores: list, policy: str, random) -> None:
    frames = np.arange(len(scores)) // 2
    order = list(range(len(scores)))
    random.shuffle(order)
    shuffled = [scores[i] for i in order]
    assert aggregate(shuffled, policy, 3, frames[order]) == aggregate(scores, policy, 3, frames)


@given(SCORES)
def test_every_policy_stays_between_the_lowest_and_the_highest_face(scores: list) -> None:
    for policy in POLICIES:
        found = aggregate(scores, policy, 3, np.arange(len(scores)) // 2)
        assert min(scores) - 1e-15 <= found <= max(scores) + 1e-15


def test_each_policy_is_what_its_name_says() -> None:
    scores = [0.1, 0.9, 0.2, 0.6]
    found = [aggregate(scores, policy, top_k=2) for policy in ("mean", "median", "max", "top_k")]
    assert found == pytest.approx([0.45, 0.4, 0.9, 0.75])


def test_top_k_of_fewer_faces_is_their_mean() -> None:
    assert aggregate([0.2, 0.4], "top_k", top_k=5) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("scores", "policy", "words"),
    [
        ([], "mean", "status"),
        ([0.1, float("nan")], "mean", "NaN"),
        ([0.1], "mode", "mean, median, max, top_k"),
        ([0.1], "frame_max", "the frame of each"),
    ],
)
def test_what_has_no_score_is_refused(scores: list, policy: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        aggregate(scores, policy)


def test_a_frame_with_several_faces_counts_once_by_its_worst() -> None:
    assert aggregate([0.1, 0.9, 0.2, 0.5], "frame_max", frames=[0, 0, 0, 30]) == pytest.approx(0.7)
    table = faces(video_id=["b", "a", "b", "b"], frame_index=[30, 7, 0, 30], score=[0.2, 0.9, 0.4, 0.6])
    assert aggregate_videos(table, "frame_max")["score"].to_pylist() == pytest.approx([0.9, 0.5])


def faces(**columns: list) -> pa.Table:
    return pa.table(columns)


def test_a_videos_row_counts_its_faces_and_frames_and_keeps_what_is_known_of_it() -> None:
    table = aggregate_videos(
        faces(
            video_id=["b", "a", "b", "b"],
            frame_index=[30, 0, 0, 30],
            score=[0.2, 0.9, 0.4, 0.6],
            label=[0, 1, 0, 0],
            method=["real", None, "real", "real"],
        )
    )
    assert table.to_pylist() == [
        {"video_id": "a", "score": 0.9, "faces": 1, "frames": 1, "label": 1, "method": None},
        {"video_id": "b", "score": pytest.approx(0.4), "faces": 3, "frames": 2, "label": 0, "method": "real"},
    ]


def test_two_methods_with_the_same_file_name_stay_two_videos() -> None:
    table = aggregate_videos(
        faces(video_id=["Deepfakes/000_003.mp4", "FaceSwap/000_003.mp4"], score=[0.1, 0.9])
    )
    assert table["score"].to_pylist() == [0.1, 0.9]


def test_faces_of_one_video_with_two_labels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"v\.mp4: its faces disagree on label"):
        aggregate_videos(faces(video_id=["v.mp4", "v.mp4"], score=[0.1, 0.2], label=[0, 1]))


def test_no_faces_make_no_videos() -> None:
    empty = pa.schema(
        [("video_id", pa.string()), ("score", pa.float64()), ("label", pa.int8())]
    ).empty_table()
    assert aggregate_videos(empty).num_rows == 0


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1)), min_size=1, max_size=40))
def test_the_table_has_each_videos_own_aggregate(rows: list) -> None:
    names, scores = [r[0] for r in rows], np.array([r[1] for r in rows])
    table = aggregate_videos(faces(video_id=names, score=scores.tolist()), "max")
    expected = {name: max(s for n, s in rows if n == name) for name in sorted(set(names))}
    assert dict(zip(table["video_id"].to_pylist(), table["score"].to_pylist(), strict=True)) == expected
