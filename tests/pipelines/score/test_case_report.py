"""An examiner's report: what a case names, what an output says of it, and how it looks on paper."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Page

from deepfake.config import ScoreJobConfig, VerdictsJobConfig
from deepfake.errors import UsageError
from deepfake.io.storage import Storage
from deepfake.pipelines.score import case_report, pipeline, verdicts
from deepfake.report import html
from tests.pipelines.score.score_tables import HOSTILE
from tests.small_bundle import save_untrained

Opener = Callable[..., Page]
OTHER_HASH = "ab" * 32
BREAKS_OUT = '"; } body { display: none } @page { content: "\\'


def write_case(folder: Path, **fields: Any) -> str:
    path = folder / "case.yaml"
    path.write_text(yaml.safe_dump(fields))
    return str(path)


@pytest.fixture(scope="module")
def archive(ffpp_small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips, a copy of the first, and a file that is none."""
    folder = tmp_path_factory.mktemp("archive")
    clips = sorted(ffpp_small.glob("original_sequences/youtube/c23/videos/*.mp4"))[:2]
    for clip, name in zip([*clips, clips[0]], ("a.mp4", "b.mp4", "copy.mp4"), strict=True):
        shutil.copy(clip, folder / name)
    (folder / "text.mp4").write_text("not a video")
    return folder


@pytest.fixture(scope="module")
def scored(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scored as a case of four items; one of them is not there, another one's hash is not as stated."""
    folder = tmp_path_factory.mktemp("scored")
    save_untrained(str(folder / "bundle"), unproven="")
    known = hashlib.sha256((archive / "copy.mp4").read_bytes()).hexdigest()
    items = [
        {"video": "copy.mp4", "item": "A1", "sha256": known.upper()},
        {"video": "b.mp4", "sha256": OTHER_HASH},
        {"video": "text.mp4"},
        {"video": "elsewhere.mp4"},
    ]
    case = write_case(folder, reference="2026/041", first_proposition="It was altered.", items=items)
    values = {
        "input": str(archive), "output": str(folder / "scores"), "bundle": str(folder / "bundle"),
        "max_failed": 1.0, "sampling": {"every_n": 10}, "detector": {"name": "haar"},
        "report": {"heat_maps": False, "frames": 2, "case": case},
    }  # fmt: skip
    outcome = pipeline.run(ScoreJobConfig.model_validate(values))
    assert outcome.look_at[0] == str(folder / "scores" / case_report.PAGE)
    return folder / "scores"


def test_what_a_case_says_is_kept_as_it_is_written_and_what_it_leaves_out_is_blank(tmp_path: Path) -> None:
    path = tmp_path / "case.yaml"
    path.write_text("reference: 041\nreceived: 2026-11-02\nexaminer:\nitems:\n")
    case = case_report.read_case(str(path), Storage())
    assert (case.reference, case.received, case.examiner, case.items) == ("041", "2026-11-02", "", ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("referense: 1", r"case\.yaml: unknown key referense; docs/scoring\.md lists those"),
        ("items: [{video: a.mp4, sha256: abc}]", r"items\.0\.sha256: expected the 64 hexadecimal digits"),
        ("items: [{item: A1}]", r"items\.0\.video: Field required"),
        ("reference: [1, 2]", r"reference: Input should be a valid string"),
        ("a: &x 1\nb: *x", "an alias"),
    ],
)
def test_what_is_no_case_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "case.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=words):
        case_report.read_case(str(path), Storage())


