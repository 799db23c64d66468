"""Draws which package imports which, from the code's own imports: docs/architecture.svg.

Packages stand in the layers that pyproject.toml has import-linter check. An arrow that other arrows imply is
left out.
"""

import tomllib
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parent.parent
WIDTH, BOX, HIGH, GAP = 1000, 150, 46, 84
TITLES = {
    "pipelines": "one a job; chains stages",
    "cli": "signals, statuses",
    "training": "distributed learning",
    "model": "network, bundle",
    "execution": "resumable work on Ray",
    "crops": "video to crops",
    "faces": "detect, track, cut",
    "video": "frames of videos",
    "catalog": "which videos exist",
    "io": "storage, tables, locks",
    "config": "every key of every job",
    "report": "pages and plots",
    "metrics": "exact numbers",
}


def layers() -> list[list[str]]:
    """Names of the packages and modules of each layer, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (rows,) = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [[name.strip(" ()") for name in row.split("|")] for row in rows]


def imports(names: set[str]) -> set[tuple[str, str]]:
    """``(importer, imported)`` among them, without those that a longer way implies."""
    graph = grimp.build_graph("deepfake", cache_dir=None)
    found: dict[str, set[str]] = {name: set() for name in names}
    found["__main__"].add("pipelines")  # imported by its name, once a job is asked for
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            a, b = (module.split(".")[1] if "." in module else "" for module in (importer, imported))
            if a != b and {a, b} <= names:
                found[a].add(b)

    def reach(name: str) -> set[str]:
        return found[name] | {far for near in found[name] for far in reach(near)}

    return {(a, b) for a in names for b in found[a] if not any(b in reach(c) for c in found[a] - {b})}


def draw() -> str:
    """The picture as SVG."""
    rows = [
        [name for name in row if (ROOT / "deepfake" / name).exists() or _module(name)] for row in layers()
    ]
    places = {
        name: (WIDTH * (i + 1) / (len(row) + 1), 40 + GAP * level)
        for level, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {40 + GAP * len(rows)}" role="img" '
        'aria-labelledby="t" font-family="system-ui, sans-serif">',
        '<title id="t">Which package of deepfake imports which: arrows lead downward only</title>',
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#5b7a99"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{40 + GAP * len(rows)}" rx="10" fill="#ffffff"/>',
    ]
    for a, b in sorted(imports(set(places))):
        (x, y), (to_x, to_y) = places[a], places[b]
        lines.append(
            f'<path d="M{x:.0f} {y + HIGH / 2:.0f} C{x:.0f} {y + GAP * 0.55:.0f} {to_x:.0f} '
            f'{to_y - GAP * 0.55:.0f} {to_x:.0f} {to_y - HIGH / 2:.0f}" fill="none" stroke="#5b7a99" '
            'stroke-width="1.5" marker-end="url(#head)"/>'
        )
    for name, (x, y) in places.items():
        title = TITLES.get(name, "")
        lines += [
            f'<rect x="{x - BOX / 2:.0f}" y="{y - HIGH / 2:.0f}" width="{BOX}" height="{HIGH}" rx="6" '
            f'fill="#eef3f8" stroke="#5b7a99"/>',
            f'<text x="{x:.0f}" y="{y - 2 if title else y + 5:.0f}" text-anchor="middle" font-size="15" '
            f'fill="#14283c">{name}</text>',
        ]
        if title:
            lines.append(
                f'<text x="{x:.0f}" y="{y + 15:.0f}" text-anchor="middle" font-size="11" '
                f'fill="#46596c">{escape(title)}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])


def _module(name: str) -> bool:
    return (ROOT / "deepfake" / f"{name}.py").exists()
