"""Whole jobs whose S3 server turns them away; single requests are in ``tests/io/test_s3_faults.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfake.io.storage import Storage
from deepfake.io.uri import join
from tests.conftest import S3Server
from tests.pipelines.test_s3_jobs import preprocess, rows
from tests.s3_proxy import Fault, S3Proxy


@pytest.fixture
def proxy(s3_server: S3Server, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    """The server behind a proxy without faults yet; this process goes past it."""
    with S3Proxy(s3_server.endpoint) as started:
        yield started


@pytest.mark.slow
def test_a_job_whose_server_goes_away_stops_in_words_and_goes_on_later(
    ffpp_small: Path, s3_root: str, s3_server: S3Server, proxy: S3Proxy
) -> None:
    """A video that could not be fetched is not a bad video."""
    Storage().upload_folder(ffpp_small, join(s3_root, "archive"))
    proxy.faults = [Fault("slow down", "GET", ".mp4")]
    environment = s3_server.environment | {"AWS_ENDPOINT_URL": proxy.endpoint}
    source, output = join(s3_root, "archive"), join(s3_root, "crops")
    failed = preprocess(
        source, output, environment, "--storage.max_attempts", "1", "--catalog.dedupe", "false"
    )
    assert failed.returncode == 1
    assert "too many requests" in failed.stderr and "Traceback" not in failed.stderr.splitlines()[-1]
    proxy.faults = []
    again = preprocess(
        source, output, environment, "--storage.max_attempts", "1", "--catalog.dedupe", "false"
    )
    assert again.returncode == 0, again.stderr
    assert {row["status"] for row in rows(output, "videos")} == {"ok"}


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_job_with_wrong_keys_answers_2_and_does_not_show_them(
    s3_root: str, s3_server: S3Server, tmp_path: Path, name: str
) -> None:
    environment = s3_server.environment | {name: "wrong-and-secret"}
    done = preprocess(join(s3_root, "archive"), str(tmp_path / "out"), environment)
    assert done.returncode == 2
    assert "refuses these credentials" in done.stderr
    assert "wrong-and-secret" not in done.stderr + done.stdout
