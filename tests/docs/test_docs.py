"""The pages that people read agree with the code."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfake.__main__ import JOBS, name_input
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


def list_anchors(page: Path) -> set[str]:
    """What may stand after ``#`` in a link to a page: its headings, as GitHub writes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target, _, anchor in (t.partition("#") for t in re.findall(r"\]\(([^)]+)\)", text) if "://" not in t):
        found = page.parent / target if target else page
        assert found.exists(), target
        assert not anchor or anchor in list_anchors(found), f"{target}#{anchor}"


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
    parse.load_config(model, name_input(job, arguments))


def test_there_are_command_lines_for_every_job() -> None:
    shown = {Path(line.split()[0]).stem for _, line in command_lines()}
    assert shown == {name.split()[0] for name in MODELS} - {"demo"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_benchmarks_and_make_targets_that_pages_name_are_there(page: Path) -> None:
    text = " ".join(page.read_text(encoding="utf-8").replace("\\\n", " ").split())
    for module, options in re.findall(r"python -m (tests[\w.]+)((?: [^`\s)]+)*)", text):
        path = ROOT / f"{module.replace('.', '/')}.py"
        source = path.read_text() if path.exists() else (path.with_suffix("") / "__main__.py").read_text()
        assert [flag for flag in re.findall(r"--[\w-]+", options) if f'"{flag}"' not in source] == []
    for path in re.findall(r"\btests/[\w/]+\.py", text):
        assert (ROOT / path).exists(), path
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= set(targets)


def test_each_defence_of_the_threat_model_names_tests_that_are_there() -> None:
    text = (ROOT / "docs" / "threat_model.md").read_text(encoding="utf-8")
    rows = text.partition("| threat | defence | shown by |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(rows) > 30
    for row in rows:
        places = [ROOT / name for name in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", row.rsplit(" | ", 1)[1])]
        assert places, row
        for place in places:
            files = [place] if place.suffix else sorted(place.rglob("test_*.py"))
            assert files and all("def test_" in file.read_text(encoding="utf-8") for file in files), place


def strings_of_the_code() -> str:
    """Every string of the library on a line of its own, what is filled in as {}."""
    found = []
    for path in (ROOT / "deepfake").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (p.value if isinstance(p, ast.Constant) else "{}" for p in node.values)
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_what_troubleshooting_quotes_is_what_jobs_say() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    seen = [line.split("|")[1] for line in page.splitlines() if line.startswith("|")]
    quoted = [words for cell in seen for words in re.findall(r'"([^"]+)"', cell)]
    said = strings_of_the_code()
    assert len(quoted) > 5
    assert [words for words in quoted if words not in said] == []


def test_every_page_has_a_place_in_the_site() -> None:
    groups = runpy.run_path(str(ROOT / "docs" / "build_site.py"))["GROUPS"]
    placed = [page for pages in groups.values() for page in pages]
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"README"} | {"cluster/README"}
    assert sorted(placed) == sorted(pages)
