"""Which names are footage."""

from __future__ import annotations

import pytest

from deepfake.catalog.media import count_extensions, is_footage, is_image_name, remove_extension


@pytest.mark.parametrize("name", ["a.mp4", "b/c.MKV", "x.y.webm", "stream.h264", "face.JPG", "a b/ü.png"])
def test_videos_and_images_are_footage_in_either_case(name: str) -> None:
    assert is_footage(name)
    assert is_image_name(name) == name.endswith(("JPG", "png"))


@pytest.mark.parametrize(
    "name", ["mp4", "a.mp4.txt", "a.json", ".mp4", ".hidden/a.mp4", "a/._b.mp4", "a.mp4/x"]
)
def test_other_names_and_hidden_ones_are_not(name: str) -> None:
    assert not is_footage(name)


def test_only_the_last_extension_is_taken_off() -> None:
    assert [remove_extension(name) for name in ("a/b.c.mp4", "a.b/c", "a/.mp4")] == [
        "a/b.c",
        "a.b/c",
        "a/.mp4",
    ]


def test_extensions_are_counted_the_most_frequent_first() -> None:
    assert count_extensions(["a.txt", "b.json", "c.TXT", "d"]) == ".txt (2), .json (1), no extension (1)"
    assert count_extensions(["a.b", "a.c", "a.c", "a.d"], most=1) == ".c (2) and 2 more kinds"
