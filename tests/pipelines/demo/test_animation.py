"""How the demo's clips move and are lit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfake.pipelines.demo.animation import Animation, Wave, draw_animation
from deepfake.pipelines.demo.people import FACE_CENTRE, HEIGHT, WIDTH

STILL = Wave(0.0, np.ones(2), np.zeros(2))


def still(**changes: object) -> Animation:
    """Nothing moves, nothing is lit or noisy."""
    drawn = draw_animation(4, np.random.default_rng(0))
    waves = dict.fromkeys(("x", "y", "distance", "degrees", "light"), STILL)
    plain = replace(drawn, zoom=1.0, shift=(0.0, 0.0), mirrored=False, noise=drawn.noise * 0, **waves)
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture
def canvas() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)


def test_a_wave_stays_within_its_swing_and_moves() -> None:
    wave = Wave(12.0, np.array([0.2, 0.5]), np.array([0.0, 1.0]))
    values = np.array([wave.at(second) for second in np.arange(0, 30, 0.1)])
    assert np.abs(values).max() <= 12.0 and values.std() > 3.0


def test_what_stands_still_is_the_canvas_and_its_mirror_image(canvas: np.ndarray) -> None:
    np.testing.assert_array_equal(still().render_frame(canvas, 0, 30), canvas)
    np.testing.assert_array_equal(still(mirrored=True).render_frame(canvas, 0, 30), canvas[:, ::-1])


def test_zoom_and_turns_leave_the_faces_centre_where_it_is() -> None:
    turned = still(zoom=1.1, degrees=Wave(3.0, np.full(2, 0.3), np.full(2, 1.0)))
    moved = turned.compute_matrix(0.7) @ (*FACE_CENTRE, 1.0)
    assert moved == pytest.approx(FACE_CENTRE)
    shifted = replace(turned, shift=(5.0, -3.0)).compute_matrix(0.7) @ (*FACE_CENTRE, 1.0)
    assert shifted - moved == pytest.approx((5.0, -3.0))


def test_light_changes_all_colours_alike() -> None:
    grey = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    bright = still(light=Wave(0.1, np.zeros(2), np.full(2, np.pi / 2)))
    assert np.unique(bright.render_frame(grey, 0, 30)).tolist() == [110]


def test_an_animation_follows_from_its_random_numbers(canvas: np.ndarray) -> None:
    frames = [
        draw_animation(3, np.random.default_rng(seed)).render_frame(canvas, 2, 30) for seed in (5, 5, 6)
    ]
    assert frames[0].shape == (HEIGHT, WIDTH, 3) and frames[0].dtype == np.uint8
    np.testing.assert_array_equal(frames[0], frames[1])
    assert (frames[0] != frames[2]).mean() > 0.5
