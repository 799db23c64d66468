"""The files of cluster/ as cluster/fill_in.py writes them, with the names of cluster/site.yaml."""

from __future__ import annotations

import runpy
from typing import Any

import yaml

from tests.running import ROOT

FOLDER = ROOT / "cluster"
SITE: dict[str, Any] = yaml.safe_load((FOLDER / "site.yaml").read_text())
FILL_IN: dict[str, Any] = runpy.run_path(str(FOLDER / "fill_in.py"))


def fill(name: str, **site: str) -> str:
    """Text of a file below cluster/, with other values of the site where they are given."""
    raycluster = (FOLDER / "kuberay" / "raycluster.yaml").read_text()
    text = FILL_IN["insert_cluster"]((FOLDER / name).read_text(), raycluster)
    filled: str = FILL_IN["fill_in"](text, SITE | site)
    return filled
