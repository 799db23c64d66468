"""The README's pictures can be taken from pages as they are now."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
from playwright.sync_api import Browser

from docs.take_pictures import HEIGHT, SHOWN, WIDTH, take_pictures
from tests.pipelines.score.score_tables import video_row
from tests.pipelines.score.test_index_page import write
from tests.pipelines.score.test_video_page import case
from tests.pipelines.score.test_video_page import write as write_page


@pytest.mark.browser
def test_both_pictures_are_taken_and_show_something(browser: Browser, tmp_path: Path) -> None:
    own = write_page(tmp_path, case())
    write(tmp_path / "scores", video_row("a.mp4", 0.9), links={"a.mp4": f"../{own.name}"})
    take_pictures(browser, tmp_path, tmp_path / "pictures")
    for name in ("scores.png", "video.png"):
        picture = cv2.imread(str(tmp_path / "pictures" / name))
        assert picture is not None and picture.shape == (HEIGHT * SHOWN // WIDTH, SHOWN, 3)
        assert picture.std() > 10
