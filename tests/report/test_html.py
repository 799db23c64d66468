"""Text made safe to show, and numbers as people read them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.report import html

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(TEXT)
def test_json_inside_a_script_tag_cannot_end_the_tag_and_reads_back_unchanged(text: str) -> None:
    embedded = str(html.make_script_json({"name": text}))
    assert not set(embedded) & set("<>&\u2028\u2029")
    assert json.loads(embedded) == {"name": text}


def test_json_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        html.make_script_json(float("nan"))


@given(TEXT)
def test_nothing_in_a_shown_name_is_invisible(text: str) -> None:
    assert html.make_visible(text).isprintable()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a/b c.mp4", "a/b c.mp4"),
        ("two\nlines\t.mp4", r"two\nlines\t.mp4"),
        ("fdp\u202e4pm.exe", r"fdp\u202e4pm.exe"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("no\u00a0break", r"no\xa0break"),
        ("日本/مرحبا é.mp4", "日本/مرحبا é.mp4"),
    ],
)
def test_control_marks_are_spelled_out_and_letters_of_any_script_stay(name: str, shown: str) -> None:
    assert html.make_visible(name) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.975, "97.5 %"),
        (1.0, "100.0 %"),
        (0.99999, "99.9 %"),
        (0.0, "0.0 %"),
        (1e-6, "< 0.1 %"),
        (None, "\u2013"),
    ],
)
def test_a_share_is_never_rounded_to_all_or_nothing(share: float | None, shown: str) -> None:
    assert html.format_percent(share) == shown


@pytest.mark.parametrize(
    ("numbers", "places"),
    [
        ((0.9, 0.5), 3),
        ((0.49879, 0.49881), 5),
        ((0.5, 0.5), 3),
        ((0.5, 0.5, 0.5004), 4),
        ((0.5, 0.5 + 1e-12), 8),
    ],
)
def test_numbers_that_differ_look_different(numbers: tuple[float, ...], places: int) -> None:
    assert html.count_places(*numbers) == places


@pytest.mark.parametrize(
    ("tenths", "shown"),
    [(0, "0:00.0"), (35, "0:03.5"), (599, "0:59.9"), (36_005, "1:00:00.5"), (None, "\u2013")],
)
def test_a_time_reads_like_a_players_clock(tenths: int | None, shown: str) -> None:
    assert html.format_clock(tenths) == shown


@pytest.mark.parametrize("name", ["scores.js", "style.css"])
def test_our_own_scripts_and_styles_cannot_end_the_tag_they_stand_in(name: str) -> None:
    assert "</" not in html.read_asset(name)
