"""The grid of crops."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake.report import contact_sheet

RED = np.zeros((224, 224, 3), np.uint8)
RED[..., 0] = 255


def decoded(png: bytes) -> np.ndarray:
    bgr = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def test_colours_stay_true_and_upright() -> None:
    image = RED.copy()
    image[112:] = (0, 0, 255)
    sheet = decoded(contact_sheet.build_sheet([("a", image)], side=100))
    assert sheet[20, 50].tolist() == [255, 0, 0]
    assert sheet[90, 50].tolist() == [0, 0, 255]


def test_a_jpeg_shows_what_the_png_shows_and_is_smaller() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    images = [("a\nframe 0", RED), ("b", noise.repeat(8, 0).repeat(8, 1))]
    png, jpeg = (contact_sheet.build_sheet(images, kind=kind) for kind in ("png", "jpeg"))
    assert jpeg.startswith(b"\xff\xd8\xff") and len(jpeg) < len(png)
    assert np.abs(decoded(jpeg).astype(int) - decoded(png)).mean() < 8


@pytest.mark.parametrize(("n", "columns", "rows"), [(1, 8, 1), (8, 8, 1), (9, 8, 2), (3, 1, 3)])
def test_images_fill_the_grid_row_by_row(n: int, columns: int, rows: int) -> None:
    sheet = decoded(contact_sheet.build_sheet([(str(i), RED) for i in range(n)], columns=columns, side=60))
    cell = 60 + contact_sheet.CAPTION_ROWS + contact_sheet.GAP
    assert sheet.shape[0] == rows * cell + contact_sheet.GAP
    red = (sheet == (255, 0, 0)).all(axis=2).sum()
    assert red == n * 60 * 60


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (7, 5)])
def test_any_shape_of_image_fits_its_cell(shape: tuple[int, int]) -> None:
    contact_sheet.build_sheet([("thin", np.zeros((*shape, 3), np.uint8)), ("other", RED)])


def test_any_caption_can_be_drawn() -> None:
    long = "Deepfakes/c23/" + "x" * 500 + "\u202e\n<b>"
    assert decoded(contact_sheet.build_sheet([(long, RED), ("", RED), ("日本語", RED)])).size


@pytest.mark.parametrize(
    "image",
    [RED.astype(np.float32), RED[..., 0], np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
    ids=["float", "grey", "four channels", "empty"],
)
def test_what_is_not_an_rgb_image_is_refused_by_name(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"clip\.mp4: expected"):
        contact_sheet.build_sheet([("clip.mp4", image)])


def test_no_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet.build_sheet([])
