"""What is yours to fill in stands in one file, and is all that there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cluster.filled import FILL_IN, FOLDER, SITE
from tests.running import ROOT

FILES = [
    path for path in sorted(FOLDER.rglob("*")) if path.suffix in FILL_IN["SUFFIXES"] and path.parent != FOLDER
]


def fill_in(site: Path, output: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "fill_in.py"), str(site), str(output)]
    return subprocess.run(command, text=True, capture_output=True, check=False)


def test_every_name_of_the_site_is_in_some_file_and_every_name_in_a_file_is_one_of_the_site() -> None:
    named = {name.lower() for path in FILES for name in FILL_IN["PLACEHOLDER"].findall(path.read_text())}
    assert named == set(SITE)


def test_the_command_writes_every_file_with_nothing_left_to_fill_in(tmp_path: Path) -> None:
    done = fill_in(FOLDER / "site.yaml", tmp_path / "ours")
    assert done.returncode == 0, done.stderr
    written = sorted(path for path in (tmp_path / "ours").rglob("*") if path.is_file())
    assert [path.relative_to(tmp_path / "ours") for path in written] == [
        path.relative_to(FOLDER) for path in FILES
    ]
    assert done.stdout.split() == [str(path) for path in written]
    for path in written:
        assert not re.search("EDIT_|SPEC_OF", path.read_text()), path


@pytest.mark.parametrize(
    ("change", "words"),
    [({"region": None}, "region is missing"), ({"zone": "x"}, "zone is unknown")],
    ids=["missing", "unknown"],
)
def test_a_site_that_does_not_fit_is_told_so(tmp_path: Path, change: dict[str, str], words: str) -> None:
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(SITE | change))
    done = fill_in(tmp_path / "site.yaml", tmp_path / "ours")
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "ours").exists()


def test_every_file_that_the_files_of_the_cluster_name_exists() -> None:
    folders = "cluster|aws|kuberay|slurm|deepfake|configs|jobs|docs|tests"
    named = re.compile(rf"(?<![\w/.:*-])((?:{folders})/[\w./-]+\w|[a-z][\w-]*\.(?:yaml|json|sh|sbatch))")
    theirs = re.compile(r"/opt/deepfake/|MY_SITE.yaml|jobs/NAME.py|karpenter.sh\S*|https?://\S+|my-cluster/")
    scripts = [*FOLDER.glob("*/*.s*"), *FOLDER.glob("*.py"), FOLDER / "site.yaml", FOLDER / "Containerfile"]
    for path in [*FILES, *scripts]:
        for name in named.findall(theirs.sub("", path.read_text())):
            places = [ROOT, FOLDER, path.parent, *(FOLDER / sub for sub in ("aws/iam", "aws", "kuberay"))]
            assert any((place / name).exists() for place in places), (path, name)
