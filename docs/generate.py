"""Writes docs/tables.md, docs/configuration.md and docs/architecture.svg from the code.

python docs/generate.py
"""

import inspect
import sys
from pathlib import Path
from typing import Any, get_args

DOCS = Path(__file__).resolve().parent
sys.path[0] = str(DOCS.parent)

from pydantic import BaseModel  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from deepfake import __main__, config  # noqa: E402
from deepfake.config.help import format_default, name_type  # noqa: E402
from deepfake.io import tables  # noqa: E402
from docs.draw_imports import draw  # noqa: E402

JOBS = {name: model for name, (model, _) in __main__.JOBS.items()}
NOTICE = "<!-- Written by docs/generate.py (make docs); edit the source, not this page. -->\n"


WHERE = {  # of each table that people read
    "crops": "`preprocess`: `part-*.parquet`; `score --scoring.keep_crops true`: `crops/`",
    "videos": "`preprocess` and `score`: `_manifest.parquet`, a row for each video that was looked at",
    "video_scores": "`score`: `video_scores/`, and as `video_scores.csv` and `.jsonl`",
    "track_scores": "`score`: `track_scores/`",
    "face_scores": "`score` and `evaluate`: `face_scores/`",
    "segments": "`score`: `segments/`",
    "evidence": "`score`: `evidence/`, the pictures of the page",
    "changes": "`score --compare-with`: `changes.parquet`",
    "group_metrics": "`evaluate`: `per_group.parquet` and `.csv`",
    "history": "`train`: `history.parquet` and `.csv`",
    "validation_scores": "`train`: `validation_scores.parquet`",
    "overlaps": "`leakcheck`: `overlaps.parquet` and `.csv`",
}


def tables_page() -> str:
    """Every table, column by column."""
    lines = [
        "# Tables",
        "",
        NOTICE,
        "The metadata of every Parquet file has `deepfake.table`, `deepfake.schema_version` (now "
        f"{tables.SCHEMA_VERSION}) and `deepfake.version`. It also has `deepfake.config_sha256` if the rows "
        "depend on a configuration. A job refuses to read a file of another table or schema version.",
        "",
        "A score is null unless `status` is `ok`. The other values of `status`: "
        + ", ".join(f"`{status.value}`" for status in tables.Status if status is not tables.Status.OK)
        + ".",
        "",
        "**Words.** In every table `label` is 0 for real and 1 for fake. Pages and logs say real and fake. "
        "`score` is the network's output in [0, 1], where 1 means fake. In `face_scores` it belongs to one "
        "face; for a track or a video it is aggregated over the faces. `track_id` is the number of a track "
        "on the pages. Seconds count from a video's first frame. Pixels are those of its upright frames.",
        "",
        "## Tables that jobs leave",
        "",
        "| table | where |",
        "|---|---|",
        *(f"| [{name}](#{name}) | {where} |" for name, where in WHERE.items()),
        "",
        "Give pandas the folder, and DuckDB `FOLDER/part-*.parquet` ([examples](cookbook.md)).",
        *(line for name in WHERE for line in _columns(name)),
        "",
        "## Internal tables",
        "",
        "Jobs keep these in `_work/` or in memory, and may change them in any version.",
        *(line for name in tables.SCHEMAS if name not in WHERE for line in _columns(name)),
    ]
    return "\n".join(lines) + "\n"


def _columns(name: str) -> list[str]:
    """A table's own part of the page."""
    lines = ["", f"### {name}", "", "| column | type | null | meaning |", "|---|---|---|---|"]
    for field in tables.SCHEMAS[name]:
        meaning = _cell(field.metadata[b"doc"].decode())
        null = "yes" if field.nullable else "no"
        lines.append(f"| `{field.name}` | `{field.type}` | {null} | {meaning} |")
    return lines


def configuration_page() -> str:
    """Every key of every job, each section once."""
    lines = [
        "# Configuration",
        "",
        NOTICE,
        "A job starts from the defaults below. `--config FILE.yaml` overrides them and may be given several "
        "times. The command line overrides both, as `--section.key value`. In YAML the same looks like this:",
        "",
        "```yaml",
        "sampling:",
        "  policy: per_second",
        "  per_second: 2",
        "```",
        "",
        "If a key does not exist or a value has the wrong type, the job ends with status 2 and names it. "
        "`--dry-run` prints the resolved configuration.",
        "",
        "## Every job",
        "",
        *_table(config.JobConfig, ""),
    ]
    sections: dict[tuple[str, type[BaseModel]], list[str]] = {}
    for job, model in JOBS.items():
        own = {k: v for k, v in model.model_fields.items() if not _inherited(k, v)}
        for name, info in model.model_fields.items():
            if section := _section(info.annotation):
                sections.setdefault((name, section), []).append(job)
        plain = [_row(k, v, "") for k, v in own.items() if not _section(v.annotation)]
        taken = [f"`{k}`" for k, v in own.items() if _section(v.annotation)]
        lines += ["", f"## {job}", ""]
        if model.__doc__:
            lines += [inspect.cleandoc(model.__doc__), ""]
        if taken:
            lines += [f"Sections: {', '.join(taken)}.", ""]
        lines += [*_HEAD, *plain]
    common = config.JobConfig.model_fields
    names = [name for name, _ in sections]
    for (name, section), jobs in sorted(sections.items(), key=lambda item: item[0][0] in common):
        where = "every job" if len(jobs) == len(JOBS) else ", ".join(jobs)
        heading = f"## Section {name}" + (f" of {where}" if names.count(name) > 1 else "")
        lines += ["", heading, "", f"{inspect.cleandoc(section.__doc__ or '')} Used by: {where}.", ""]
        lines += _table(section, f"{name}.")
    return "\n".join(lines) + "\n"


def _inherited(name: str, info: FieldInfo) -> bool:
    """Whether a key is every job's, with every job's default."""
    base = config.JobConfig.model_fields.get(name)
    return base is not None and (base.default, base.default_factory) == (info.default, info.default_factory)


_HEAD = ["| key | type | default | meaning |", "|---|---|---|---|"]


def _table(model: type[BaseModel], prefix: str) -> list[str]:
    rows = [
        _row(name, info, prefix) for name, info in model.model_fields.items() if not _section(info.annotation)
    ]
    return [*_HEAD, *rows]


def _row(name: str, info: FieldInfo, prefix: str) -> str:
    value = format_default(info)
    default = "required" if info.is_required() else f"`{value}`" if value or info.default == "" else ""
    meaning = _cell(info.description or "")
    return f"| `{prefix}{info.alias or name}` | {_cell(name_type(info.annotation))} | {default} | {meaning} |"


def _section(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES = {"tables.md": tables_page, "configuration.md": configuration_page, "architecture.svg": draw}

if __name__ == "__main__":
    for file_name, page in PAGES.items():
        (DOCS / file_name).write_text(page(), encoding="utf-8")
