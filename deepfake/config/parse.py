"""From YAML files and the command line to a job's configuration.

Values come from the model's defaults, then ``--config FILE.yaml``, then the command line. Unknown keys
and wrong types are errors that name the key and the nearest valid one. Nothing here knows where files lie:
``read_text`` is handed in.
"""

import argparse
import difflib
import json
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

from deepfake.config.base import hide_secrets
from deepfake.config.jobs import AS_TYPED, JobConfig
from deepfake.errors import UsageError

Config = TypeVar("Config", bound=JobConfig)
ReadText = Callable[[str], str]
RECIPE = "recipe:"  # before the name of one
MOST_LETTERS = 4 * 2**20  # of a YAML file, of which a million take half a second
_RECIPES = Path(__file__).with_name("recipes")


def read_local(path: str) -> str:
    """A file of this machine; ``Storage.read_text`` reads URIs too."""
    return Path(path).read_text(encoding="utf-8")


def load_config(model: type[Config], argv: Sequence[str], read_text: ReadText = read_local) -> Config:
    """The job's configuration; raises ``UsageError`` with a message for people."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", action="append", default=[])
    known, rest = first.parse_known_args(_spell(argv, model))
    values: dict[str, Any] = {}
    for path in known.config:
        values = _merge(values, _rename_keys(read_yaml(path, read_text), model))
    root = _Parser({name for name, _ in list_options(model)}, allow_abbrev=False, add_help=False)
    settings: Any = type(
        model.__name__,
        (model, BaseSettings),
        {
            "model_config": SettingsConfigDict(extra="forbid", frozen=True, populate_by_name=True),
            "__doc__": model.__doc__,
        },
    )
    try:
        source: Any = CliSettingsSource(
            settings,
            root_parser=root,
            cli_parse_args=list(rest),
            cli_hide_none_type=True,
            cli_implicit_flags=True,
            parse_args_method=_Parser.parse_args,
        )
        told = source()
    except SettingsError as error:
        raise UsageError(str(error).replace(' from source "CliSettingsSource"', "")) from None
    return _validate(model, _merge(values, told))


def load_recipe(config: Config, path: str, read_text: ReadText = read_local) -> Config:
    """A YAML file's configuration under all that ``config`` was told, which its defaults are not."""
    model = type(config)
    told = config.model_dump(by_alias=True, exclude_unset=True)
    return _validate(model, _merge(_rename_keys(read_yaml(path, read_text), model), told))


def _validate(model: type[Config], values: Mapping[str, Any]) -> Config:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UsageError(_explain(error, {name for name, _ in list_options(model)})) from None


def list_recipes() -> list[str]:
    """The names of the recipes that come with the package, as ``--config`` takes them."""
    return sorted(f"{RECIPE}{path.stem}" for path in _RECIPES.glob("*.yaml"))


class _Loader(yaml.SafeLoader):
    """Without aliases: a few hundred bytes of them stand for gigabytes."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            words = "an alias (*name) is not taken here; write the value out"
            raise yaml.composer.ComposerError(None, None, words, event.start_mark)
        return super().compose_node(parent, index)


class _WordLoader(_Loader):
    """Each value as it is written: a date is no date, ``041`` no octal number, nothing is ``""``."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own name


