"""The page of two models side by side, as written and in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from deepfake.io.storage import Storage
from deepfake.pipelines.score import changes_page, diff, video_page
from deepfake.pipelines.score.diff import Comparison
from tests.pipelines.score.score_tables import HOSTILE, video_row, video_table
from tests.pipelines.score.test_diff import COLUMNS
from tests.pipelines.score.test_index_page import JPEG

Opener = Callable[..., Page]


def write(folder: Path, before: list[dict], after: list[dict]) -> Path:
    earlier, now = (video_table(*rows).select(COLUMNS) for rows in (before, after))
    comparison = Comparison(
        str(folder / "before"), "changes.parquet", diff.list_changes(earlier, now), (0.5, 0.6)
    )
    outputs = [{"output": f"/out/{name}", "name": f"/{name}", "sha256": "ab" * 32, "point": "balanced"}
               for name in ("before", "now")]  # fmt: skip
    return Path(changes_page.write_changes_page(str(folder / "now"), Storage(), comparison, outputs))


def many(count: int, shift: float) -> list[dict]:
    return [
        video_row(f"v{i:04d}.mp4", (i * 7919 % count) / count * (1 - shift) + shift / 2) for i in range(count)
    ]


def test_other_answers_come_first_and_each_has_its_place_in_the_table_of_answers(tmp_path: Path) -> None:
    before = [
        video_row("far", 0.1),
        video_row("turned", 0.45),
        video_row("lost", 0.9),
        video_row("gone", 0.9),
    ]
    after = [
        video_row("far", 0.49),
        video_row("turned", 0.55),
        video_row("lost", None),
        video_row("new", 0.2),
    ]
    text = write(tmp_path, before, after).read_text().replace("\u2013", "-")
    assert re.findall(r'class="name"><bdi>([^<]*)', text) == ["turned", "gone", "lost", "new", "far"]
    assert "Of 5 videos 4 got another answer. The largest difference of two scores is 0.390." in text
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th>(.*?)</tr>', text)
    found = {old: re.findall(r">([^<]*)</td>", cells) for old, cells in rows}
    assert found == {  # to likely fake, likely real, no score, not there
        "likely fake": ["-", "-", "1", "1"],
        "likely real": ["1", "1", "-", "-"],
        "no score": ["-"] * 4,
        "not there": ["-", "1", "-", "-"],
    }
    assert text.count("<circle") == 2


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 900, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_screen_and_leads_to_both_pages_of_a_video(
    tmp_path: Path, open_page: Opener, width: int, scheme: str
) -> None:
    stem = video_page.name_file("v0001.mp4")
    for folder in ("before", "now"):
        (tmp_path / folder / "video_pages").mkdir(parents=True)
        (tmp_path / folder / f"video_pages/{stem}.html").write_text("<link rel=icon href=data:,>")
    (tmp_path / "now/thumbnails").mkdir()
    (tmp_path / f"now/thumbnails/{stem}.jpg").write_bytes(JPEG)
    odd = [video_row(name, 0.5) for name in (*HOSTILE, "x" * 300)]
    path = write(tmp_path, [*many(99, 0.0), *odd], [*many(99, 0.8), *odd])
    page = open_page(path, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    row = page.get_by_role("row", name="v0001.mp4")
    links = row.get_by_role("link").evaluate_all("all => all.map((one) => one.href)")
    assert links == [
        (tmp_path / f"{folder}/video_pages/{stem}.html").as_uri() for folder in ("before", "now")
    ]
    assert row.locator("img").evaluate("image => image.naturalWidth") == 8


def test_outputs_without_any_video_have_a_page(tmp_path: Path) -> None:
    assert "No video was found." in write(tmp_path, [], []).read_text()
