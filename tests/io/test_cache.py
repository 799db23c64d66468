"""Where downloads are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake.io.cache import find_cache_folder


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
