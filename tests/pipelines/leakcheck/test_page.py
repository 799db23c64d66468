"""The page of a leak check, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from deepfake.config import LeakcheckJobConfig
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.leakcheck import findings, scan
from deepfake.pipelines.leakcheck.findings import Finding
from deepfake.pipelines.leakcheck.inputs import LeakcheckInput
from deepfake.pipelines.leakcheck.page import write_leakcheck_page
from deepfake.pipelines.leakcheck.probes import Feature, Probe
from deepfake.pipelines.leakcheck.result import LeakcheckResult
from tests.pipelines.leakcheck.made import face, png

Opener = Callable[..., Page]
HOSTILE = "<script>alert(1)</script>\u202e.mp4"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = [
        Finding("identity", HOSTILE, "b.mp4", "youtube/001", "train", "test", 0, 1),
        Finding("upload", "755", "756", "tube", "train", "test", scope="official_split"),
        *(
            Finding("near_duplicate", f"{'long/' * 12}{i}.mp4", "b.mp4", None, "train", "val", 1, 0,
                    frame_a=30, frame_b=0, hash_distance=2, pixel_difference=0.01, mirrored=True,
                    crop_pairs=3)
            for i in range(3)
        ),
    ]  # fmt: skip
    rows = findings.make_table(found).to_pylist()
    feature = Feature("corner_black", "share of black pixels in the corners", 0.97, "fakes")
    probes = [
        Probe("all together", "shortcut", 0.98, 0.95, 1.0, (feature,)),
        Probe("border pixels", "shortcut", 0.97, 0.94, 0.99, (feature,)),
        Probe("colour", "none", 0.52, 0.44, 0.6, (feature,)),
        Probe("codec", "not measured", reason="not known, or the same everywhere"),
    ]
    videos = tables.from_rows("videos", [])
    result = LeakcheckResult(
        LeakcheckInput("crops", "s3://bucket/crops", videos),
        found,
        probes,
        uploads=None,
        pictures=scan.PICTURES.empty_table(),
        failing=["1 identity is in two splits"],
        warnings=[probes[1].put_in_words()],
        not_looked_for=["upload"],
        counts={"identity": 1, "near_duplicate": 3},
    )
    pictures = {("b.mp4", 0): png(face(1)), (f"{'long/' * 12}1.mp4", 30): png(face(2))}
    config = LeakcheckJobConfig(input="s3://bucket/crops", output=str(tmp_path_factory.mktemp("page")))
    return Path(write_leakcheck_page(result, rows, pictures, config, Storage()))


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_the_screen_and_shows_its_plot_in_the_readers_colours(
    path: Path, open_page: Opener, scheme: str, width: int
) -> None:
    page = open_page(path, color_scheme=scheme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for image in page.locator("img").all():  # no wait_for_function: the page's policy forbids eval
        expect(image).not_to_have_js_property("naturalWidth", 0)
    source = page.locator("figure picture")
    shown = source.locator("img").evaluate("(image) => image.currentSrc")
    assert (shown == source.locator("img").get_attribute("src")) == (scheme == "light")


@pytest.mark.browser
def test_the_verdict_comes_first_and_names_from_outside_are_text(path: Path, open_page: Opener) -> None:
    page = open_page(path)
    assert page.locator("header .verdict").get_attribute("class") == "verdict likely_fake"
    assert page.locator("header p").all_inner_texts() == ["Splits overlap", "1 identity is in two splits"]
    assert r"<script>alert(1)</script>\u202e.mp4" in page.locator("body").inner_text()
    assert page.locator("script").count() == 0


@pytest.mark.browser
def test_what_was_not_looked_for_is_not_counted_as_none(path: Path, open_page: Opener) -> None:
    cards = open_page(path).locator(".cards li").all_inner_texts()
    assert [" ".join(text.split()) for text in cards[:3]] == [
        "1 identity is in two splits",
        "\N{EN DASH} uploads in two splits: not looked for",
        "0 copies of files in another split",
    ]


@pytest.mark.browser
def test_pairs_that_look_alike_are_shown_and_official_lists_are_told_apart(
    path: Path, open_page: Opener
) -> None:
    page = open_page(path)
    near = page.locator("section[aria-labelledby=near_duplicate-input]")
    assert near.locator("tbody tr").count() == 3
    assert (
        near.locator("img.crop").count() == 4
    )  # the second video's picture in each row, and one of the first
    assert "2, mirrored" in near.inner_text()
    assert "on the official lists" in page.locator("#upload-official_split").inner_text()


@pytest.mark.browser
def test_probes_that_measured_nothing_say_why(path: Path, open_page: Opener) -> None:
    page = open_page(path)
    rows = page.locator("section[aria-labelledby=probes] tbody tr").all_inner_texts()
    assert "tells fakes" in rows[1] and "0.940 to 0.990" in rows[1]
    assert len(rows) == 3
    said = page.locator("section[aria-labelledby=probes]").inner_text()
    assert "Not measured: codec; not known, or the same everywhere." in said


def test_what_keeps_every_probe_from_being_measured_is_said_once(tmp_path: Path) -> None:
    few = "3 real and 9 fake videos are too few to tell"
    probes = [Probe(f"group {number}", "not measured", reason=few) for number in range(12)]
    listed = LeakcheckInput("crops", "crops", tables.from_rows("videos", []))
    result = LeakcheckResult(listed, [], probes, None, scan.PICTURES.empty_table(), [], [], ["probe"])
    config = LeakcheckJobConfig(input="crops", output=str(tmp_path))
    page = Path(write_leakcheck_page(result, [], {}, config, Storage())).read_text()
    assert page.count(few) == 1
    assert f"Not measured; {few}." in page
    assert "group 5" not in page


@pytest.mark.browser
def test_every_picture_has_words_and_every_table_heading_a_scope(path: Path, open_page: Opener) -> None:
    page = open_page(path)
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("h1").count() == 1
