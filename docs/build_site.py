"""Builds docs/ and cluster/README.md as a site: make docs-site. A link that leads nowhere fails."""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
PAGES = BUILD / "site-pages"  # laid out so that links between docs/ and cluster/ hold
GROUPS = {  # every page once; a test holds that
    "Begin": ["quickstart", "results", "troubleshooting", "glossary"],
    "Jobs": ["preprocessing", "detectors", "formats", "training", "self_blended_images", "evaluation",
             "leakcheck", "scoring", "watch", "export", "adopt", "explain"],
    "Judge": ["enough_data", "cookbook", "wording"],
    "Run": ["cluster/README", "sizing", "scale", "faults", "threat_model", "personal_data",
            "benchmark"],
    "Look up": ["configuration", "tables", "architecture"],
}  # fmt: skip


def lay_out() -> None:
    """Write the pages and the generator's configuration below build/."""
    shutil.rmtree(PAGES, ignore_errors=True)
    (PAGES / "cluster").mkdir(parents=True)
    for path in sorted((ROOT / "docs").iterdir()):
        if path.suffix in (".md", ".svg"):
            text = path.read_text(encoding="utf-8").replace("](../cluster/", "](cluster/")
            (PAGES / ("index.md" if path.name == "README.md" else path.name)).write_text(
                text, encoding="utf-8"
            )
    text = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8").replace("](../docs/", "](../")
    (PAGES / "cluster" / "README.md").write_text(text, encoding="utf-8")
    for folder in ("aws", "kuberay", "slurm"):  # what the page links to is shown as it is
        shutil.copytree(ROOT / "cluster" / folder, PAGES / "cluster" / folder)
    for name in ("Containerfile", "site.yaml"):
        shutil.copy(ROOT / "cluster" / name, PAGES / "cluster")
    configuration = {
        "site_name": "deepfake",
        "docs_dir": PAGES.name,
        "site_dir": "site",
        "use_directory_urls": False,  # opens from disk
        "theme": {"font": False, "features": ["navigation.sections", "content.code.copy"]},
        "nav": [
            {"Home": "index.md"},
            *({name: [f"{page}.md" for page in pages]} for name, pages in GROUPS.items()),
        ],
    }
    (BUILD / "mkdocs.yml").write_text(yaml.safe_dump(configuration, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    lay_out()
    command = [
        sys.executable,
        "-m",
        "zensical",
        "build",
        "--strict",
        "--clean",
        "-f",
        str(BUILD / "mkdocs.yml"),
    ]
    sys.exit(subprocess.run(command, check=False).returncode)
