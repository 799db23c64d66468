"""What ``--help`` says of a job: the keys that most people want, or with ``--help-all`` every one."""

import shutil
import textwrap
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from deepfake.config.jobs import JobConfig
from deepfake.config.parse import list_options

ASKS = ("-h", "--help", "--help-all")
_COLUMN = 34  # where meanings begin
_WIDTH = 110  # at most


def format_help(model: type[JobConfig], program: str, everything: bool) -> str:
    """The whole text; ``everything``: of all keys, by section."""
    options = dict(list_options(model))
    needed = " ".join(f"--{name} URI" for name in sorted(options) if options[name].is_required())
    own = sorted(
        (name for name in options if "." not in name),
        key=lambda name: (not options[name].is_required(), name in _EVERY_JOB),
    )
    lines = [
        f"usage: {program} {needed} [--section.key value ...]".replace("  ", " "),
        "",
        *_wrap(" ".join((model.__doc__ or "").split()), ""),
        "",
        "[...] is the default.",
        "",
    ]
    shown = options if everything else [*own, *model.common]
    for name in own:
        lines += _explain_option(name, options[name])
    lines += _format_option(
        "--config FILE", "YAML file with any of the keys, or recipe:NAME; may be given more than once"
    )
    lines += _format_option("-h, --help; --help-all", "the most used keys; every key")
    section = ""
    for name in shown:
        if "." in name:
            if not section or (everything and section != name.partition(".")[0]):
                section = name.partition(".")[0]
                lines += ["", f"{section}:" if everything else "Of the sections:"]
            lines += _explain_option(name, options[name])
    if left := len(options) - len(list(shown)):
        sections = ", ".join(dict.fromkeys(name.partition(".")[0] for name in options if "." in name))
        lines += ["", *_wrap(f"{left} more keys, in the sections {sections}: --help-all", "")]
    return "\n".join(lines)


_EVERY_JOB = {info.alias or name for name, info in JobConfig.model_fields.items()}


def _explain_option(name: str, info: FieldInfo) -> list[str]:
    kind = "" if info.annotation is bool else f" {name_type(info.annotation)}"
    value = "required" if info.is_required() else format_default(info).strip("[]")
    return _format_option(f"--{name}{kind}", f"{info.description or ''}{f' [{value}]' if value else ''}")


def _format_option(option: str, meaning: str) -> list[str]:
    """An option's name and meaning, side by side where they fit."""
    lines = _wrap(meaning, " " * _COLUMN)
    if len(option) + 4 <= _COLUMN:
        return [f"  {option:<{_COLUMN - 2}}{lines[0].lstrip()}", *lines[1:]]
    return [*_wrap(option, "  "), *lines]


def _wrap(text: str, indent: str) -> list[str]:
    width = min(_WIDTH, max(60, shutil.get_terminal_size().columns))
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    ) or [""]


def name_type(annotation: Any) -> str:
    """A key's type in words, as in ``int`` or ``png | webp``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin is Annotated:
        return name_type(arguments[0])
    if origin in (Union, types.UnionType):
        return " | ".join(name_type(a) for a in arguments if a is not type(None))
    if origin is not None:
        inside = ", ".join(dict.fromkeys(name_type(a) for a in arguments if a is not Ellipsis))
        return f"{origin.__name__} of {inside}"
    return getattr(annotation, "__name__", str(annotation))


def format_default(info: FieldInfo) -> str:
    """The value of a key that is not given; empty where it is none."""
    value = info.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, tuple):
        value = list(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
