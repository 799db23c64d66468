"""The command line that all jobs share: configuration in, outcome and exit status out.

Values come from the model's defaults, then ``--config FILE.yaml``, then the command line. Unknown keys
and wrong types are errors that name the key and the nearest valid one.
"""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

from deepfake import __version__
from deepfake.config import JobConfig
from deepfake.errors import JobError, UsageError
from deepfake.execution.process import skip_final_gc
from deepfake.io import lock
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError
from deepfake.io.uri import join

DONE, FAILED, BAD_USAGE, OVER_ERROR_BUDGET = 0, 1, 2, 3

Config = TypeVar("Config", bound=JobConfig)


@dataclass(frozen=True)
class Outcome:
    """What a job did, for its last lines and ``_summary.json``."""

    summary: dict[str, Any] = field(default_factory=dict)
    failed_share: float = 0.0
    look_at: Sequence[str] = ()  # URIs worth opening
    problem: str | None = None  # why the exit status is 1 although the job did its work


class Stopped(BaseException):
    """Ctrl-C or SIGTERM: raised in the main thread so that every ``finally`` runs."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


def run(model: type[Config], job: Callable[[Config], Outcome], argv: Sequence[str] | None = None) -> int:
    """Parse, run one job, print its summary, and return the exit status."""
    program = f"jobs/{os.path.basename(sys.argv[0])}"  # noqa: PTH119
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S"
    )
    for library in ("botocore", "aiobotocore"):  # they tell of every place where they found a setting
        logging.getLogger(library).setLevel(logging.WARNING)
    before = {signum: signal.signal(signum, _raise_stopped) for signum in (signal.SIGINT, signal.SIGTERM)}
    if argv is None:  # this is the process's whole task
        skip_final_gc()
    try:
        return _run(model, job, sys.argv[1:] if argv is None else argv, program)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _run(model: type[Config], job: Callable[[Config], Outcome], argv: Sequence[str], program: str) -> int:
    started = time.monotonic()
    try:
        config = load_config(model, argv, program)
        if config.dry_run:
            print(_as_yaml(config))
        with lock.kept():
            outcome = job(config)
            summary = _summary(config, outcome, program, time.monotonic() - started)
    except (UsageError, TableError) as error:
        print(f"{program}: {_words(error)}", file=sys.stderr)
        return BAD_USAGE
    except JobError as error:
        print(f"{program}: {_words(error)}", file=sys.stderr)
        return FAILED
    except Stopped as stop:
        print(f"{program}: {stop}; run the same command again to go on", file=sys.stderr)
        return 128 + stop.signum
    print_summary(summary, outcome.look_at)
    if _over_budget(config, outcome):
        print(
            f"{program}: {outcome.failed_share:.1%} of the videos failed, more than --max-failed "
            f"{config.max_failed:.1%}",
            file=sys.stderr,
        )
    if outcome.problem:
        print(f"{program}: {outcome.problem}", file=sys.stderr)
    return int(summary["exit_status"])


def _summary(config: JobConfig, outcome: Outcome, program: str, seconds: float) -> dict[str, Any]:
    """What is said at the end, and left in the output as ``_summary.json``."""
    status = FAILED if outcome.problem else OVER_ERROR_BUDGET if _over_budget(config, outcome) else DONE
    summary = {
        "job": program,
        "version": __version__,
        **outcome.summary,
        "wall_seconds": round(seconds, 2),
        "exit_status": status,
    }
    if not config.dry_run:
        Storage(config.storage).write_text(
            join(config.output, "_summary.json"), json.dumps(summary, indent=2, default=str) + "\n"
        )
    return summary


def _over_budget(config: JobConfig, outcome: Outcome) -> bool:
    return outcome.failed_share > config.max_failed


def print_summary(summary: Mapping[str, Any], look_at: Sequence[str] = ()) -> None:
    """The last thing a job prints."""
    print("\nSummary")
    for key, value in summary.items():
        if isinstance(value, Mapping):
            value = ", ".join(f"{k} {v}" for k, v in value.items()) or "none"
        if isinstance(value, float):
            value = f"{value:.4g}"
        print(f"  {key.replace('_', ' '):<22} {'-' if value is None else value}")
    for uri in look_at:
        print(f"  {'look at':<22} {uri}")
    sys.stdout.flush()


def load_config(model: type[Config], argv: Sequence[str], program: str = "job") -> Config:
    """The job's configuration; raises ``UsageError`` with a message for people."""
    valid = {name for name, _ in option_names(model)}
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", action="append", default=[])
    known, rest = first.parse_known_args(_spelled(argv, model))
    values: dict[str, Any] = {}
    for path in known.config:
        values = _merged(values, _keyed(read_yaml(path), model))
    needed = sorted(name for name, info in model.model_fields.items() if info.is_required())
    root = _Parser(
        valid,
        prog=program,
        usage=" ".join(["%(prog)s", *(f"--{name} URI" for name in needed), "[--section.key value ...]"]),
        description=model.__doc__,
        allow_abbrev=False,
    )
    root.add_argument("--config", help="YAML file with any of the keys below; may be given more than once")
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
        return model.model_validate(_merged(values, source()))
    except SettingsError as error:
        raise UsageError(str(error).replace(' from source "CliSettingsSource"', "")) from None
    except ValidationError as error:
        raise UsageError(_explain(error, valid)) from None


