"""Starting Ray: what a user is told when it cannot be had."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from deepfake.config import RayConfig
from deepfake.errors import UsageError
from deepfake.execution import session
from tests import running
from tests.disks import mount_disk


def test_a_cluster_that_does_not_answer_is_named_with_what_to_do(tmp_path: Path) -> None:
    """In a process of its own: the test session has a Ray already."""
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in" / "a.png")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = running.command(
        "preprocess", "--input", tmp_path / "in", "--output", tmp_path / "out", "--ray.address", address
    )
    done = subprocess.run(
        command, env=os.environ.copy(), timeout=running.HANGS_SECONDS, text=True, capture_output=True
    )
    assert done.returncode == 1
    assert f"no Ray cluster answers at '{address}'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_temporary_folder_with_too_long_a_path_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in" / "a.png")
    long = tmp_path / ("x" * 90)
    long.mkdir()
    command = running.command(
        "preprocess", "--input", tmp_path / "in", "--output", tmp_path / "out", "--ray.start", "always"
    )
    done = subprocess.run(
        command, env=running.environment({"TMPDIR": str(long)}), text=True, capture_output=True
    )
    assert done.returncode == 2
    assert f"{long}: too long a path" in done.stderr and "TMPDIR or RAY_TMPDIR" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_full_disk_that_ray_cannot_start_on_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in" / "a.png")
    command = running.command(
        "preprocess", "--input", tmp_path / "in", "--output", tmp_path / "out", "--ray.start", "always"
    )
    with tempfile.TemporaryDirectory() as short, mount_disk(Path(short, "full"), 1) as full:
        with suppress(OSError), (full / "filled").open("wb", 0) as file:
            while file.write(bytes(4096)):
                pass
        more = {"RAY_TMPDIR": str(full)}
        done = subprocess.run(command, env=running.environment(more), text=True, capture_output=True)
    assert done.returncode == 1
    assert f"{full}: no space is left there, which Ray needs to start" in done.stderr
    assert "Traceback" not in done.stderr


def test_ray_client_is_refused_in_words_that_name_what_to_use(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "ray job submit"
    with pytest.raises(UsageError, match=words):
        session.joins_a_cluster(RayConfig(address="ray://127.0.0.1:10001"))
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    with pytest.raises(UsageError, match=words):
        session.joins_a_cluster(RayConfig())
    assert words in str(RayConfig.model_fields["address"].description)


def divide(number: int, test: int) -> tuple[int, bool]:
    """Ends its process where the number is zero, if that is not the test's; whether it is another."""
    if number == 0 and os.getpid() != test:
        os._exit(1)
    return 12 // number, os.getpid() != test


def test_a_call_that_ends_its_worker_costs_no_other(ray_session: None) -> None:
    calls = [(number, os.getpid()) for number in (1, 0, 3)]
    found = list(session.spread_in_order(divide, calls, cpus=0.5))
    assert found[0] == (12, True) and found[2] == (4, True)
    assert isinstance(found[1], Exception)


def test_without_workers_calls_are_answered_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "workers_exist", lambda: False)
    assert list(session.spread_in_order(divide, [(3, os.getpid())], cpus=0.5)) == [(4, False)]
