"""A wheel, built and installed as the README says, has all that the command needs."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from deepfake.config.parse import list_recipes
from tests.running import ROOT, environment

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``dist`` with the wheel, and ``installed`` with what is in it; the packages it needs are those here."""
    root = tmp_path_factory.mktemp("wheel")
    build = ["wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(root / "dist"), str(ROOT)]
    subprocess.run([*PIP, *build], check=True, cwd=root)
    (shown,) = re.findall(r'`pip install "(.*?)"`', (ROOT / "README.md").read_text())
    said = subprocess.run(
        ["sh", "-c", f'echo "{shown}"'], check=True, cwd=root, capture_output=True, text=True
    )
    install = ["install", "-q", "--no-deps", "--target", str(root / "installed"), said.stdout.strip()]
    subprocess.run([*PIP, *install], check=True, cwd=root)
    return root


def test_the_installed_command_says_its_versions_and_knows_its_recipes(folder: Path) -> None:
    words = [sys.executable, str(folder / "installed/bin/deepfake")]
    more = environment({"PYTHONPATH": str(folder / "installed"), "PYTHONSAFEPATH": "1"})

    def ask(*arguments: str) -> str:
        done = subprocess.run(
            [*words, *arguments], env=more, cwd=folder, check=True, capture_output=True, text=True
        )
        return done.stdout

    versions = ask("--version")
    assert versions.startswith("deepfake ") and "\nray " in versions and "\nav " in versions
    assert all(name in ask("completion", "bash") for name in list_recipes())


def test_a_wheel_has_every_file_of_the_package_and_no_other(folder: Path) -> None:
    (wheel,) = (folder / "dist").glob("deepfake-*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = subprocess.run(
        ["git", "ls-files", "deepfake"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert inside == set(tracked.stdout.splitlines())
