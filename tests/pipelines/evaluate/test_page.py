"""The page of an evaluation, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from deepfake.config import EvaluationConfig
from deepfake.io import tables
from deepfake.io.storage import Storage
from deepfake.pipelines.evaluate import results
from deepfake.pipelines.evaluate.page import Extras, PageSection, write_evaluation_page
from tests.pipelines.evaluate.faces import scored, two_classes

Opener = Callable[..., Page]
CHANGES = [("none", 0.0), ("JPEG quality", 90.0), ("JPEG quality", 30.0), ("frames a video", 1.0)]
AUC = {"auc": 0.8, "auc_low": 0.6, "auc_high": 0.9, "frame_auc": 0.7}
SWEEP = [{"kind": kind, "amount": amount, "videos": 9, "crops": 27, **AUC} for kind, amount in CHANGES]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [*two_classes(videos=6), *(scored(f"h{i}", 0, 1, 0.2, method="<b>Hard</b>") for i in range(3))]
    for row in rows:
        row["groups"] = '{"camera": "<i>phone</i>"}' if row["video_id"][-1] in "02" else None
    rivals = {name: np.full(len(rows), 0.5) for name in results.RIVALS}
    measured = results.measure_faces(
        tables.from_rows("face_scores", rows), EvaluationConfig(bootstrap=50), 0.5, rivals=rivals
    )
    other = PageSection("<u>other</u>", "s3://elsewhere", "all", measured)
    uri = write_evaluation_page(
        str(tmp_path_factory.mktemp("page")),
        Storage(),
        PageSection("mine", "s3://here", "test", measured, ["Only a few <i>videos</i>."], missed=2),
        [other],
        facts={"Data": "s3://bucket/<script>alert(1)</script>\u202e"},
        extras=Extras(SWEEP, ["No <b>source</b> video can be reached."]),
    )
    return Path(uri)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_the_screen_and_shows_its_plots_in_the_readers_colours(
    path: Path, open_page: Opener, scheme: str, width: int
) -> None:
    page = open_page(path, color_scheme=scheme, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for image in page.locator("img").all():  # no wait_for_function: the page's policy forbids eval
        expect(image).not_to_have_js_property("naturalWidth", 0)
    source = page.locator("picture").first
    shown = source.locator("img").evaluate("(image) => image.currentSrc")
    light = source.locator("img").get_attribute("src")
    assert (shown == light) == (scheme == "light")


@pytest.mark.browser
def test_video_and_frame_numbers_stand_side_by_side_with_their_n_and_interval(
    path: Path, open_page: Opener
) -> None:
    page = open_page(path)
    head = page.locator(".metrics thead").inner_text()
    assert "n = 15" in head and "n = 39" in head
    auc = page.locator(".metrics tbody tr").first
    assert auc.locator(".interval").count() == 6  # and what is reached without looking


@pytest.mark.browser
def test_the_worst_method_comes_first_and_every_word_from_outside_is_text(
    path: Path, open_page: Opener
) -> None:
    page = open_page(path)
    by_method = page.locator("section[aria-labelledby=by-method] .groups tbody th")
    assert by_method.all_inner_texts() == ["<b>Hard</b>", "Swap"]
    text = page.locator("body").inner_text()
    assert "Data set <u>other</u>" in text
    assert "No <b>source</b> video can be reached." in text
    assert "Only a few <i>videos</i>." in text
    assert r"<script>alert(1)</script>\u202e" in text
    assert "2 labelled videos of this split had none" in text
    assert page.locator("script").count() == 0


@pytest.mark.browser
def test_a_rival_stands_beside_with_the_difference_and_its_interval(path: Path, open_page: Opener) -> None:
    rows = open_page(path).locator("section[aria-labelledby=against] tbody tr")
    assert rows.count() == 6  # three levels of two data sets
    cells = rows.first.inner_text()
    assert "0.500" in cells and re.search(r"[+-]0\.\d{3} \([+-]\d\.\d{3} to [+-]\d\.\d{3}\)", cells)


@pytest.mark.browser
def test_every_threshold_shows_its_rates_with_exact_intervals(path: Path, open_page: Opener) -> None:
    page = open_page(path)
    first = page.locator(".points tbody tr").first
    assert first.locator("[data-name=Threshold]").inner_text() == "0.5"  # in force; no bundle gave others
    row = first.inner_text()
    assert "of 6" in row and "of 9" in row
    lines = page.locator(".sweep tbody").first.locator("tr")
    assert [line.split("\t")[1] for line in lines.all_inner_texts()] == ["as it is", "90", "30"]


@pytest.mark.browser
def test_every_picture_has_words_and_every_table_heading_a_scope(path: Path, open_page: Opener) -> None:
    page = open_page(path)
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("h1").count() == 1


@pytest.mark.browser
def test_errors_of_stated_groups_stand_with_counts_and_gaps(path: Path, open_page: Opener) -> None:
    page = open_page(path)
    table = page.locator("section[aria-labelledby=by-camera] .declared")
    assert table.locator("tbody tr").count() == 2
    cells = table.locator("tbody tr").first.locator("td")
    assert cells.count() == 6 and "of" in cells.first.inner_text()
    assert "<i>phone</i>" in table.locator("th[scope=row]").all_inner_texts()
