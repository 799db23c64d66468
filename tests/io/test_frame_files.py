"""Which pictures of a folder are a video's frames, in which order, and their content as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake.io.frame_files import hash_frames, list_frames, read_numbers
from deepfake.io.storage import Storage

STORAGE = Storage()


def names(uri: str) -> list[str]:
    return [info.path for info in list_frames(uri, STORAGE)]


def test_frames_are_in_the_order_of_their_numbers_whatever_their_digits(tmp_path: Path) -> None:
    for name in ("frame_10.png", "frame_9.png", "frame_100.JPG", "cover.webp"):
        STORAGE.write_bytes(str(tmp_path / name), b"x")
    assert names(str(tmp_path)) == ["cover.webp", "frame_9.png", "frame_10.png", "frame_100.JPG"]
    assert read_numbers("s01e2_003.png") == [1, 2, 3]


@pytest.mark.parametrize("name", [".hidden.png", "notes.txt", "png", "deeper/1.png"])
def test_what_is_no_picture_directly_in_the_folder_is_no_frame(tmp_path: Path, name: str) -> None:
    for path in ("1.png", name):
        STORAGE.write_bytes(str(tmp_path / path), b"x")
    assert names(str(tmp_path)) == ["1.png"]


def test_a_link_is_no_frame(tmp_path: Path) -> None:
    STORAGE.write_bytes(str(tmp_path / "1.png"), b"x")
    (tmp_path / "2.png").symlink_to("1.png")
    assert names(str(tmp_path)) == ["1.png"]


def test_the_same_frames_in_the_same_order_are_the_same_content_whatever_they_are_called(
    tmp_path: Path,
) -> None:
    def hash_of(folder: str, frames: dict[str, bytes]) -> str:
        for name, content in frames.items():
            STORAGE.write_bytes(str(tmp_path / folder / name), content)
        return hash_frames(list_frames(str(tmp_path / folder), STORAGE), STORAGE)

    first = hash_of("a", {"1.png": b"one", "2.png": b"two"})
    assert hash_of("b", {"0001.jpg": b"one", "0002.jpg": b"two"}) == first
    assert hash_of("c", {"1.png": b"two", "2.png": b"one"}) != first
    assert hash_of("d", {"1.png": b"onetwo"}) != first