def read_yaml(path: str, read_text: ReadText = read_local, words: bool = False) -> dict[str, Any]:
    """A YAML file, or a recipe by its name, as a dict; raises ``UsageError`` that names the file.

    ``words``: every value is text.
    """
    if path.startswith(RECIPE):
        if path not in list_recipes():
            raise UsageError(f"{path}: no such recipe; there are {', '.join(list_recipes())}")
        path, read_text = str(_RECIPES / f"{path.removeprefix(RECIPE)}.yaml"), read_local
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable configuration file: {error}") from None
    if len(text) > MOST_LETTERS:
        raise UsageError(f"{path}: larger than the {MOST_LETTERS >> 20} MiB that a configuration may have")
    try:
        loaded = yaml.load(text, _WordLoader if words else _Loader)
    except RecursionError:
        raise UsageError(f"{path}: nested too deeply to be a configuration") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # the latter are what PyYAML raises of "!!int x", of 2001-99-99 and the like
        raise UsageError(f"{path}: not valid YAML: {str(error)[:500]}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UsageError(f"{path}: expected 'section: ...' at the top, found a {type(loaded).__name__}")
    return loaded


def list_options(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``(dotted name, field)`` of every key a job takes."""
    for name, info in model.model_fields.items():
        name = info.alias or name
        nested = _find_section(info.annotation)
        if nested is None:
            yield prefix + name, info
        else:
            yield from list_options(nested, f"{prefix}{name}.")


def _find_section(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _spell(argv: Sequence[str], model: type[BaseModel]) -> list[str]:
    """The command line as the parser takes it.

    ``--dry_run`` means ``--dry-run`` and ``--a.b-c`` means ``--a.b_c``. A flag may be given a value as any
    other option is: ``--a.b false``, ``--a.b=false`` and ``--no-a.b`` are the same. A list may be given as
    ``--a.b x y``.
    """
    fields = dict(list_options(model))
    spelled = {name.replace("-", "_"): name for name in fields}
    result: list[str] = []
    waiting = list(argv)
    while waiting:
        argument = waiting.pop(0)
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            name = spelled.get(name.replace("-", "_"), name)
            if name in fields and fields[name].annotation is bool:
                if not equals and waiting and waiting[0].lower() in _TRUE | _FALSE:
                    value = waiting.pop(0)
                elif equals and value.lower() not in _TRUE | _FALSE:
                    raise UsageError(f"{name}: expected true or false (got {value!r})")
                equals, name = "", f"no-{name}" if value.lower() in _FALSE else name
                value = ""
            if name in fields and AS_TYPED in fields[name].metadata:
                words = [value] if equals else []
                while not equals and waiting and not waiting[0].startswith("-"):
                    words.append(waiting.pop(0))
                result += [f"--{name}={json.dumps([word], ensure_ascii=False)}" for word in words] or [
                    f"--{name}"
                ]
                continue
            argument = f"--{name}{equals}{value}"
            if name in fields and get_origin(fields[name].annotation) is list and not equals:
                while len(waiting) > 1 and not waiting[0].startswith("-") and not waiting[1].startswith("-"):
                    result += [argument, waiting.pop(0)]  # --a.b x y is --a.b x --a.b y
        result.append(argument)
    return result


_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def _rename_keys(values: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """A YAML file's keys as the command line spells them; a section with nothing in it is its defaults."""
    result = dict(values)
    for name, info in model.model_fields.items():
        if info.alias and name in result:
            result.setdefault(info.alias, result.pop(name))
        is_section = isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
        if is_section and name in result and result[name] is None:
            del result[name]
    return result


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            value = _merge(result[key], value)
        result[key] = value
    return result


def _suggest_nearest(name: str, valid: set[str]) -> str:
    sections = {option.partition(".")[0] for option in valid}
    close = difflib.get_close_matches(name, valid | sections, n=1, cutoff=0.5)
    if not close:  # the right key in the wrong section
        last = {option.rpartition(".")[2]: option for option in valid}
        close = [last[m] for m in difflib.get_close_matches(name.rpartition(".")[2], last, n=1, cutoff=0.6)]
    return f"; did you mean {close[0]}?" if close else "; --help lists every option"


def _explain(error: ValidationError, valid: set[str]) -> str:
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key {name}{_suggest_nearest(name, valid)}")
        elif item["type"] == "missing":
            lines.append(f"--{name} is required")
        else:
            message = item["msg"].removeprefix("Value error, ")
            given = hide_secrets(item["input"]) if isinstance(item["input"], str) else item["input"]
            got = f" (got {reprlib.repr(given)})" if name else ""  # else all that was given
            lines.append(f"{name or 'configuration'}: {message}{got}")
    return hide_secrets("\n  ".join(lines))


class _Parser(argparse.ArgumentParser):
    """argparse that answers an unknown option with the nearest valid one."""

    def __init__(self, valid: set[str], **options: Any) -> None:
        super().__init__(**options)
        self.valid = valid

    def error(self, message: str) -> NoReturn:
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            words = message.removeprefix(prefix).split()
            unknown = [w.partition("=")[0] for w in words if w.startswith("--")]
            if unknown:
                raise UsageError(
                    "; ".join(
                        f"unknown option {name}{_suggest_nearest(name[2:], self.valid)}" for name in unknown
                    )
                )
            raise UsageError(f"unexpected {' '.join(words)!r}; options are written --section.key value")
        raise UsageError(message)
