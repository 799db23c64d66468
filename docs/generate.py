"""Writes docs/tables.md, docs/configuration.md and docs/architecture.svg from the code.

python docs/generate.py
"""

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
        "Every Parquet file carries in its metadata `deepfake.table`, `deepfake.schema_version` "
        f"(now {tables.SCHEMA_VERSION}), `deepfake.version` and, where a configuration decided its rows, "
        "`deepfake.config_sha256`. A file of another table or version is refused when read.",
        "",
        "A score is null unless `status` is `ok`. The other values of `status`: "
        + ", ".join(f"`{status.value}`" for status in tables.Status if status is not tables.Status.OK)
        + ".",
        "",
        "**Words.** `label` is 0 for real and 1 for fake in every table; pages and logs say the words. "
        "`score` is the network's output in [0, 1], 1 for fake: of one face in `face_scores`, aggregated "
        "over its faces for a track or a video. `track_id` is the number of a track on the pages too. "
        "Seconds count from a video's first frame, pixels are those of its upright frames.",
        "",
        "| table | written by |",
        "|---|---|",
        *(f"| [{name}](#{name}) | {where} |" for name, where in WHERE.items()),
        "",
        "At the end stand the tables that jobs keep for themselves, in `_work/` or in memory: "
        + ", ".join(f"`{name}`" for name in tables.SCHEMAS if name not in WHERE)
        + ".",
    ]
    for name in [*WHERE, *(name for name in tables.SCHEMAS if name not in WHERE)]:
        schema = tables.SCHEMAS[name]
        lines += ["", f"## {name}", "", "| column | type | null | meaning |", "|---|---|---|---|"]
        for field in schema:
            meaning = _cell(field.metadata[b"doc"].decode())
            null = "yes" if field.nullable else "no"
            lines.append(f"| `{field.name}` | `{field.type}` | {null} | {meaning} |")
    return "\n".join(lines) + "\n"


def configuration_page() -> str:
    """Every key of every job, each section once."""
    lines = [
        "# Configuration",
        "",
        NOTICE,
        "A job takes its values from the defaults below, then from `--config FILE.yaml` (which may be given "
        "more than once), then from the command line: `--section.key value`, or in YAML",
        "",
        "```yaml",
        "sampling:",
        "  policy: per_second",
        "  per_second: 2",
        "```",
        "",
        "A key that does not exist, or a value of the wrong type, ends the job with status 2 and names it. "
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
            lines += [model.__doc__.strip(), ""]
        if taken:
            lines += [f"Sections: {', '.join(taken)}.", ""]
        lines += [*_HEAD, *plain]
    common = config.JobConfig.model_fields
    names = [name for name, _ in sections]
    for (name, section), jobs in sorted(sections.items(), key=lambda item: item[0][0] in common):
        where = "every job" if len(jobs) == len(JOBS) else ", ".join(jobs)
        heading = f"## Section {name}" + (f" of {where}" if names.count(name) > 1 else "")
        lines += ["", heading, "", f"{(section.__doc__ or '').strip()} Used by: {where}.", ""]
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
