"""The pages that people read agree with the code."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake.__main__ import JOBS
from deepfake.config import parse
from tests.running import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "cluster" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
MODELS = {name: model for name, (model, _) in JOBS.items()}


@pytest.mark.parametrize("name", ["tables.md", "configuration.md", "architecture.svg"])
def test_generated_pages_are_up_to_date(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    pages: dict[str, Callable[[], str]] = runpy.run_path(str(ROOT / "docs" / "generate.py"))["PAGES"]
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == pages[name](), "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def command_lines() -> list[tuple[str, str]]:
    """Every line of the pages that runs a job, continuation lines joined."""
    names = "|".join(dict.fromkeys(name.split()[0] for name in MODELS))
    shown = re.compile(rf"^\s*(?:\S+ )*?(?:\S*jobs/|\S*deepfake )((?:{names})(?:\.py)? .*)$", re.M)
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found += [(page.name, match) for match in shown.findall(text)]
    return found


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_shown_command_lines_are_ones_that_the_jobs_understand(page: str, line: str) -> None:
    job, *arguments = shlex.split(line, comments=True)
    model = MODELS["score --verify" if "--verify" in arguments else Path(job).stem]
    parse.load_config(model, arguments)


def test_there_are_command_lines_for_every_job() -> None:
    shown = {Path(line.split()[0]).stem for _, line in command_lines()}
    assert shown == {name.split()[0] for name in MODELS} - {"demo"}
