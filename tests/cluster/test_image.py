"""The container file: clean by a linter, not root, pinned, and fed with nothing but what it is made of."""

from __future__ import annotations

import re
import subprocess
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
