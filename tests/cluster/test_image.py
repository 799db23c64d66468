"""The container file: clean by a linter, not root, pinned, and fed with nothing but what it is made of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.running import ROOT

FILE = ROOT / "cluster" / "Containerfile"


def stages() -> dict[str, list[str]]:
    """Instructions of each stage, by its name; continuation lines joined."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.M).replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    name = ""
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("FROM "):
            name = line.split(" AS ")[1]
        found.setdefault(name, []).append(line)
    return found


def test_the_linter_finds_nothing() -> None:
    done = subprocess.run(
        [Path(sysconfig.get_path("scripts"), "hadolint"), FILE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("stage", ["cpu", "gpu"])
def test_the_final_stages_end_as_a_plain_user_and_install_nothing(stage: str) -> None:
    lines = stages()[stage]
    assert lines[-1] == "USER 1000:1000"
    assert not [line for line in lines + stages()["runtime"] if "pip" in line or "apt" in line]


def test_every_package_comes_from_a_lock_file_with_hashes() -> None:
    installs = [line for lines in stages().values() for line in lines if "pip install" in line]
    assert len(installs) == 3
    for line in installs:
        assert "--require-hashes" in line
        (lock,) = re.findall(r"-r (\S+)", line)
        text = (ROOT / lock).read_text()
        pinned = re.findall(r"^([a-z0-9][\w.\-]*(?:\[[^]]+\])?)(==|\s@)", text, re.M)
        assert pinned and all(how == "==" for _, how in pinned)
        assert text.count("--hash=sha256:") >= len(pinned)


def test_every_file_that_is_copied_exists() -> None:
    copied = [
        line.split()[1:-1]
        for lines in stages().values()
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
    ]
    assert len(copied) > 5
    for names in copied:
        assert all((ROOT / name).exists() for name in names), names


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-gpu.lock"])
def test_every_package_of_a_lock_has_a_wheel_for_the_image_s_python_and_system(
    lock: str, tmp_path: Path
) -> None:
    """As the build installs them, into a folder, without fetching more than what says what they are."""
    (version,) = re.findall(r"^ARG BASE=python:(3\.\d+)-slim-trixie$", FILE.read_text(), re.M)
    uv = Path(sysconfig.get_path("scripts"), "uv")
    index = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    asked = {"UV_DEFAULT_INDEX": index} if index and "UV_DEFAULT_INDEX" not in os.environ else {}
    done = subprocess.run(
        [uv, "pip", "install", "--dry-run", "--no-build", "--require-hashes", "-r", ROOT / lock,
         "--python-version", version, "--python-platform", "x86_64-manylinux_2_28", "--target", tmp_path],
        env={**os.environ, **asked}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "error sending request" in done.stderr or "dns error" in done.stderr:
        pytest.skip("no package index answers here")
    assert done.returncode == 0, done.stderr
    assert " + ray==" in done.stderr


def test_the_image_s_step_for_yunet_fetches_by_checksum_and_can_be_switched_off(tmp_path: Path) -> None:
    step = [sys.executable, "-m", "deepfake.faces.detectors.yunet"]
    told = {**os.environ, "DEEPFAKE_CACHE": str(tmp_path)}
    off = subprocess.run(step, env=told | {"DEEPFAKE_YUNET_URLS": ""}, cwd=ROOT, check=False)
    assert off.returncode == 0 and not list(tmp_path.iterdir())
    (tmp_path / "another").write_bytes(b"another file")
    wrong = subprocess.run(
        step, env=told | {"DEEPFAKE_YUNET_URLS": (tmp_path / "another").as_uri()}, cwd=ROOT, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert wrong.returncode != 0 and "it sent another file" in wrong.stderr


def test_both_locks_pin_the_same_versions_of_what_both_have() -> None:
    def versions(name: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.\-]+)==(\S+)", (ROOT / name).read_text(), re.M))

    cpu, gpu = versions("requirements.lock"), versions("requirements-gpu.lock")
    assert {"ray", "keras", "av", "s3fs", "boto3"} <= set(cpu) & set(gpu)
    assert {name: gpu[name] for name in set(cpu) & set(gpu)} == {
        name: cpu[name] for name in set(cpu) & set(gpu)
    }
    assert cpu["tensorflow-cpu"] == gpu["tensorflow"]


def test_only_what_the_image_is_made_of_reaches_the_builder() -> None:
    lines = [line for line in (FILE.parent / "Containerfile.dockerignore").read_text().splitlines() if line]
    rules = [line for line in lines if not line.startswith("#")]
    assert rules[0] == "**"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for lines in stages().values()
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    patterns = {"requirements*.lock"} | {name for name in copied if not name.endswith(".lock")}
    assert let_in == patterns
