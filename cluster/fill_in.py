"""Write the files of this folder with your site's names in them: see cluster/site.yaml.

python cluster/fill_in.py MY_SITE.yaml OUTPUT_FOLDER
"""

import re
import sys
import textwrap
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
SUFFIXES = (".yaml", ".json")
PLACEHOLDER = re.compile(r"\bEDIT_([A-Z0-9_]*[A-Z0-9])")
CLUSTER = "rayClusterSpec: SPEC_OF_RAYCLUSTER"  # a RayJob brings the very cluster that also stands alone


def fill_in(text: str, site: dict[str, object]) -> str:
    """A file's text with the site's values; ``KeyError`` where it has none for a name."""
    return PLACEHOLDER.sub(lambda found: str(site[found[1].lower()]), text)


def insert_cluster(text: str, raycluster: str) -> str:
    """A RayJob with the ``spec`` of the standing cluster as its own."""
    spec = raycluster.partition("\nspec:\n")[2]
    return text.replace(CLUSTER, "rayClusterSpec:\n" + textwrap.indent(spec.rstrip(), "  "))


def main(site_file: str, output: str) -> int:
    """Fill in every file; 2 with a word where the site's file does not fit."""
    site = yaml.safe_load(Path(site_file).read_text(encoding="utf-8")) or {}
    known = yaml.safe_load((HERE / "site.yaml").read_text(encoding="utf-8"))
    wrong = [f"{name} is missing" for name in known if site.get(name) in (None, "")]
    wrong += [f"{name} is unknown" for name in site if name not in known]
    if wrong:
        print(f"{site_file}: {', '.join(wrong)}; see cluster/site.yaml", file=sys.stderr)
        return 2
    raycluster = (HERE / "kuberay" / "raycluster.yaml").read_text(encoding="utf-8")
    for folder in ("aws", "kuberay"):
        for path in sorted((HERE / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                target = Path(output) / path.relative_to(HERE)
                target.parent.mkdir(parents=True, exist_ok=True)
                text = insert_cluster(path.read_text(encoding="utf-8"), raycluster)
                target.write_text(fill_in(text, site), encoding="utf-8")
                print(target)
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
