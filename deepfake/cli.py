"""Run one job as a process: configuration in; its summary, its last words and an exit status out."""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import yaml

from deepfake import __version__
from deepfake.config import JobConfig
from deepfake.config.base import hide_secrets
from deepfake.config.help import ASKS, format_help
from deepfake.config.parse import Config, load_config
from deepfake.errors import JobError, Stopped, UsageError
from deepfake.execution.ray_errors import unwrap
from deepfake.execution.submission import require_lasting
from deepfake.io import lock
from deepfake.io.arrow import start_arrow
from deepfake.io.storage import Storage
from deepfake.io.tables import TableError
from deepfake.io.uri import join
from deepfake.outcome import ACCOUNTING, Outcome, describe_accounting

DONE, FAILED, BAD_USAGE, OVER_ERROR_BUDGET = 0, 1, 2, 3


def run(
    model: type[Config], job: Callable[[Config], Outcome], argv: Sequence[str], program: str = "job"
) -> int:
    """Parse, run one job, print its summary, and return the exit status; ``program`` is how it was called."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S"
    )
    for library in ("botocore", "aiobotocore"):  # they tell of every place where they found a setting
        logging.getLogger(library).setLevel(logging.WARNING)
    before = {signum: signal.signal(signum, _raise_stopped) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _run(model, job, argv, program)
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _run(model: type[Config], job: Callable[[Config], Outcome], argv: Sequence[str], program: str) -> int:
    started = time.monotonic()
    start_arrow()
    try:
        if asked := set(argv) & set(ASKS):
            say(format_help(model, program, "--help-all" in asked))
            return DONE
        config = load_config(model, argv, Storage().read_text)
        require_lasting(config.output)
        if config.dry_run:
            dumped = yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False)
            print(hide_secrets(dumped).rstrip())
        with lock.keep_locks(program):
            outcome = job(config)
            summary = _make_summary(config, outcome, program, time.monotonic() - started)
    except (UsageError, TableError) as error:
        print(f"{program}: {hide_secrets(str(unwrap(error)))}", file=sys.stderr)
        return BAD_USAGE
    except JobError as error:
        print(f"{program}: {hide_secrets(str(unwrap(error)))}", file=sys.stderr)
        return FAILED
    except Stopped as stop:
        print(f"{program}: {stop}; run the same command again to go on", file=sys.stderr)
        return 128 + stop.signum
    if outcome.table:
        print(f"\n{outcome.table}")
    print_summary(summary, outcome.look_at)
    if _is_over_budget(config, outcome):
        print(
            f"{program}: {outcome.failed_share:.1%} of the videos failed, more than --max-failed "
            f"{config.max_failed:.1%}",
            file=sys.stderr,
        )
    if outcome.problem:
        print(f"{program}: {outcome.problem}", file=sys.stderr)
    return int(summary["exit_status"])


def say(text: str) -> None:
    """Print for a reader who may stop reading before the end, as ``head`` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still in the buffer


def _make_summary(config: JobConfig, outcome: Outcome, program: str, seconds: float) -> dict[str, Any]:
    """What is said at the end, and left in the output as ``_summary.json``."""
    status = FAILED if outcome.problem else OVER_ERROR_BUDGET if _is_over_budget(config, outcome) else DONE
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


def _is_over_budget(config: JobConfig, outcome: Outcome) -> bool:
    return outcome.failed_share > config.max_failed


def print_summary(summary: Mapping[str, Any], look_at: Sequence[str] = ()) -> None:
    """The last thing a job prints."""
    print("\nSummary")
    lines = {key.replace("_", " "): value for key, value in summary.items() if key != ACCOUNTING}
    for key, value in (lines | describe_accounting(summary.get(ACCOUNTING, {}))).items():
        if isinstance(value, list):  # sentences, a line each
            value = f"\n{'':<25}".join(value) or "none"
        if isinstance(value, Mapping):
            value = ", ".join(f"{k} {_format(v)}" for k, v in value.items()) or "none"
        print(f"  {key:<22} {_format(value)}")
    for uri in look_at:
        print(f"  {'look at':<22} {uri}")
    sys.stdout.flush()


def _format(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _raise_stopped(signum: int, _frame: Any) -> NoReturn:
    raise Stopped(signum)
