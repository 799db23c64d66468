"""Who is who through a video, by the overlap of boxes."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.faces.detectors.base import Detection
from deepfake.faces.tracking import MAX_GAP, assign_tracks, measure_overlap, measure_prominence


def face(x: float, y: float = 0.0, side: float = 100.0, score: float = 1.0) -> Detection:
    return Detection(x, y, side, side, score)


SIDES = st.floats(1, 300)
FACES = st.builds(Detection, st.floats(-50, 600), st.floats(-50, 300), SIDES, SIDES, st.floats(0.1, 1))
VIDEOS = st.lists(st.lists(FACES, max_size=4), max_size=12)


@given(VIDEOS)
def test_every_face_gets_a_number_and_no_two_faces_of_a_frame_the_same(frames: list[list[Detection]]) -> None:
    numbers = assign_tracks(frames)
    assert [len(frame) for frame in numbers] == [len(frame) for frame in frames]
    assert all(len(set(frame)) == len(frame) for frame in numbers)


@given(VIDEOS)
def test_numbers_count_up_from_0_in_order_of_first_appearance(frames: list[list[Detection]]) -> None:
    seen = list(dict.fromkeys(chain.from_iterable(assign_tracks(frames))))
    assert seen == list(range(len(seen)))


@given(VIDEOS, st.randoms())
def test_the_order_in_which_a_detector_reports_faces_does_not_change_who_is_who(frames, random) -> None:
    def people(frames: list[list[Detection]]) -> list[set[tuple[int, Detection]]]:
        named: dict[int, set[tuple[int, Detection]]] = {}
        for i, (faces, numbers) in enumerate(zip(frames, assign_tracks(frames), strict=True)):
            for detection, number in zip(faces, numbers, strict=True):
                named.setdefault(number, set()).add((i, detection))
        return sorted(named.values(), key=lambda person: sorted((i, d.x, d.y) for i, d in person))

    distinct = [list(dict.fromkeys(frame)) for frame in frames]
    shuffled = [random.sample(frame, len(frame)) for frame in distinct]
    assert people(shuffled) == people(distinct)


def test_two_people_who_move_keep_their_numbers() -> None:
    frames = [[face(10 * i), face(400 - 10 * i)] for i in range(10)]
    assert assign_tracks(frames) == [[0, 1]] * 10


def test_two_people_close_together_are_paired_for_the_best_overlap_in_all_not_first_come() -> None:
    before = [face(0), face(60)]
    after = [face(40), face(90)]  # the first overlaps the second track most, but then the other has none
    assert assign_tracks([before, after]) == [[0, 1], [0, 1]]


def test_a_face_elsewhere_is_another_person() -> None:
    assert assign_tracks([[face(0)], [face(300)]]) == [[0], [1]]


@pytest.mark.parametrize(("missing", "numbers"), [(MAX_GAP - 1, 0), (MAX_GAP, 1)])
def test_a_person_may_be_missing_for_a_few_sampled_frames(missing: int, numbers: int) -> None:
    assert assign_tracks([[face(0)], *[[]] * missing, [face(5)]])[-1] == [numbers]


def test_a_cut_to_someone_else_and_back_within_the_gap_keeps_both() -> None:
    a, b = [face(0)], [face(300)]
    assert assign_tracks([a, b, a, b]) == [[0], [1], [0], [1]]


@given(FACES, FACES)
def test_overlap_is_symmetric_bounded_and_1_only_for_the_same_box(a: Detection, b: Detection) -> None:
    assert measure_overlap(a, b) == measure_overlap(b, a)
    assert 0 <= measure_overlap(a, b) <= 1 + 1e-9
    assert measure_overlap(a, a) == pytest.approx(1)


def test_overlap_is_the_shared_area_over_the_joint_area() -> None:
    assert measure_overlap(face(0), face(50)) == pytest.approx(1 / 3)
    assert measure_overlap(face(0), face(100)) == 0  # they touch
    assert measure_overlap(face(0), face(25, 25, 50)) == pytest.approx(1 / 4)


def test_prominence_is_the_sum_of_area_times_score() -> None:
    frames = [[face(0, score=0.5), face(300, side=10)], [face(300, side=10)]]
    assert measure_prominence(frames, [[0, 1], [1]]) == {0: 5000.0, 1: 200.0}


def test_one_large_false_detection_weighs_less_than_a_face_that_is_always_there() -> None:
    frames = [[face(300)] for _ in range(8)]
    frames[3].insert(0, face(0, side=200, score=0.6))
    weights = measure_prominence(frames, assign_tracks(frames))
    assert max(weights, key=weights.__getitem__) == 0