def read_yaml(path: str) -> dict[str, Any]:
    """A YAML file as a dict; raises ``UsageError`` that names the file."""
    try:
        loaded = yaml.safe_load(Storage().read_text(path))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable configuration file: {error}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {error}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise UsageError(f"{path}: expected 'section: ...' at the top, found a {type(loaded).__name__}")
    return loaded


def option_names(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """``(dotted name, field)`` of every key a job takes."""
    for name, info in model.model_fields.items():
        name = info.alias or name
        nested = _section(info.annotation)
        if nested is None:
            yield prefix + name, info
        else:
            yield from option_names(nested, f"{prefix}{name}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _spelled(argv: Sequence[str], model: type[BaseModel]) -> list[str]:
    """The command line as the parser takes it.

    ``--dry_run`` means ``--dry-run`` and ``--a.b-c`` means ``--a.b_c``. A flag may be given a value as any
    other option is: ``--a.b false``, ``--a.b=false`` and ``--no-a.b`` are the same. A list may be given as
    ``--a.b x y``.
    """
    fields = dict(option_names(model))
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
            argument = f"--{name}{equals}{value}"
            if name in fields and get_origin(fields[name].annotation) is list and not equals:
                while len(waiting) > 1 and not waiting[0].startswith("-") and not waiting[1].startswith("-"):
                    result += [argument, waiting.pop(0)]  # --a.b x y is --a.b x --a.b y
        result.append(argument)
    return result


_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def _keyed(values: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """A YAML file's keys as the command line spells them; a section with nothing in it is its defaults."""
    result = dict(values)
    for name, info in model.model_fields.items():
        if info.alias and name in result:
            result.setdefault(info.alias, result.pop(name))
        is_section = isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
        if is_section and name in result and result[name] is None:
            del result[name]
    return result


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            value = _merged(result[key], value)
        result[key] = value
    return result


def _nearest(name: str, valid: set[str]) -> str:
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
            lines.append(f"unknown key {name}{_nearest(name, valid)}")
        elif item["type"] == "missing":
            lines.append(f"--{name} is required")
        else:
            message = item["msg"].removeprefix("Value error, ")
            lines.append(f"{name or 'configuration'}: {message} (got {item['input']!r})")
    return "\n  ".join(lines)


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
                    "; ".join(f"unknown option {name}{_nearest(name[2:], self.valid)}" for name in unknown)
                )
            raise UsageError(f"unexpected {' '.join(words)!r}; options are written --section.key value")
        raise UsageError(message)


def _words(error: Exception) -> str:
    """The message for people; what a Ray task raised comes wrapped in that task's traceback."""
    return str(getattr(error, "cause", None) or error)


def _as_yaml(config: BaseModel) -> str:
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False).rstrip()


def _raise_stopped(signum: int, _frame: Any) -> NoReturn:
    raise Stopped(signum)
