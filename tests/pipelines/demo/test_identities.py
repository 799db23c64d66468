"""Several identities out of one person."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfake.pipelines.demo.identities import CONTROL_POINTS, Identity, draw_identity
from deepfake.pipelines.demo.people import HEIGHT, WIDTH, Person

BOX = np.array([165.0, 90.0, 150.0, 150.0])


@pytest.fixture(scope="module")
def person() -> Person:
    frames = np.random.default_rng(0).integers(40, 200, (3, HEIGHT // 8, WIDTH // 8, 3))
    frames = frames.repeat(8, 1).repeat(8, 2).astype(np.uint8)
    return Person("somebody", frames, np.stack([BOX + i for i in range(3)]))


def plain(person: Person, **changes: object) -> Identity:
    """An identity that changes nothing."""
    drawn = draw_identity(person, np.random.default_rng(0))
    same = replace(
        drawn, push=drawn.push * 0, gain=np.ones(3), gamma=1.0, saturation=1.0,
        backdrop=np.ones((3, 4, 3)), phase=0,
    )  # fmt: skip
    return replace(same, **changes)  # type: ignore[arg-type]


def test_without_changes_it_is_the_person(person: Person) -> None:
    image, box = plain(person).look_up_frame(0)
    assert np.abs(image.astype(int) - person.frames[0]).max() <= 1
    np.testing.assert_array_equal(box, person.boxes[0])


def test_footage_is_played_forward_and_back_without_end(person: Person) -> None:
    identity = plain(person, phase=1)
    played = [int(identity.look_up_frame(i)[1][0] - BOX[0]) for i in range(7)]
    assert played == [1, 2, 1, 0, 1, 2, 1]


def test_a_single_picture_is_always_the_same(person: Person) -> None:
    alone = plain(Person("one", person.frames[:1], person.boxes[:1]))
    assert alone.look_up_frame(5)[0] is alone.look_up_frame(0)[0]


def test_a_warp_moves_the_face_and_leaves_the_corners_alone(person: Person) -> None:
    pushed = plain(person, push=np.full(CONTROL_POINTS.shape, 0.05)).look_up_frame(0)[0]
    changed = (np.abs(pushed.astype(int) - person.frames[0]) > 8).any(axis=2)
    x, y, w, h = BOX.astype(int)
    assert changed[y : y + h, x : x + w].mean() > 0.05
    assert not changed[:20, :20].any() and not changed[-20:, -20:].any()


def test_another_backdrop_leaves_the_head_as_it_is(person: Person) -> None:
    image = plain(person, backdrop=np.full((3, 4, 3), 0.5)).look_up_frame(0)[0].astype(float)
    x, y, w, h = BOX.astype(int)
    head = np.s_[y + h // 4 : y + 3 * h // 4, x + w // 4 : x + 3 * w // 4]
    assert np.abs(image[head] - person.frames[0][head]).max() <= 1
    assert image[:20, :20].mean() == pytest.approx(0.5 * person.frames[0][:20, :20].mean(), rel=0.05)


def test_two_identities_of_one_person_differ_and_the_same_numbers_give_the_same(person: Person) -> None:
    drawn = [draw_identity(person, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    images = [identity.change(person.frames[0], BOX) for identity in drawn]
    np.testing.assert_array_equal(images[0], images[1])
    assert np.abs(images[0].astype(int) - images[2]).mean() > 3