@pytest.mark.browser
def test_each_item_has_its_result_or_why_it_has_none(scored: Path, open_page: Opener) -> None:
    page = open_page(scored / case_report.PAGE)
    assert page.locator("h1").inner_text() == "Examiner's report 2026/041"
    copy, other, broken, absent = (one.inner_text() for one in page.locator(".item").all())
    assert "Item A1: copy.mp4" in copy and "(the same)" in copy
    assert "The same bytes were scored as a.mp4, whose result this is." in copy
    assert "This is not the file whose hash was stated." in other and OTHER_HASH in other
    rows = {
        row["video_id"]: row
        for row in map(json.loads, (scored / "video_scores.jsonl").read_text().splitlines())
    }
    for words, name in ((copy, "a.mp4"), (other, "b.mp4")):
        assert f"{rows[name]['score']:.3f}, likely" in words
    assert "None: could not be opened as a video" in broken and "None: not in the input." in absent
    details = page.locator(".details")
    assert details.count() == 2
    assert details.nth(1).locator("img").count() == 4  # two frames and their faces
    for image in page.locator("img").all():
        assert image.evaluate("image => image.complete && image.naturalWidth") > 0
    left_out = page.locator("section[aria-labelledby=not-analysed] li").all_inner_texts()
    assert any("1 of the 4 videos of the input: could not be opened" in words for words in left_out)
    assert any("1 of the videos of the input is no item" in words for words in left_out)  # a.mp4
    record = json.loads((scored / "_config.json").read_text())
    method = page.locator("section[aria-labelledby=done]").inner_text()
    for key in ("bundle_sha256", "model_sha256", "config_sha256"):
        assert record[key] in method
    assert rows["a.mp4"]["made_with"] in method
    command = page.locator("pre").inner_text()
    assert re.fullmatch(rf"deepfake score --verify {scored} --bundle \S+ --sample 3", command)
    blanks = page.locator("dt", has_text="Examiner").locator("+ dd")
    assert blanks.get_attribute("class") == "blank" and blanks.inner_text() == ""
    assert "is for the examiner to judge" in page.locator("section[aria-labelledby=case]").inner_text()


@pytest.mark.browser
def test_it_prints_on_a4_and_nothing_is_wider_than_the_sheet(scored: Path, open_page: Opener) -> None:
    page = open_page(scored / case_report.PAGE, viewport={"width": 672, "height": 1000})  # 178 mm
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 672
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    boxes = [one.bounding_box() for one in page.locator(".pictures").first.locator("img").all()]
    tops = [box["y"] for box in boxes if box]
    assert len(tops) == 2 and tops[0] == tops[1]  # beside each other
    sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", page.pdf(prefer_css_page_size=True))
    assert len(sizes) >= 4  # the report, its conclusion, and two items
    assert {(round(float(w)), round(float(h))) for w, h in sizes} == {(595, 842)}


@pytest.mark.browser
def test_hostile_words_of_a_case_are_text(scored: Path, tmp_path: Path, open_page: Opener) -> None:
    items = [{"video": name, "item": name, "received": name, "note": name} for name in HOSTILE]
    fields = ("examiner", "requested_by", "received", "question", "first_proposition")
    case = write_case(tmp_path, reference=BREAKS_OUT, items=items, **dict.fromkeys(fields, HOSTILE[1]))
    output = tmp_path / "remade"
    values = {"input": str(scored), "output": str(output), "report": {"pages": 0, "case": case}}
    verdicts.run(VerdictsJobConfig.model_validate(values))
    page = open_page(output / case_report.PAGE)
    page.emulate_media(media="print")
    assert page.locator("h1").inner_text() == f"Examiner's report {BREAKS_OUT}"
    assert page.locator("body").is_visible()
    found = [one.evaluate("e => e.textContent") for one in page.locator(".item h3 bdi").all()]
    assert found == [html.make_visible(name) for name in HOSTILE]
    assert page.locator("script").count() == 0 and page.locator("img").count() == 0


def test_without_items_every_video_is_one_and_without_a_case_a_report_of_before_is_gone(
    scored: Path, tmp_path: Path
) -> None:
    output = tmp_path / "remade"

    def remake(**report: Any) -> None:
        values = {"input": str(scored), "output": str(output), "report": report}
        verdicts.run(VerdictsJobConfig.model_validate(values))

    remake(case=write_case(tmp_path))
    text = (output / case_report.PAGE).read_text()
    found = re.findall(r"<h3>Item (\d): <bdi>(.*?)</bdi>", text)
    assert found == [("1", "a.mp4"), ("2", "b.mp4"), ("3", "copy.mp4"), ("4", "text.mp4")]
    assert "no item of this report" not in text
    assert len(list((output / "video_pages").glob("*.html"))) == 2
    remake()
    assert not (output / case_report.PAGE).exists()


def test_a_case_that_cannot_be_read_is_told_before_any_video_is(archive: Path, tmp_path: Path) -> None:
    save_untrained(str(tmp_path / "bundle"), unproven="")
    values = {
        "input": str(archive), "output": str(tmp_path / "scores"), "bundle": str(tmp_path / "bundle"),
        "report": {"case": str(tmp_path / "absent.yaml")},
    }  # fmt: skip
    with pytest.raises(UsageError, match=r"absent\.yaml: no such"):
        pipeline.run(ScoreJobConfig.model_validate(values))
    assert not (tmp_path / "scores").exists()
