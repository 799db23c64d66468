"""The clip that is made here and now."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepfake.video import sample_clip
from tests.clips import decode_everything


def test_it_is_a_second_of_a_grey_ramp_that_moves_by_a_pixel_a_frame(tmp_path: Path) -> None:
    sample_clip.write_clip(tmp_path / "clip.mp4")
    frames = decode_everything(tmp_path / "clip.mp4")
    assert len(frames) == 25
    for i, frame in enumerate(frames):
        assert frame.shape == (128, 128, 3)
        assert abs(int(frame[:, (64 + i) % 128].mean()) - 128) < 10  # the middle of the ramp has moved there
        assert np.ptp(frame.astype(int), axis=2).max() < 10  # grey
