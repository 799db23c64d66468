"""How near faces are to the edges of their frames tells nothing once training has matched them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from deepfake.config import AugmentConfig, CropConfig
from deepfake.crops.augmentation import DrawnChanges, cut_window, draw_changes, place_window
from deepfake.crops.framing import Framing, find_framing, measure_rooms

CUT = CropConfig()
WIDE = CUT.size + 2 * CUT.surround
BOX, FRAME = (300.0, 200.0, 100.0, 120.0), (720, 1280)
NOTHING = DrawnChanges(False, 0.0, 1.0, 0.0, 1.0, None, None, 0, None, None, None)


def test_room_is_counted_from_the_middle_of_the_box_in_sides_of_it() -> None:
    box = dict(zip("xywh", BOX, strict=True))
    table = pa.Table.from_pylist([{"box": box, "frame_width": 1280, "frame_height": 720}])
    np.testing.assert_allclose(
        measure_rooms(table)[0], [350 / 120, 260 / 120, 930 / 120, 460 / 120], rtol=1e-6
    )


def test_a_face_amid_its_frame_may_be_shown_within_all_that_is_stored() -> None:
    found = find_framing(WIDE, BOX, None, FRAME, CUT)
    assert found.room == (0, 0, WIDE, WIDE)
    assert found.centre == pytest.approx((WIDE / 2, WIDE / 2), abs=1)
    assert find_framing(CUT.size, BOX, None, FRAME, CUT).room == (0, 0, CUT.size, CUT.size)


def test_the_frame_of_another_face_bounds_what_is_shown() -> None:
    found = find_framing(WIDE, BOX, None, FRAME, CUT, [9, 0.5, 9, 9])  # its box touches the upper edge
    side = 120 * CUT.size / 156  # of the box in the picture
    assert found.room[1] == pytest.approx(found.centre[1] - side / 2, abs=0.01)
    assert (found.room[0], *found.room[2:]) == (0, WIDE, WIDE)
    centre, length = place_window(NOTHING, CUT.size, found)
    assert length == CUT.size  # moved down, and no smaller
    assert centre[1] - length / 2 == pytest.approx(found.room[1])
    low = find_framing(WIDE, BOX, None, FRAME, CUT, [9, 0.5, 9, 0.55])  # a frame hardly higher than its face
    assert place_window(NOTHING, CUT.size, low)[1] == pytest.approx(1.05 * side, abs=0.01)


def test_a_room_that_holds_no_face_is_none() -> None:
    assert find_framing(WIDE, BOX, None, FRAME, CUT, [9, 0.1, 9, 0.1]).room == (0, 0, WIDE, WIDE)


@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_a_window_lies_in_its_room_whatever_is_drawn(degrees: float) -> None:
    room = Framing((120.0, 140.0), (10.0, 30.0, 290.0, 270.0))
    picture = np.zeros((WIDE, WIDE, 3), np.uint8)
    picture[30:270, 10:290] = 200
    config = AugmentConfig(translation=0.2, scale=0.2, rotation_degrees=degrees)
    for number in range(50):
        window = cut_window(picture, draw_changes(config, 0, 0, str(number)), CUT.size, room)
        assert window.shape == (CUT.size, CUT.size, 3)
        assert window[2:-2, 2:-2].min() == 200  # but for half a pixel of interpolation


def test_what_is_shown_is_where_it_is_said_to_be() -> None:
    picture = np.zeros((WIDE, WIDE, 3), np.uint8)
    picture[140:150, 100:110] = 255
    changes = DrawnChanges(False, 0.0, 1.25, 0.0, 1.0, None, None, 0, None, None, None, move=(0.05, -0.02))
    framing = Framing((130.0, 150.0))
    centre, side = place_window(changes, 224, framing)
    assert side == 224 / 1.25
    rows, columns, _ = np.nonzero(cut_window(picture, changes, 224, framing) > 127)
    there = (np.array([105.0, 145.0]) - (centre - side / 2)) * 1.25
    assert (columns.mean() + 0.5, rows.mean() + 0.5) == pytest.approx(tuple(there), abs=0.6)


def test_faces_near_the_edge_in_one_class_alone_are_no_tell_once_matched() -> None:
    """Fakes are framed tightly from above; matched, the windows of both classes lie alike."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 400)
    tops = np.where(labels == 1, random.uniform(0, 20, 800), random.uniform(200, 400, 800))
    boxes = [(500.0, float(top), 120.0, 120.0) for top in tops]
    rooms = np.array([[560, top + 60, 720, 660 - top] for top in tops]) / 120
    told = {}
    for matched in (False, True):
        down = []
        for number, (box, label) in enumerate(zip(boxes, labels, strict=True)):
            other = rooms[random.choice(np.flatnonzero(labels != label))] if matched else None
            framing = find_framing(WIDE, box, None, FRAME, CUT, other)
            centre, _ = place_window(draw_changes(AugmentConfig(), 0, 0, str(number)), CUT.size, framing)
            down.append(centre[1] - framing.centre[1])
        told[matched] = roc_auc_score(labels, down)
    assert told[False] > 0.9
    assert abs(told[True] - 0.5) < 0.06  # four standard deviations of an AUC of 400 and 400
