"""What lies in a folder on local disk: links, loops, pipes, and what may not be read."""

from __future__ import annotations

import logging
import os

import pytest

from deepfake.io.storage import Storage


@pytest.fixture
def storage() -> Storage:
    return Storage()


def test_links_to_files_are_followed_links_to_folders_and_loops_end(tmp_path, storage):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/file").write_bytes(b"123")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to("a/file")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    listed = {info.path: info.size for info in storage.list_files(str(tmp_path))}
    assert listed == {"a/file": 3, "dangling": 0, "link": 3, "loop": 0}
    for broken in ("loop", "dangling"):
        with pytest.raises(OSError, match=r"symbolic links|No such file"):
            storage.read_bytes(str(tmp_path / broken))


def test_an_archive_lists_each_folder_once_and_cuts_loops(tmp_path, storage):
    root = tmp_path / "archive"
    for name in ("a/x.mp4", ".store/z.mp4", ".hidden"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "a/up").symlink_to(root)
    (root / "a/self").symlink_to("self")
    (root / "again").symlink_to("a")
    (root / "first").symlink_to(".store")
    (root / "second").symlink_to(root / ".store")
    (root / "a/y.mp4").symlink_to("x.mp4")
    found = storage.list_archive(str(root))
    assert [info.path for info in found.files] == ["a/self", "a/x.mp4", "a/y.mp4", "first/z.mp4"]
    assert [info.is_link for info in found.files] == [True, False, True, False]
    assert found.left_out == []
    through = tmp_path / "through"
    through.symlink_to(root)
    assert [info.path for info in storage.list_archive(str(through)).files] == [
        info.path for info in found.files
    ]


def test_links_out_of_an_archive_are_followed_only_if_asked(tmp_path, storage):
    root, private = tmp_path / "archive", tmp_path / "archive-private"
    for folder in (root / "a", private / "deep"):
        folder.mkdir(parents=True)
        (folder / "x.mp4").touch()
    (private / "back").symlink_to(root)
    (private / "loop").symlink_to(private)
    (root / "photos").symlink_to(private)
    (root / "one.mp4").symlink_to(private / "deep/x.mp4")
    found = storage.list_archive(str(root))
    assert [info.path for info in found.files] == ["a/x.mp4"]
    assert found.left_out == ["one.mp4", "photos"]
    found = storage.list_archive(str(root), follow_links=True)
    assert [info.path for info in found.files] == ["a/x.mp4", "one.mp4", "photos/deep/x.mp4"]
    assert found.left_out == []


def test_a_folder_of_hidden_files_is_not_empty(tmp_path, storage):
    assert storage.list_archive(str(tmp_path)).is_empty
    (tmp_path / ".hidden").touch()
    assert storage.list_archive(str(tmp_path)) == ([], [], False)


def test_pipes_are_not_listed_since_reading_one_may_wait_for_ever(tmp_path, storage):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "file.mp4").touch()
    assert [info.path for info in storage.list_files(str(tmp_path))] == ["file.mp4"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_named_in_the_log(tmp_path, storage, caplog):
    (tmp_path / "closed").mkdir(mode=0)
    with caplog.at_level(logging.WARNING):
        assert storage.list_files(str(tmp_path)) == []
    assert "closed: left out of the listing: Permission denied" in caplog.text
