"""What networks and busy S3 servers do, done to real requests: the right bytes, an error in words, nothing.

The table of docs/faults.md has a line for each of these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from deepfake.config import StorageConfig
from deepfake.errors import JobError
from deepfake.io.storage import Storage
from deepfake.io.uri import join
from tests.conftest import S3Server
from tests.s3_proxy import Fault, S3Proxy

CONTENT = np.random.default_rng(0).bytes(3 * 2**20)
MANY_PARTS = bytes(101 * 2**20)  # S3 takes it in several requests


@pytest.fixture
def proxy(s3_server: S3Server, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    """The server behind a proxy without faults yet; this process goes through it."""
    with S3Proxy(s3_server.endpoint) as started:
        monkeypatch.setenv("AWS_ENDPOINT_URL", started.endpoint)
        yield started


@pytest.fixture
def once() -> Storage:
    """Storage that tries each request as few times as can be configured."""
    return Storage(StorageConfig(max_attempts=1))


@pytest.mark.parametrize("kind", ["slow down", "internal error", "cut", "reset", "slow"])
def test_a_read_that_fails_twice_comes_back_whole(proxy: S3Proxy, s3_root: str, kind) -> None:
    Storage().write_bytes(join(s3_root, "x"), CONTENT)
    proxy.faults = [Fault(kind, "GET", "/x", times=2)]
    assert Storage().read_bytes(join(s3_root, "x")) == CONTENT
    assert proxy.faults[0].done == (1 if kind == "slow" else 2)  # what is only slow is not asked for again


@pytest.mark.parametrize("kind", ["slow down", "internal error", "cut", "reset"])
def test_a_read_that_keeps_failing_is_an_error_in_words_and_never_half_a_file(
    proxy: S3Proxy, s3_root: str, once: Storage, kind
) -> None:
    once.write_bytes(join(s3_root, "x"), CONTENT)
    proxy.faults = [Fault(kind, "GET", "/x")]
    words = {"slow down": "too many requests", "internal error": "the S3 server failed"}.get(
        kind, "does not answer|was cut off"
    )
    with pytest.raises(JobError, match=rf"{s3_root}/x: .*({words})"):
        once.read_bytes(join(s3_root, "x"))
    assert proxy.faults[0].done > 2 or kind == "internal error"  # which only botocore tries again


@pytest.mark.parametrize("kind", ["slow down", "cut"])
def test_a_file_that_is_read_piece_by_piece_fails_in_words_too(
    proxy: S3Proxy, s3_root: str, once: Storage, kind
) -> None:
    once.write_bytes(join(s3_root, "x"), CONTENT)
    with once.open(join(s3_root, "x")) as file:
        proxy.faults = [Fault(kind, "GET", "/x")]
        with pytest.raises(JobError, match=rf"{s3_root}/x"):
            file.read()


@pytest.mark.parametrize("kind", ["slow down", "internal error", "reset"])
def test_a_write_that_fails_twice_is_there_whole(proxy: S3Proxy, s3_root: str, kind) -> None:
    proxy.faults = [Fault(kind, "PUT", "/x", times=2)]
    Storage().write_bytes(join(s3_root, "x"), CONTENT)
    assert proxy.faults[0].done == 2
    assert Storage().read_bytes(join(s3_root, "x")) == CONTENT


@pytest.mark.parametrize("kind", ["slow down", "reset"])
def test_a_write_that_keeps_failing_leaves_what_was_there(
    proxy: S3Proxy, s3_root: str, once: Storage, kind
) -> None:
    once.write_bytes(join(s3_root, "x"), b"old")
    proxy.faults = [Fault(kind, "PUT", "/x")]
    with pytest.raises(JobError, match=rf"{s3_root}/x"):
        once.write_bytes(join(s3_root, "x"), CONTENT)
    assert once.read_bytes(join(s3_root, "x")) == b"old"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("slow down", "POST", "uploads", times=1),
        Fault("slow down", "PUT", "partNumber=2", times=2),
        Fault("reset", "PUT", "partNumber=1", times=1),
        Fault("error in a success", "POST", "uploadId", times=1),
    ],
    ids=["at the start", "a part", "a part cut off", "at the end"],
)
def test_an_upload_in_parts_that_fails_and_is_tried_again_is_there_whole(
    proxy: S3Proxy, s3_root: str, fault: Fault
) -> None:
    proxy.faults = [fault]
    Storage().write_bytes(join(s3_root, "big"), MANY_PARTS)
    assert fault.done == fault.times
    assert Storage().get_info(join(s3_root, "big")).size == len(MANY_PARTS)
    with Storage().open(join(s3_root, "big")) as file:
        file.seek(-10, os.SEEK_END)
        assert file.read() == MANY_PARTS[-10:]


def test_an_upload_in_parts_that_keeps_failing_leaves_nothing_and_is_given_up(
    proxy: S3Proxy, s3_root: str, once: Storage
) -> None:
    proxy.faults = [Fault("slow down", "PUT", "partNumber=2")]
    with pytest.raises(JobError, match="too many requests"):
        once.write_bytes(join(s3_root, "big"), MANY_PARTS)
    assert not once.exists(join(s3_root, "big"))
    assert [path for method, path in proxy.requests if method == "DELETE" and "uploadId" in path]


@pytest.mark.parametrize("kind", ["slow down", "cut", "reset"])
def test_a_listing_of_many_pages_is_whole_though_pages_fail(proxy: S3Proxy, s3_root: str, kind) -> None:
    names = [f"{number:02}" for number in range(12)]
    for name in names:
        Storage().write_bytes(join(s3_root, name), b"")
    proxy.faults = [Fault(kind, "GET", "list-type=2", every=2)]
    assert [info.path for info in Storage().list_files(s3_root)] == names
