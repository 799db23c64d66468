"""Disks of a test's own: small ones, and such as may only be read."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mount_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk in memory of so many MiB; the test is skipped where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this user may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def forbid_writing(folder: Path) -> None:
    """From now on the disk may only be read."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
