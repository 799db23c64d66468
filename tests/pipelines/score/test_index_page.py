"""The page of an archive's scores, as written and as it behaves in a real browser."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from deepfake.config import ReportConfig
from deepfake.io.storage import Storage
from deepfake.io.tables import Status
from deepfake.metrics import bound_precision
from deepfake.model.thresholds import Calibration, Mixer, OperatingPoint
from deepfake.model.validation_data import ArchiveDifferences
from deepfake.model.verdicts import VERDICT_WORDS, VerdictRule
from deepfake.pipelines.score import index_page
from deepfake.report.html import make_visible
from tests.pipelines.score.score_tables import HOSTILE, video_row, video_table

JPEG = cv2.imencode(".jpg", np.full((8, 8, 3), 128, np.uint8))[1].tobytes()
Opener = Callable[..., Page]


SEEN = OperatingPoint(
    name="balanced", threshold=0.5, target_fpr=None, real_videos=100, fake_videos=100,
    fpr=0.03, tpr=0.95, fpr_interval=(0.006, 0.085), tpr_interval=(0.887, 0.984),
)  # fmt: skip


def write(folder: Path, *rows: dict, **options: object) -> Path:
    table = video_table(*rows)
    order = index_page.sort_by_suspicion(table)
    return Path(index_page.write_index(str(folder), Storage(), table, order, **options))  # type: ignore[arg-type]


def names(page: Page) -> list[str]:
    return page.locator("#rows .name > bdi, #rows .name > a").all_inner_texts()


def many(count: int) -> list[dict]:
    return [video_row(f"v{i:04d}.mp4", (i * 7919 % count) / count) for i in range(count)]


def test_videos_come_from_the_highest_score_down_and_those_without_one_last_by_status() -> None:
    table = video_table(
        video_row("tie-b", 0.4),
        video_row("unread", None, status="unreadable"),
        video_row("low", 0.1),
        video_row("faceless", None),
        video_row("tie-a", 0.4),
        video_row("high", 0.9),
    )
    order = index_page.sort_by_suspicion(table)
    expected = ["high", "tie-a", "tie-b", "low", "faceless", "unread"]
    assert table["video_id"].take(order).to_pylist() == expected


def test_ratios_are_shown_where_there_are_any_and_else_it_is_said_why(tmp_path: Path) -> None:
    rows = [video_row("a", 0.9, log10_lr=1.15), video_row("b", 0.4, log10_lr=-0.8), video_row("c", None)]
    page = write(tmp_path / "1", *rows).read_text()
    assert ">14, moderate for fake</td>" in page and ">1/6.3, weak for real</td>" in page
    assert '"ratio":[0,1,null]' in page
    point = VerdictRule("balanced", 0.5, 0.4, 0.6, no_ratio="too few")
    page = write(tmp_path / "2", video_row("a", 0.9), point=point).read_text()
    assert "There are no likelihood ratios: too few." in page and 'class="ratio"' not in page


# Of two bundles; the second's scores lie close to 0, and its curve draws them apart.
CURVE = Calibration(
    method="platt", slope=1.0, offset=3.0, share_of_fakes=0.5, log_loss={"none": 0.7, "platt": 0.6}
)
BOTH = Mixer((None, CURVE), ("trained", "<i>adopted"))


def test_what_each_bundle_of_an_ensemble_says_is_shown_calibrated_and_how_far_apart_they_are(
    tmp_path: Path,
) -> None:
    rows = [
        video_row("agree.mp4", 0.9, bundle_scores=[0.9, 0.31]),  # of the second: 0.900 calibrated
        video_row("differ.mp4", 0.5, bundle_scores=[0.1, 0.31]),
        video_row("none.mp4", None),
    ]
    text = write(tmp_path / "1", *rows, mixer=BOTH).read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert data["ensemble"]["said"] == [[0.9, 0.1, None], [0.9, 0.9, None]]
    assert data["ensemble"]["apart"] == [0.0, 0.8, None]
    assert "mean of what 2 bundles say" in text
    assert "<bdi>trained</bdi> 0.100" in text and "<bdi>&lt;i&gt;adopted</bdi> 0.900" in text
    assert ">Bundles apart<" not in write(tmp_path / "2", video_row("a.mp4", 0.9)).read_text()
    assert ">Bundles apart<" in write(tmp_path / "3", mixer=BOTH).read_text()  # no video at all


@pytest.mark.browser
def test_videos_on_which_bundles_disagree_are_found_and_sorted_by_each_bundle(
    tmp_path: Path, open_page: Opener
) -> None:
    rows = [
        video_row(name, sum(own) / 2, bundle_scores=own)
        for name, own in {"a": [0.9, 0.3], "b": [0.1, 0.8], "c": [0.5, 0.4]}.items()
    ]
    page = open_page(write(tmp_path, *rows, video_row("d", None), mixer=Mixer((None, None), BOTH.names)))
    assert names(page) == ["a", "b", "c", "d"]
    page.get_by_role("button", name="Bundles apart").click()
    assert names(page) == ["b", "a", "c", "d"]
    assert page.locator("#order").input_value() == "apart"
    first = page.locator("#rows tr").first
    assert first.locator("[data-name='Bundles apart']").inner_text() == "0.700"
    assert first.locator(".verdict .why").all_inner_texts()[1:] == ["trained 0.100", "<i>adopted 0.800"]
    page.get_by_role("button", name="Bundles apart").click()
    assert names(page) == ["c", "a", "b", "d"]
    page.locator("#order").select_option("<i>adopted, highest first")
    assert names(page) == ["b", "c", "a", "d"]
    page.get_by_label("Name contains").fill("nothing")
    assert page.locator("#rows td").get_attribute("colspan") == str(page.locator(".videos thead th").count())


def test_every_status_and_verdict_has_words() -> None:
    assert set(index_page.STATUS_WORDS) == set(Status)
    assert set(VERDICT_WORDS) == {"likely_real", "uncertain", "likely_fake"}


def test_only_the_most_suspicious_thumbnails_are_written_under_harmless_names(tmp_path: Path) -> None:
    rows = [video_row(f"../../{i}<b>.mp4", i / 10) for i in range(5)]
    write(
        tmp_path,
        *rows,
        thumbnails={row["video_id"]: JPEG for row in rows[:4]},
        config=ReportConfig(max_thumbnails=2),
    )
    files = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert len(files) == 3
    assert all(re.fullmatch(r"report\.html|thumbnails/[0-9a-f]{24}\.jpg", name) for name in files)


def test_writing_again_leaves_no_thumbnail_of_the_earlier_run(tmp_path: Path) -> None:
    write(tmp_path, video_row("a", 0.5), thumbnails={"a": JPEG})
    write(tmp_path, video_row("b", 0.5), thumbnails={"b": JPEG})
    assert len(list(tmp_path.glob("thumbnails/*"))) == 1


def test_a_table_that_does_not_hold_every_video_says_so_and_counts_them_all(tmp_path: Path) -> None:
    rows = [*many(6), video_row("faceless.mp4", None), video_row("unread.mp4", None, status="unreadable")]
    page = write(tmp_path / "a", *rows, config=ReportConfig(rows=4)).read_text()
    assert "The table holds the 4 most suspicious of 8 videos" in page
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert data["score"] == sorted(data["score"], reverse=True) and len(data["name"]) == 4
    assert "could not be opened as a video" in page
    assert "The table holds" not in write(tmp_path / "b", *rows, config=ReportConfig(rows=8)).read_text()


def test_an_empty_archive_still_has_a_page(tmp_path: Path) -> None:
    assert "No video was found" in write(tmp_path).read_text()


def test_the_same_table_gives_the_same_page_whatever_its_order(tmp_path: Path) -> None:
    rows = many(20)
    assert write(tmp_path / "a", *rows).read_bytes() == write(tmp_path / "b", *rows[::-1]).read_bytes()


@pytest.mark.browser
@pytest.mark.parametrize("several", [False, True])
def test_the_rows_in_the_document_are_those_that_the_script_makes(
    tmp_path: Path, open_page: Opener, several: bool
) -> None:
    rows = [
        *many(30),
        video_row("two.mp4", 0.55, tracks=2, worst_track_id=1, segments_s=4.25, face_size_px=60.4),
        video_row("one.mp4", 0.54, tracks=1, worst_track_id=0, segments_s=0.0, face_size_px=300.0),
        video_row("none.mp4", None, status_detail="moov <atom> missing"),
        video_row("labelled.mp4", 0.0625, label=1, worst_time_s=3700.25, faces=12345),
        video_row("picture.mp4", 0.99, label=0),
    ]
    rows += [
        video_row("it's (1) #2 é.mp4", 0.8, uri="/elsewhere/x.mp4"),
        video_row("s3.mp4", 0.7, uri="s3://b/s3.mp4"),
    ]
    rows += [video_row("a\nb.mp4", 0.6), video_row("(2)!*~' ü?.mp4", None)]
    rows = [row if row["score"] is None else {**row, "bundle_scores": [row["score"], 0.3]} for row in rows]
    known = {"thumbnails": {"picture.mp4": JPEG}, "links": {"v0001.mp4": "x.html"}}
    path = write(tmp_path, *rows, mixer=BOTH if several else Mixer(), **known)
    written = open_page(path, java_script_enabled=False).locator("#rows").inner_html()
    made = open_page(path).locator("#rows").inner_html()
    tidy = [re.sub(r"\s+|style=\"[^\"]*\"|tabindex=\"-1\"", "", one)
            for one in (written, re.sub(r"<td class=\"mine\" role=\"cell\">.*?</td>", "", made))]  # fmt: skip
    assert _attributes_sorted(tidy[0]) == _attributes_sorted(tidy[1])


def _attributes_sorted(html: str) -> list[str]:
    return ["".join(sorted(tag)) for tag in re.findall(r"<[^>]*>|[^<]+", html)]


def test_each_verdict_has_its_reason_and_each_time_opens_the_file_there(tmp_path: Path) -> None:
    rows = [
        video_row("a b/x.mp4", 0.9, tracks=2, worst_track_id=7, segments_s=4.0, face_size_px=60.0),
        video_row("y.mp4", 0.3, segments_s=0.0, face_size_px=300.0, uri="/other/y.mp4"),
        video_row("z.mp4", 0.2, uri="s3://bucket/z.mp4"),
        video_row("damaged.mp4", None),
    ]
    text = write(tmp_path, *rows).read_text()
    assert "track 7 the worst of 2, fake for 4.0 s, small faces of 60 px<" in text
    assert "no stretch looks fake, faces of 300 px<" in text
    files = ["file:///archive/a%20b/x.mp4#t=3.5", "file:///other/y.mp4#t=3.5", "file:///archive/damaged.mp4"]
    assert re.findall(r'class="file" href="([^"]*)"', text) == files


@pytest.mark.browser
def test_a_reader_reviews_with_the_keyboard_and_finds_it_again_under_another_bundle(
    tmp_path: Path, open_page: Opener
) -> None:
    rows = [video_row("a.mp4", 0.9), video_row('b "2",\n=1.mp4', 0.8), video_row("=c.mp4", 0.7)]
    page = open_page(write(tmp_path / "1", *rows, archive="/archive"))
    for key in "jffjfnso so":  # fake and taken back, the next one fake with a note
        page.keyboard.press({" ": "Space"}.get(key, key))
    page.keyboard.press("Enter")
    for key in "jrup":
        page.keyboard.press(key)
    assert page.locator("#tally").inner_text() == "Your review: 1 fake, 1 unsure."
    assert page.locator("tr.current .name").inner_text() == "=c.mp4"
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save your review as CSV").click()
    lines = list(csv.reader(Path(saved.value.path()).read_text().splitlines(keepends=True)))
    assert lines == [
        ["video_id", "label", "note"],
        ['b "2",\n=1.mp4', "fake", "so so"],
        ["'=c.mp4", "unsure", ""],
    ]
    page.goto(write(tmp_path / "2", *rows[::-1], archive="/archive").as_uri())
    assert page.locator("#tally").inner_text() == "Your review: 1 fake, 1 unsure."
    page.locator("#reviewed").select_option("none")
    assert names(page) == ["a.mp4"]
    page.locator("#reviewed").select_option("fake")
    assert page.get_by_label("Note on").input_value() == "so so"
    page.goto(write(tmp_path / "3", *rows, archive="/another").as_uri())
    assert page.locator("#tally").inner_text() == "Your review: none yet."
    page.locator("#import").set_input_files(saved.value.path())
    expect(page.locator("#tally")).to_have_text("Your review: 1 fake, 1 unsure. 2 added.")
    assert page.get_by_role("row", name='b "2"').get_by_label("Note on").input_value() == "so so"
    with page.expect_download() as again:
        page.get_by_role("button", name="Save your review as CSV").click()
    assert Path(again.value.path()).read_bytes() == Path(saved.value.path()).read_bytes()
    spreadsheet = b'\xef\xbb\xbfvideo_id;label;note\r\na.mp4;real;"x; y"\r\n=c.mp4;;\r\n'
    page.locator("#import").set_input_files({"name": "r.csv", "mimeType": "text/csv", "buffer": spreadsheet})
    expect(page.locator("#tally")).to_have_text("Your review: 1 real, 1 fake, 1 unsure. 1 added.")
    assert page.get_by_label("Note on a.mp4").input_value() == "x; y"
    other = {"name": "x.txt", "mimeType": "text/plain", "buffer": b"hello"}
    page.locator("#import").set_input_files(other)
    expect(page.locator("#tally")).to_have_text(
        "Your review: 1 real, 1 fake, 1 unsure. That is no saved review."
    )


@pytest.mark.browser
def test_j_goes_on_to_the_next_page_of_the_table(tmp_path: Path, open_page: Opener) -> None:
    page = open_page(write(tmp_path, *many(150)))
    for _ in range(101):
        page.keyboard.press("j")
    page.keyboard.press("f")
    expect(page.locator("#rows tr")).to_have_count(50)
    assert page.locator("#rows button[aria-pressed=true]").count() == 1
    page.keyboard.press("k")
    assert page.locator("tr.current").evaluate("row => row.sectionRowIndex") == 99


@pytest.mark.browser
def test_a_click_on_the_time_opens_the_video_there(tmp_path: Path, open_page: Opener) -> None:
    (tmp_path / "v.mp4").write_bytes(b"")
    page = open_page(write(tmp_path / "out", video_row("v.mp4", 0.9, uri=str(tmp_path / "v.mp4"))))
    with page.expect_popup() as opened:
        page.keyboard.press("j")
        page.keyboard.press("o")
    assert opened.value.url == f"{(tmp_path / 'v.mp4').as_uri()}#t=3.5"
    opened.value.close()


@pytest.mark.browser
def test_a_click_on_a_heading_sorts_and_a_second_one_turns_round(tmp_path: Path, open_page: Opener) -> None:
    page = open_page(
        write(tmp_path, video_row("b", 0.2), video_row("a", 0.9), video_row("c", 0.5), video_row("d", None))
    )
    assert names(page) == ["a", "c", "b", "d"]
    page.get_by_role("button", name="Score").click()
    assert names(page) == ["b", "c", "a", "d"]
    page.get_by_role("button", name="Video", exact=True).click()
    assert names(page) == ["a", "b", "c", "d"]
    page.get_by_role("button", name="Video", exact=True).click()
    assert names(page) == ["d", "c", "b", "a"]
    assert page.locator("th[aria-sort=descending]").inner_text() == "Video"


@pytest.mark.browser
def test_filters_by_name_status_verdict_and_score_work_together(tmp_path: Path, open_page: Opener) -> None:
    page = open_page(
        write(
            tmp_path,
            video_row("News/One.mp4", 0.9),
            video_row("news/two.mp4", 0.6),
            video_row("news/three.mp4", 0.2),
            video_row("news/four.mp4", None),
            video_row("sport/five.mp4", 0.8),
        )
    )
    page.get_by_label("Name contains").fill("NEWS")
    assert len(names(page)) == 4
    page.locator("#verdict").select_option("likely fake (3)")
    assert names(page) == ["News/One.mp4", "news/two.mp4"]
    page.get_by_label("Score at least").fill("0.7")
    assert names(page) == ["News/One.mp4"]
    page.locator("#status").select_option(label=f"{index_page.STATUS_WORDS['no_face']} (1)")
    assert "No video fits" in page.locator("#rows").inner_text()
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#rows tr")).to_have_count(5)


@pytest.mark.browser
def test_the_keyboard_alone_sorts_filters_and_pages(tmp_path: Path, open_page: Opener) -> None:
    page = open_page(write(tmp_path, *many(250)))
    page.locator("#search").focus()
    page.keyboard.type("v00")
    assert page.locator("#shown").inner_text().startswith("1 to 100 of 100")
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    page.get_by_role("button", name="Next").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#shown").inner_text() == "101 to 200 of 250 videos"
    page.get_by_role("button", name="Video", exact=True).focus()
    page.keyboard.press("Space")
    assert names(page)[0] == "v0000.mp4"


@pytest.mark.browser
def test_hostile_names_are_text_wherever_they_appear(tmp_path: Path, open_page: Opener) -> None:
    rows = [video_row(name, 0.5 + i / 100, status_detail=name) for i, name in enumerate(HOSTILE)]
    rows += [video_row(f"{name} ", None, status_detail=name) for name in HOSTILE]
    config = ReportConfig(title="<script>alert(1)</script>")
    page = open_page(write(tmp_path, *rows, config=config, facts={"Input": "<img src=x onerror=alert(1)>"}))
    expected = {make_visible(row["video_id"]) for row in rows}
    texts = "[...document.querySelectorAll('#rows .name > bdi, #rows .name > a')].map(e => e.textContent)"
    assert set(page.evaluate(texts)) == expected
    page.get_by_role("button", name="Video", exact=True).click()
    assert set(page.evaluate(texts)) == expected
    assert page.locator("script").count() == 2
    assert page.locator("main img").count() == 0


@pytest.mark.browser
def test_without_javascript_the_first_rows_are_there_and_no_dead_controls(
    tmp_path: Path, open_page: Opener
) -> None:
    page = open_page(write(tmp_path, *many(150)), java_script_enabled=False)
    assert page.locator("#rows tr").count() == index_page.PAGE_ROWS
    assert page.get_by_text("The first 100 of 150 videos").is_visible()
    assert not page.locator("#controls").is_visible()


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 720, 900, 1030, 1280])
def test_the_page_is_never_wider_than_the_screen(tmp_path: Path, open_page: Opener, width: int) -> None:
    whole = {"tracks": 3, "worst_track_id": 2, "segments_s": 100.0, "face_size_px": 80.0, "log10_lr": 1.15}
    rows = [
        video_row("x" * 300 + ".mp4", 0.7, label=1, **whole),
        video_row("folder/" * 40, None, status_detail="y" * 300),
    ]
    rows[0]["bundle_scores"] = [0.7, 0.6, 0.5]
    mixer = Mixer((None,) * 3, ("trained", "s3://bucket/" + "z" * 60, "a name of several words"))
    page = open_page(write(tmp_path, *rows, mixer=mixer), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.browser
def test_thumbnails_are_loaded_from_beside_the_page(tmp_path: Path, open_page: Opener) -> None:
    page = open_page(write(tmp_path, video_row("a", 0.9), thumbnails={"a": JPEG}))
    expect(page.locator("img")).to_have_js_property("naturalWidth", 8)


@pytest.mark.browser
def test_a_suspicious_video_leads_to_its_own_page_before_and_after_sorting(
    tmp_path: Path, open_page: Opener
) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/a.html").write_text("<title>a</title><link rel=icon href=data:,>")
    rows = [video_row("a", 0.9), video_row("b", 0.2)]
    page = open_page(write(tmp_path, *rows, links={"a": "pages/a.html"}))
    page.get_by_role("button", name="Video", exact=True).click()
    assert page.locator("#rows .name a").all_inner_texts() == ["a"]
    page.get_by_role("link", name="a", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/pages/a.html")


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1100])
def test_how_many_alarms_are_right_stays_within_its_section(
    tmp_path: Path, open_page: Opener, width: int
) -> None:
    point = VerdictRule("balanced", 0.5, 0.45, 0.55, measured=SEEN)
    page = open_page(write(tmp_path, video_row("a", 0.9), point=point))
    page.set_viewport_size({"width": width, "height": 800})
    table = page.locator("table.alarms").bounding_box()
    section = page.locator("section", has=page.locator("table.alarms")).bounding_box()
    assert table is not None and section is not None
    assert table["x"] + table["width"] <= section["x"] + section["width"] + 1


def test_the_page_says_how_many_alarms_are_right_where_fakes_are_rare(tmp_path: Path) -> None:
    point = VerdictRule("balanced", 0.5, 0.45, 0.55, measured=SEEN)
    config = ReportConfig(prevalence=[0.5, 0.01])
    text = write(tmp_path, video_row("a", 0.9), point=point, config=config).read_text()
    assert "95.0 % of the fakes (n = 100) and 3.0 % of the reals (n = 100)" in text
    assert "96.9 %" in text and "24.2 %" in text
    bounds = bound_precision(95, 100, 3, 100, 0.01)
    assert bounds is not None and bounds.low < 0.1
    assert f"{bounds.low:.1%} to {bounds.high:.1%}".replace("%", " %") in text
    unknown = write(tmp_path, video_row("a", 0.9), point=VerdictRule("own", 0.5, 0.45, 0.55)).read_text()
    assert "carries no error rates" in unknown
    unproven = VerdictRule("balanced", 0.5, 0.0, 1.1, unproven="it guesses")
    text = write(tmp_path, video_row("a", 0.9), point=unproven).read_text()
    assert (
        "No video gets a verdict, for nothing shows that the model does more than guess: it guesses" in text
    )
    assert "Not known: it guesses." in text and "Right among" not in text


def test_the_page_says_where_the_archive_is_unlike_validation(tmp_path: Path) -> None:
    known = {"point": VerdictRule("balanced", 0.5, 0.45, 0.55, measured=SEEN)}
    like = ArchiveDifferences(1200, 40, 48.0, {"codec": 30, "bits a pixel": 11})
    text = write(tmp_path, video_row("a", 0.9), differing=like, **known).read_text()
    assert "40 of 1,200 scored videos have something that no validation video had: codec (30), bits a" in text
    assert "Of as many videos like those it would be about 48." in text
    assert "This archive is unlike" not in text
    unlike = ArchiveDifferences(60, 31, 2.4, {"codec": 31})
    text = write(tmp_path, video_row("a", 0.9), differing=unlike, **known).read_text()
    assert (
        "31 of 60 scored videos" in text and "This archive is unlike what the model was measured on" in text
    )
    assert "no validation video had" not in write(tmp_path, video_row("a", 0.9), **known).read_text()


def test_the_numbers_in_the_page_are_those_of_the_table(tmp_path: Path) -> None:
    text = write(tmp_path, *many(10), video_row("none", None)).read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert data["score"] == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, None]
    assert "90.9 %" in text


# The contrast of each piece of visible text with what lies behind it, by WCAG 2.2; those below 4.5.
FAINT = """() => {
    const parse = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = (rgb) => {
        const [r, g, b] = rgb.slice(0, 3).map((v) => v / 255)
            .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (one) => {
        for (let at = one; at; at = at.parentElement) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const found = [];
    for (const one of document.body.querySelectorAll("*")) {
        const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (!own || !one.checkVisibility() || one.closest("svg, script, style")) continue;
        const [a, b] = [light(parse(getComputedStyle(one).color)), light(behind(one))].sort((x, y) => y - x);
        const contrast = (a + 0.05) / (b + 0.05);
        if (contrast < 4.5) found.push(`${one.innerText.slice(0, 40)}: ${contrast.toFixed(2)}`);
    }
    return found;
}"""


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "dark"), (390, "light")])
def test_everything_can_be_read_on_a_phone_and_in_the_dark(
    tmp_path: Path, open_page: Opener, width: int, scheme: str
) -> None:
    whole = {"tracks": 2, "worst_track_id": 1, "segments_s": 4.0, "face_size_px": 60.0, "log10_lr": 1.15}
    rows = [
        video_row("a.mp4", 0.9, bundle_scores=[0.9, 0.3], **whole),
        *(video_row(str(s), s) for s in (0.5, 0.1)),
        video_row("d", None),
    ]
    point = VerdictRule("balanced", 0.5, 0.45, 0.55, measured=SEEN)
    page = open_page(
        write(tmp_path, *rows, point=point, thumbnails={"a": JPEG}, mixer=BOTH),
        viewport={"width": width, "height": 800}, color_scheme=scheme,
    )  # fmt: skip
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(ground[:3]) < 60) == (scheme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(FAINT) == []
