"""Where downloads are kept, and how they get there."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from deepfake.io import cache
from deepfake.io.cache import FetchError, fetch_file, find_cache_folder

CONTENT = b"the weights of a network"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"DEEPFAKE_CACHE": "/own", "XDG_CACHE_HOME": "/cache"}, "/own"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/deepfake"),
        ({}, "/home/somebody/.cache/deepfake"),
        ({"DEEPFAKE_CACHE": ""}, "/home/somebody/.cache/deepfake"),
    ],
)
def test_the_projects_variable_goes_before_the_users_and_that_before_the_home(
    environment: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DEEPFAKE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert find_cache_folder() == Path(folder)


class Host:
    """A web server here: ``/file`` is the file, ``/page`` is another one, ``/silent`` never answers."""

    def __init__(self) -> None:
        host = self
        self.asked: list[str] = []
        self.closing = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                host.asked.append(self.path)
                if self.path == "/silent":
                    host.closing.wait()
                    return
                found = {"/file": CONTENT, "/page": b"<html>Log in</html>"}.get(self.path)
                self.send_response(200 if found else 404)
                self.end_headers()
                self.wfile.write(found or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def serve() -> Iterator[Host]:
    host = Host()
    thread = threading.Thread(target=host.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield host
    finally:
        host.closing.set()
        host.server.shutdown()
        host.server.server_close()
        thread.join()


@pytest.fixture
def host() -> Iterator[Host]:
    with serve() as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DEEPFAKE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def fetch(*addresses: str, insist: bool = False) -> Path:
    return fetch_file("weights.onnx", SHA256, len(CONTENT), addresses, insist)


def test_the_first_host_that_has_these_very_bytes_gives_the_file(folder: Path, host: Host) -> None:
    found = fetch(f"{host.url}/silent", f"{host.url}/page", f"{host.url}/gone", f"{host.url}/file")
    assert found == folder / "weights.onnx"
    assert found.read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["weights.onnx"]


def test_every_hosts_answer_is_told_and_nothing_else_is_kept(folder: Path, host: Host) -> None:
    with pytest.raises(FetchError) as failed:
        fetch(f"{host.url}/page", f"{host.url}/gone")
    assert "it sent another file" in str(failed.value)
    assert "HTTP Error 404" in str(failed.value)
    assert [path.name for path in folder.iterdir()] == ["weights.onnx.failed"]


def test_a_host_that_never_answers_costs_one_short_try(
    folder: Path, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "FETCH_SECONDS", 0.2)
    with pytest.raises(FetchError, match=r"no answer within|timed out"):
        fetch(f"{host.url}/silent")


def test_a_failed_try_is_repeated_after_an_hour_or_where_it_must_be(folder: Path, host: Host) -> None:
    for _ in range(3):
        with pytest.raises(FetchError, match="HTTP Error 404"):
            fetch(f"{host.url}/gone")
    assert host.asked == ["/gone"]
    with pytest.raises(FetchError):
        fetch(f"{host.url}/gone", insist=True)
    os.utime(folder / "weights.onnx.failed", (0, 0))
    with pytest.raises(FetchError):
        fetch(f"{host.url}/gone")
    assert host.asked == ["/gone"] * 3
    fetch(f"{host.url}/file")  # another address is another try
    assert [path.name for path in folder.iterdir()] == ["weights.onnx"]


def test_a_cache_that_cannot_be_written_is_named(folder: Path, host: Host) -> None:
    folder.write_text("a file where the folder should be")
    with pytest.raises(FetchError, match=r"weights\.onnx cannot be written .*DEEPFAKE_CACHE"):
        fetch(f"{host.url}/file")


def test_without_addresses_nothing_is_tried_and_nothing_is_remembered(folder: Path) -> None:
    with pytest.raises(FetchError, match="switched off"):
        fetch()
    assert not folder.exists()
