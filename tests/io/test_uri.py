"""URIs and local paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake.io.uri import join, make_absolute, make_local_uri, make_readable, split_uri


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("/a/../b//c/", ("file", "/b/c")),
        ("file:///a%20b/%C3%BC", ("file", "/a b/ü")),
        ("file://localhost/a", ("file", "/a")),
        ("s3://bucket/a b//c/", ("s3", "bucket/a b//c")),
        ("s3://bucket", ("s3", "bucket")),
    ],
)
def test_a_uri_is_a_scheme_and_a_path(uri: str, parts: tuple[str, str]) -> None:
    assert split_uri(uri) == parts


def test_a_relative_path_is_one_of_the_working_directory_and_a_tilde_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert split_uri("a/b") == ("file", f"{tmp_path}/a/b")
    assert make_absolute("~/a") == "/home/somebody/a"
    assert make_absolute("s3://bucket/a/") == "s3://bucket/a"


def test_parts_are_joined_by_one_slash_each() -> None:
    assert join("/a/", "/b/", "c/d") == "/a/b/c/d"


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name and b"/" not in name and name.strip(b".")))
def test_a_name_of_any_bytes_survives_being_a_uri(name: bytes) -> None:
    path = os.fsdecode(b"/" + name)
    uri = make_local_uri(path)
    uri.encode("utf-8")
    make_readable(path).encode("utf-8")
    if uri != path:
        assert split_uri(uri) == ("file", path)


def test_bytes_that_are_no_unicode_are_shown_as_their_numbers() -> None:
    assert make_readable(os.fsdecode(b"/a\xff/\xc3\xbc")) == r"/a\xff/ü"
    assert make_local_uri(os.fsdecode(b"/a\xff")) == "file:///a%FF"
