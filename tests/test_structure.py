"""What keeps the library easy to find one's way in, beside the contracts that import-linter checks."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from tests.running import ROOT

MODULES = sorted((ROOT / "deepfake").rglob("*.py"))
# Asked of several modules alike: every job runs, and says what it costs; every layout tells of a clip.
INTERFACES = {"run", "estimate_core_seconds", "_make_provenance"}
MOST_LINES = 450


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def test_a_function_or_class_that_is_another_has_another_name() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path in MODULES:
        for node in parse(path).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name not in INTERFACES:
                places[node.name].append(name_place(path, node))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_module_is_too_long_to_be_read_at_once() -> None:
    lengths = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_none_of_our_own_modules_needs_another_name_where_it_is_imported() -> None:
    renamed = [
        name_place(path, node)
        for path in MODULES
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if alias.asname and (getattr(node, "module", None) or alias.name).startswith("deepfake")
    ]
    assert renamed == []


def test_every_package_is_on_the_page_about_the_architecture() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = [path.parent for path in (ROOT / "deepfake").glob("*/__init__.py")]
    jobs = [path.parent for path in (ROOT / "deepfake" / "pipelines").glob("*/__init__.py")]
    named = {*(f"`{package.name}/`" for package in packages), *(f"`{job.name}`" for job in jobs)}
    assert {name for name in named if name not in page} == set()


def test_tests_reach_into_nothing_private() -> None:
    reached = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        tree = parse(path)
        ours = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "deepfake":
                ours |= {alias.asname or alias.name for alias in node.names}
        used = [
            node.value.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and is_private(node.attr)
        ]
        reached += [f"{path.name}: {name}" for name in [*filter(is_private, ours), *(set(used) & ours)]]
    assert reached == []


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
