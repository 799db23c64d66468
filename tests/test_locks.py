"""The lock files: one version of a package for every Python, and the same Pythons wherever they are named."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
# requirements-gpu.lock is made for one Python, that of the image.
UNIVERSAL = ("requirements.lock", "requirements-dev.lock", "requirements-tools.lock")


def pinned(name: str) -> list[Requirement]:
    """What a lock file pins, with its markers."""
    lines = re.findall(r"^([a-z0-9].*?) *\\?$", (ROOT / name).read_text(), re.M)
    return [Requirement(line) for line in lines]


def pythons() -> list[str]:
    """Those that the README names, the oldest first."""
    (found,) = re.findall(r"^Python 3\.(\d+) to 3\.(\d+)", (ROOT / "README.md").read_text(), re.M)
    first, last = map(int, found)
    return [f"3.{minor}" for minor in range(first, last + 1)]


def on_linux(python: str) -> dict[str, str]:
    return {
        "python_version": python, "python_full_version": f"{python}.0", "implementation_name": "cpython",
        "sys_platform": "linux", "platform_machine": "x86_64", "platform_python_implementation": "CPython",
    }  # fmt: skip


@pytest.mark.parametrize("name", [*UNIVERSAL, "requirements-gpu.lock"])
def test_a_lock_has_one_version_of_each_package(name: str) -> None:
    counted = Counter(requirement.name for requirement in pinned(name))
    assert counted and [package for package, count in counted.items() if count > 1] == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_installs_the_same_on_every_python_of_the_readme_and_on_no_newer_one(
    name: str,
) -> None:
    def installed(python: str) -> set[str]:
        return {
            requirement.name
            for requirement in pinned(name)
            if requirement.marker is None or requirement.marker.evaluate(on_linux(python))
        }

    first, *others = pythons()
    assert {"av", "ray", "tensorflow-cpu"} <= installed(first)
    for python in others:
        assert installed(python) == installed(first)
    assert installed(f"3.{int(others[-1].removeprefix('3.')) + 1}") == set()


def test_the_makefile_takes_the_pythons_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text()
    first, *_, last = pythons()
    (lowest, highest) = re.findall(r"\((3), (\d+)\)", makefile)
    assert (".".join(lowest), ".".join(highest)) == (first, last)
    assert f'requires-python = ">={first}"' in (ROOT / "pyproject.toml").read_text()


def test_the_images_python_is_the_one_that_its_locks_were_made_for() -> None:
    (image,) = re.findall(
        r"^ARG BASE=python:(3\.\d+)-", (ROOT / "cluster" / "Containerfile").read_text(), re.M
    )
    lock = (ROOT / "Makefile").read_text().partition("\nlock:")[2].partition("\n\n")[0]
    (gpu,) = re.findall(r"--python-version (3\.\d+).*\n.*-o requirements-gpu\.lock", lock)
    assert image == gpu and image in pythons()
