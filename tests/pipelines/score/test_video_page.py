"""The page of one suspicious video, as written and in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from deepfake.config import ReportConfig
from deepfake.model.thresholds import OperatingPoint
from deepfake.model.validation_data import ValidationData
from deepfake.model.verdicts import VerdictRule
from deepfake.pipelines.score import video_page
from deepfake.pipelines.score.video_page import Case, Picture, find_gaps, list_unseen
from deepfake.report import html
from tests.pipelines.score.score_tables import HOSTILE, video_row

Opener = Callable[..., Page]


def face(second: float, score: float, track: int = 7) -> dict[str, Any]:
    return {
        "frame_index": int(30 * second),
        "time_s": second,
        "track_id": track,
        "score": score,
        "box": {"x": 100.0, "y": 50.0, "w": 60.0, "h": 80.0},
    }


def case(name: str = "a.mp4", pictures: tuple[Picture, ...] = (), **video: Any) -> Case:
    faces = [face(second, 0.9 if 3 <= second <= 6 else 0.1) for second in range(10)]
    faces += [face(second, 0.2, track=9) for second in range(4)]
    row = {
        **dict.fromkeys(("status_detail", "content_sha256", "size_bytes", "notes", "detector", "made_with")),
        **video_row(name, 0.8),
        "operating_point": "balanced",
        "uncertain_from": 0.45,
        "uncertain_to": 0.55,
        "duration_s": 10.0,
        "longest_track_s": 9.0,
        "face_size_px": 180.0,
        "sharpness": 300.0,
        "segments_s": 4.0,
        "log10_lr": 1.15,
        "log10_lr_low": -1.4,
        "log10_lr_high": 1.6,
        "no_ratio": None,
        **video,
    }
    tracks = [
        {"track_id": 7, "score": 0.42, "faces": 10},
        {"track_id": 9, "score": 0.2, "faces": 4},
    ]
    segment = {
        "track_id": 7,
        "start_s": 2.5,
        "end_s": 6.5,
        "faces": 4,
        "mean_score": 0.9,
        "highest_score": 0.9,
    }
    return Case(row, tracks, faces, [segment], pictures)


GUESSING = VerdictRule("balanced", 0.5, 0.0, 1.1, unproven="it guesses", no_ratio="it guesses")


def write(folder: Path, made: Case, keep: str = "largest") -> Path:
    path = folder / f"{video_page.name_file(made.video['video_id'])}.html"
    path.write_text(video_page.render_video_page(made, 0.0, keep, "every 30th frame", "../report.html"))
    return path


def picture(folder: Path, score: float = 0.9, height: int = 360, width: int = 640) -> Picture:
    for name, shape in (("frame.jpg", (height, width, 3)), ("face.jpg", (224, 224, 3))):
        cv2.imwrite(str(folder / name), np.full(shape, 120, np.uint8))
    return Picture(face(3.0, score), width, height, "frame.jpg", "face.jpg", "face.jpg")


def test_what_was_not_looked_at_is_said() -> None:
    words = " ".join(
        list_unseen(case(frames_sampled=12, frames_with_face=10, duration_s=60.0), "largest", "x")
    )
    assert "In 2 of them no face was found" in words
    assert "between 0:09.0 and 1:00.0" in words
    assert "most prominent person" in words
    assert "most prominent person" not in " ".join(list_unseen(case(), "all", "x"))
    assert "small (40 pixels)" in " ".join(list_unseen(case(face_size_px=40.0), "all", "x"))


def test_gaps_are_stretches_much_longer_than_the_usual_step() -> None:
    assert find_gaps([0, 1, 2, 9, 10], 11) == [(2.0, 9.0)]
    assert find_gaps([5, 6, 7], 8) == [(0.0, 5.0)]
    assert find_gaps([], 8) == []
    assert find_gaps([0.0], None) == []


def test_without_proof_the_page_says_why_and_calls_nothing_fake(tmp_path: Path) -> None:
    made = case(verdict="uncertain", segments_s=None)
    page = video_page.render_video_page(replace(made, segments=[]), 0.0, "all", "x", "y", GUESSING)
    assert "for nothing shows that the model does more than guess: it guesses." in page
    assert "None are named without a verdict." in page
    assert not any(words in page for words in ("the line is drawn", "Looks fake for", "threshold looks fake"))


@pytest.mark.parametrize(
    ("given", "words", "not_there"),
    [
        (
            {"log10_lr": 1.15},
            ["<b>14</b>", "1/25 to 40", "moderate support for the first proposition"],
            "note",
        ),
        ({"log10_lr": 1.6}, ["at that bound"], "note"),
        (
            {"log10_lr": -0.8, "verdict": "likely_real"},
            ["<b>1/6.3</b>", "weak support for the second proposition", "6.3 times as probable for a real"],
            "note",
        ),
        ({"log10_lr": 0.1, "verdict": "uncertain"}, ["supports neither proposition"], "note"),
        ({"log10_lr": 1.15, "verdict": "uncertain"}, ["The verdict is uncertain all the same"], "moderately"),
        ({"log10_lr": -0.8}, ["says likely fake, the ratio supports real", "for undecided"], "all the same"),
        ({"log10_lr": 0.1}, ["says likely fake, the ratio supports neither"], "all the same"),
        ({"log10_lr": None, "no_ratio": "few <b>"}, ["no likelihood ratio: few &lt;b&gt;."], "ENFSI"),
    ],
)
def test_the_ratio_is_worded_for_both_propositions_and_beside_the_verdict(
    given: dict[str, Any], words: list[str], not_there: str
) -> None:
    page = video_page.render_video_page(
        case(**given), 0.0, "all", "x", "y", config=ReportConfig(prevalence=[0.01])
    )
    section = page[page.index('id="finding"') : page.index('id="rests"')]
    assert all(one in section for one in words) and not_there not in section
    if given["log10_lr"] == 1.15:  # 0.01 / 0.99 * 14.1
        assert "Where 1.0 % of all videos are fakes, 12.5 % of those with such a score are" in section


MEASURED = OperatingPoint(
    name="balanced", threshold=0.5, target_fpr=None, real_videos=120, fake_videos=100,
    fpr=4 / 120, tpr=0.95, fpr_interval=(0.009, 0.083), tpr_interval=(0.887, 0.984),
    effective_reals=(2.0, 60.0), effective_fakes=(95.0, 100.0), note="few <i>",
)  # fmt: skip
VALIDATED = ValidationData(
    real_videos=120, fake_videos=100, counts={"codec": {"h264": 220}}, ranges={"face_size_px": (90, 300)}
)


def test_error_rates_are_counts_with_intervals_and_what_is_outside_of_them_is_said() -> None:
    def write_rates(point: VerdictRule | None, **video: Any) -> str:
        page = video_page.render_video_page(case(codec="h264", **video), 0.0, "all", "x", "y", point)
        return page[page.index('id="rates"') : page.index('id="rests"')]

    rule = VerdictRule("balanced", 0.5, 0.5, 0.5, measured=MEASURED, validated_on=VALIDATED)
    within, outside = write_rates(rule), write_rates(rule, face_size_px=40.0)
    for words in (
        "Of 120 real videos 4 reached the threshold: 3.3 % (95 % interval 0.9 % to 8.3 %, as of 60 ",
        "Of 100 fake videos 5 did not reach it: 5.0 % (95 % interval 1.6 % to 11.3 %).",
        "few &lt;i&gt;",
        "Validation: 120 real and 100 fake videos.",
    ):
        assert words in within and words in outside
    assert "lies within what they had" in within and "outside" not in within
    assert "outside of what was measured" in outside and "its faces are 40 pixels" in outside
    assert "does not say what its validation videos were like" in write_rates(GUESSING)
    assert "No error rates are known for this threshold" in write_rates(VerdictRule("x", 0.5, 0.5, 0.5))


def test_the_same_case_gives_the_same_page(tmp_path: Path) -> None:
    assert write(tmp_path, case()).read_bytes() == write(tmp_path, case()).read_bytes()


@pytest.mark.browser
def test_a_reader_sees_verdict_timeline_segments_and_frames(tmp_path: Path, open_page: Opener) -> None:
    page = open_page(write(tmp_path, case(pictures=(picture(tmp_path),))))
    assert page.locator(".answer b").inner_text() == "likely fake"
    assert page.locator("svg.timeline").count() == 2
    assert page.locator("svg.timeline").first.locator("circle").count() == 10
    assert page.locator("svg.timeline").first.locator(".segment").count() == 1
    assert page.locator(".stretches tbody th").all_inner_texts() == ["0:02.5 to 0:06.5"]
    assert page.locator(".stretches td").all_inner_texts() == ["7", "4", "0.900", "0.900"]
    expect(page.locator(".shot img").first).to_have_js_property("naturalWidth", 640)
    box, image = page.locator(".boxed rect").bounding_box(), page.locator(".boxed img").bounding_box()
    assert box is not None and image is not None
    scale = image["width"] / 640
    assert abs(box["x"] - image["x"] - 100 * scale) < 3 and abs(box["y"] - image["y"] - 50 * scale) < 3
    assert page.get_by_role("link", name="All videos").get_attribute("href") == "../report.html"


@pytest.mark.browser
@pytest.mark.parametrize("screen", [390, 1280])
@pytest.mark.parametrize(("height", "width"), [(640, 360), (360, 640)])
def test_a_frame_is_seen_at_once_with_its_box_in_place_whatever_its_shape_and_the_screen(
    tmp_path: Path, open_page: Opener, screen: int, height: int, width: int
) -> None:
    page = open_page(write(tmp_path, case(pictures=(picture(tmp_path, height=height, width=width),))))
    page.set_viewport_size({"width": screen, "height": 800})
    for shown_image in page.locator("img").all():
        shown_image.scroll_into_view_if_needed()  # below the screen they wait, and move others when they come
    page.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth)")
    expect(page.locator(".boxed img")).to_have_js_property("naturalWidth", width)
    box, image = page.locator(".boxed rect").bounding_box(), page.locator(".boxed img").bounding_box()
    assert box is not None and image is not None
    assert image["height"] < 500 and image["x"] + image["width"] <= screen
    assert abs(image["width"] / image["height"] - width / height) < 0.02
    scale = image["width"] / width
    assert abs(box["x"] - image["x"] - 100 * scale) < 3 and abs(box["y"] - image["y"] - 50 * scale) < 3
    faces = [face.bounding_box() for face in page.locator(".face img").all()]
    assert len(faces) == 2 and faces[0] is not None and faces[1] is not None
    assert faces[0]["y"] == faces[1]["y"]  # beside each other
    shown = [cell.bounding_box() for cell in page.locator(".stretches td").all()]
    assert all(cell is not None and cell["x"] + cell["width"] <= screen for cell in shown)


@pytest.mark.browser
@pytest.mark.parametrize("length", [3.0, 10.0, 36_000.0])
def test_no_word_of_a_timeline_is_cut_off(tmp_path: Path, open_page: Opener, length: float) -> None:
    page = open_page(write(tmp_path, case(duration_s=length)))
    drawing = page.locator("svg.timeline").first.bounding_box()
    assert drawing is not None
    words = [word.bounding_box() for word in page.locator("svg.timeline").first.locator("text").all()]
    assert len(words) > 3
    for box in words:
        assert box is not None and box["x"] >= drawing["x"]
        assert box["x"] + box["width"] <= drawing["x"] + drawing["width"]


@pytest.mark.browser
def test_a_score_and_a_line_that_differ_look_different(tmp_path: Path, open_page: Opener) -> None:
    made = case(score=0.49881, threshold=0.49879, uncertain_from=0.49879, uncertain_to=0.49879)
    answer = open_page(write(tmp_path, made)).locator(".answer").inner_text()
    assert "Score 0.49881; the line is drawn at 0.49879." in answer


@pytest.mark.browser
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text(tmp_path: Path, open_page: Opener, name: str) -> None:
    page = open_page(write(tmp_path, case(name, uri=name, status_detail=name, operating_point=name)))
    assert page.locator("h1").evaluate("e => e.textContent") == html.make_visible(name)
    assert page.locator("script").count() == 0
    assert page.locator("main img").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_never_wider_than_the_screen(tmp_path: Path, open_page: Opener, width: int) -> None:
    made = case("x" * 200 + ".mp4", (picture(tmp_path),), uri="y" * 300, made_with="z" * 300)
    page = open_page(write(tmp_path, made), viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
